# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guide's second ACME step, acme_finalize: see the records, answer, finalize, download, check, write.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass
from datetime import datetime

from .._dns.lookup import Resolvers
from .._dns.propagation import missing_error
from .._errors import BadInput, UserError
from .._pki import keys
from .._pki.csr import Csr, make_csr
from .._pki.names import parse_identifiers
from . import memory as memories
from .account import require_account
from .account_key import load_account_key
from .finalize import Outcome, Plan, drive
from .given import given_csr, given_key, given_refusal, refuse_account_key
from .memory import Remembered
from .options import Access, access_from
from .order import Placed, Wish, check_owner, check_remembered, read_authorizations, remembering_limits
from .outputs import Outputs
from .place import check_names
from .problems import AcmeProblem
from .resources import read_order
from .returns import certificate_returns
from .session import Session, open_session, trust_anchors

Warn = t.Callable[[str], None]

NOTHING_LOST = "Nothing was sent to the CA and the order stays usable: add what is missing, then run again."


def finalize_order(params: dict[str, t.Any], *, check: bool, warn: Warn) -> dict[str, t.Any]:
    """Do the work of module acme_finalize: see the records, answer, finalize, download, check, write."""
    access, outputs = access_from(params), Outputs.from_options(params)
    _remembered_order(params, access)  # what is wrong with it is said before a lock is made
    source, csr = given_key(params), given_csr(params)
    key = source.load() if source else None
    account_key = load_account_key(access)
    if key is not None:
        refuse_account_key(params, "private_key", keys.public_sha256(key.public_key()), account_key)
    if csr is not None:
        refuse_account_key(params, "csr", csr.public_sha256, account_key)
    with contextlib.nullcontext() if check else memories.locked(params.get("state_path")):
        return Step(params, access, outputs, key, csr, check, warn).result()


@dataclass
class Step:
    """One run of acme_finalize, which has locked the state file (but for check mode, which writes nothing).

    `key` and `csr` are the user's own; where neither is given, `outputs` has the key.
    """

    params: t.Mapping[str, t.Any]
    access: Access
    outputs: Outputs
    key: keys.PrivateKey | None
    csr: Csr | None
    check: bool
    warn: Warn

    def result(self) -> dict[str, t.Any]:
        """Take the order as far as it goes, write what came of it, and describe: all return values of the module."""
        remembered = _remembered_order(self.params, self.access)
        session = open_session(self.access)
        with remembering_limits(self._remember_limit):
            if remembered is not None:
                session.use_account(remembered.account_uri)
            require_account(session)
            placed, wish = _placed(session, remembered, self.params)
            self._check_csr(wish)
            outcome = drive(session, placed, self._plan(placed, wish), check=self.check)
        for text in outcome.warnings:
            self.warn(text)
        if outcome.phase != "issued" and self.params["on_pending"] == "fail" and not self.check:
            raise _pending_error(outcome)
        return self._write(outcome, placed, wish, remembered)

    def _check_csr(self, wish: Wish) -> None:
        """Refuse a request that the CA would refuse (RFC 8555 section 7.4): before a challenge is answered."""
        if self.csr is not None and set(self.csr.names) != set(wish.names):
            raise given_refusal(
                self.params,
                "csr",
                f"it is for {', '.join(sorted(self.csr.names))}; ordered were {', '.join(sorted(wish.names))}",
                remedy="Give the request that the order was placed for (acme_order takes it too).",
            )

    def _plan(self, placed: Placed, wish: Wish) -> Plan:
        return Plan(
            wish=wish,
            csr=lambda: self._csr(placed, wish),
            verify=self.params["verify_dns"],
            resolvers=Resolvers(self.params.get("resolvers") or ()),
            eager=True,
            propagation_timeout=self.params["propagation_timeout"],
            validation_timeout=self.params["validation_timeout"],
            issuance_timeout=self.params["issuance_timeout"],
            anchors=trust_anchors(self.access),
            preferred_chain=self.params.get("preferred_chain"),
        )

    def _csr(self, placed: Placed, wish: Wish) -> Csr:
        """Give the user's request, or one with the user's key or a new one, which is on disk by then."""
        return self.csr or make_csr(self.key or self._own_key(placed), wish.names)

    def _own_key(self, placed: Placed) -> keys.PrivateKey:
        is_requested = placed.order.status in ("processing", "valid")
        return self.outputs.key(self.params["key_type"], is_requested=is_requested)

    def _write(self, outcome: Outcome, placed: Placed, wish: Wish, remembered: Remembered | None) -> dict[str, t.Any]:
        diff: dict[str, t.Any] = {"before": {}, "after": {}}
        if outcome.chain is not None:
            is_ours = self.key is None and self.csr is None
            diff = self.outputs.write(
                outcome.chain,
                self._own_key(placed) if is_ours else None,
                allow_staging=self.params["allow_staging"],
                check=self.check,
            )
        would_issue = self.check and outcome.phase in ("validating", "issuing")
        if would_issue:
            diff["after"] = {"certificate": f"a new certificate for {', '.join(wish.names)}"}
        return {
            "changed": bool(diff["after"]) or outcome.answered,
            **_returns(outcome, remembered),
            "diff": diff,
        }

    def _remember_limit(self, until: datetime, why: str | None) -> None:
        if self.params.get("state_path") and not self.check:
            memories.save_limit(self.params["state_path"], until, why, option="state_path")


