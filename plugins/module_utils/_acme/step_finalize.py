# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guide's second ACME step, acme_finalize: see the records, answer, finalize, download, check, write.

Private to this collection.
"""

from __future__ import annotations

import typing as t
from datetime import datetime

from .. import _files
from .._dns.lookup import Resolvers
from .._errors import BadInput, UserError
from .._pki import keys
from .._pki.names import parse_identifiers
from . import memory as memories
from .account import require_account
from .finalize import Outcome, Plan, drive, missing_records_error
from .memory import Remembered
from .options import Access, access_from
from .order import (
    Placed,
    Wish,
    check_names,
    check_owner,
    check_remembered,
    read_authorizations,
    remembering_limits,
)
from .outputs import Outputs
from .problems import AcmeProblem
from .resources import read_order
from .returns import certificate_returns
from .session import Session, load_account_key, open_session, trust_anchors

Warn = t.Callable[[str], None]


def finalize_order(params: dict[str, t.Any], *, check: bool, warn: Warn) -> dict[str, t.Any]:
    """Do the work of module acme_finalize: see the records, answer, finalize, download, check, write."""
    access = access_from(params)
    remembered = _remembered_order(params, access)
    given_key = _given_key(params, access)
    session = open_session(access)
    if remembered is not None:
        session.use_account(remembered.account_uri)
    require_account(session)
    placed, wish = _placed(session, remembered, params.get("order_uri"))
    outputs = Outputs.from_options(params)
    plan = Plan(
        wish=wish,
        key=lambda: given_key or outputs.key(params["key_type"], finished=placed.order.status == "valid"),
        verify=params["verify_dns"],
        resolvers=Resolvers(params.get("resolvers") or ()),
        eager=True,
        propagation_timeout=params["propagation_timeout"],
        validation_timeout=params["validation_timeout"],
        issuance_timeout=params["issuance_timeout"],
        anchors=trust_anchors(access),
    )

    def remember_limit(until: datetime, why: str | None) -> None:
        if params.get("state_path") and not check:
            memories.save_limit(params["state_path"], until, why, option="state_path")

    with remembering_limits(remember_limit):
        outcome = drive(session, placed, plan, check=check)
    for text in outcome.warnings:
        warn(text)
    if outcome.phase != "issued" and params["on_pending"] == "fail" and not check:
        raise _pending_error(outcome)
    written = False
    if outcome.chain is not None:
        written = outputs.write(outcome.chain, None if given_key else plan.key(), check=check)
    would_issue = check and outcome.phase in ("validating", "issuing")
    return {"changed": written or outcome.answered or would_issue, **_returns(outcome, remembered)}


def _returns(outcome: Outcome, remembered: Remembered | None) -> dict[str, t.Any]:
    issued = outcome.phase == "issued"
    return {
        "order_uri": outcome.placed.order.url,
        "status": outcome.placed.order.status,
        "phase": outcome.phase,
        "pending": not issued,
        "missing_records": [missing.returns() for missing in outcome.missing],
        "problems": [],
        "records_to_remove": list(remembered.records) if issued and remembered else [],
        **certificate_returns(outcome.chain),
    }


def _pending_error(outcome: Outcome) -> UserError:
    if outcome.missing:
        return missing_records_error(outcome)
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


def _placed(session: Session, remembered: Remembered | None, order_uri: str | None) -> tuple[Placed, Wish]:
    """Read the order as it stands. Raises UserError where it is gone, or another account's."""
    url = remembered.order_uri if remembered else t.cast("str", order_uri)
    try:
        order = read_order(session, url)
    except AcmeProblem as problem:
        if not problem.is_gone:
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
    wish = Wish(tuple(parse_identifiers(order.identifiers)), remembered.profile if remembered else None)
    authorizations = read_authorizations(session, order) if order.status == "pending" else []
    return Placed(order, tuple(authorizations), reused=True), wish


def _given_key(params: t.Mapping[str, t.Any], access: Access) -> keys.PrivateKey | None:
    """Read the certificate's key where the user gives one. Raises BadInput where it is the account key."""
    path, content = params.get("private_key_path"), params.get("private_key_content")
    if path is None and content is None:
        return None
    option = "private_key_content" if path is None else "private_key_path"
    try:
        key = keys.load((content or "").encode() if path is None else _files.read_bytes(path))
    except OSError as error:
        raise BadInput(option, path, f"cannot be read ({error.strerror})") from error
    except UserError as error:
        raise BadInput(option, path, error.what[0].lower() + error.what[1:], remedy=error.remedy) from error
    if keys.public_sha256(key.public_key()) == keys.public_sha256(load_account_key(access).public_key()):
        raise BadInput(
            option, path, "this is the account key, which must not be a certificate's", remedy="Give another key."
        )
    return key
