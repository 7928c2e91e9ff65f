# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Revocation (RFC 8555 section 7.6): by the account, or by the certificate's own key. Private to this collection."""

from __future__ import annotations

import typing as t

from .._errors import BadInput
from .._pki import chain as chains
from .._pki import keys
from .account import require_account
from .account_key import KeySource, key_source
from .given import given_chain, given_key
from .options import Access, access_from
from .problems import AcmeProblem
from .session import Session, open_session

REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
    "removeFromCRL": 8,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}
"""Codes of RFC 5280 section 5.3.1, by the names that it gives them. Let's Encrypt takes 0, 1, 4 and 5."""


def revoke_certificate(params: dict[str, t.Any], *, check: bool, warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Do the work of module acme_revoke. One that is revoked already is as it should be, and no change."""
    access, leaf = access_from(params), given_chain(params).leaf
    reason, own_key = _reason(params["reason"]), given_key(params)
    facts = chains.describe(leaf)
    key = (own_key or key_source(access)).load()
    if own_key and keys.public_sha256(key.public_key()) != facts.public_sha256:
        raise own_key.refusal(
            f"not the key of the certificate with serial {facts.serial}",
            remedy="Give the certificate's own key, or none to revoke it by the account.",
        )
    changed = check or _revoke(access, leaf, reason, own_key)
    shown = {name: facts.returns()[name] for name in ("names", "serial", "not_after", "issuer", "fingerprint_sha256")}
    after = {"serial": facts.serial, "names": shown["names"], "revoked": True}
    return {
        "changed": changed,
        "revoked": not check,
        **shown,
        "diff": {"before": {**after, "revoked": not changed}, "after": after},
    }


def _reason(given: str) -> int:
    """Read a reason, by name or by code. Raises BadInput listing the names."""
    codes = {str(code): code for code in REASONS.values()}
    by_name = {name.lower(): code for name, code in REASONS.items()}
    code = codes.get(given, by_name.get(given.replace("_", "").lower()))
    if code is None:
        raise BadInput("reason", given, "not a reason of RFC 5280", remedy=f"Give one of {', '.join(REASONS)}.")
    return code


def _revoke(access: Access, leaf: t.Any, reason: int, own_key: KeySource | None) -> bool:
    """Ask the CA, as the account or with the certificate's key; tell whether it was not revoked before."""
    from acme import messages

    session = open_session(access, source=own_key)
    if own_key is None:
        require_account(session)
    else:
        session.forget_account()
    body = messages.Revocation(certificate=leaf, reason=reason)
    try:
        session.ask(_address(session), body, doing="revoke the certificate", repeatable=True, document=False)
    except AcmeProblem as problem:
        if problem.type == "alreadyRevoked":
            return False
        if problem.type == "unauthorized" and own_key is None:
            problem.advise("Use the account that ordered the certificate, or give the certificate's own private key.")
        raise
    return True


def _address(session: Session) -> str:
    """Give the URL for revocations. Raises BadInput where the CA revokes nothing."""
    try:
        return str(session.directory["revokeCert"])
    except KeyError as error:
        raise BadInput(
            "acme_directory", session.url, "this CA revokes nothing by ACME", remedy="Ask the CA for its own way."
        ) from error