def _returns(outcome: Outcome, remembered: Remembered | None) -> dict[str, t.Any]:
    issued = outcome.phase == "issued"
    return {
        "order_uri": outcome.placed.order.url,
        "status": outcome.placed.order.status,
        "phase": outcome.phase,
        "pending": not issued,
        "missing_records": [missing.returns() for missing in outcome.missing],
        "problems": [],
        "records_to_remove": list(remembered.removable) if issued and remembered else [],
        **certificate_returns(outcome.chain),
    }


def _pending_error(outcome: Outcome) -> UserError:
    if outcome.missing:
        return missing_error(outcome.missing, remedy=NOTHING_LOST)
    return UserError(
        "The order is not finished",
        name=outcome.placed.order.url,
        answer=outcome.waited,
        remedy="Run again later: the same order goes on.",
        phase=outcome.phase,
        status=outcome.placed.order.status,
    )


def _remembered_order(params: t.Mapping[str, t.Any], access: Access) -> Remembered | None:
    """Read what acme_order remembered. Raises BadInput where nothing is, or it was made at another directory."""
    path = params.get("state_path")
    if path is None:
        return None
    memory = memories.load_memory(path, option="state_path")
    memory.check_limit(now=memories.utc_now())
    if memory.order is None:
        raise BadInput(
            "state_path", path, "no order is remembered there", remedy="Run acme_order with this path first."
        )
    check_remembered(memory.order, access.directory, option="state_path", path=path)
    return memory.order


def _placed(session: Session, remembered: Remembered | None, params: t.Mapping[str, t.Any]) -> tuple[Placed, Wish]:
    """Read the order as it stands. Raises UserError where it is gone, or another account's."""
    url = remembered.order_uri if remembered else t.cast("str", params.get("order_uri"))
    try:
        order = read_order(session, url)
    except AcmeProblem as problem:
        if not problem.is_gone and problem.type != "accountDoesNotExist":
            raise
        if remembered is not None:
            check_owner(session, remembered)
        raise UserError(
            "The CA knows no such order of this account",
            name=url,
            answer=problem.answer,
            remedy="It has expired or belongs to another account: place a new one with acme_order.",
        ) from problem
    if remembered is not None:
        check_names(order, remembered.identifiers)
    challenge = params.get("challenge") or (remembered.challenge if remembered else "dns-01")
    wish = Wish(tuple(parse_identifiers(order.identifiers)), remembered.profile if remembered else None, challenge)
    authorizations = read_authorizations(session, order) if order.status == "pending" else []
    return Placed(order, tuple(authorizations), reused=True), wish
