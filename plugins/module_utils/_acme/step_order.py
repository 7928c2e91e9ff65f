# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guide's first ACME step, acme_order: the order that is there or a new one, and its TXT records.

Private to this collection.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace
from datetime import datetime, timedelta

from .._dns import propagation
from .._dns.lookup import Resolvers
from .._pki.names import parse_identifiers
from . import memory as memories
from .account import require_account
from .memory import Memory, Remembered
from .options import access_from
from .order import Placed, Wish, awaiting_records, check_remembered, pick_up, place, records_for, remembering_limits
from .returns import NO_ORDER, order_returns
from .session import Session, load_account_key, open_session

Warn = t.Callable[[str], None]


def place_order(params: dict[str, t.Any], *, check: bool, warn: Warn) -> dict[str, t.Any]:
    """Do the work of module acme_order: pick up the order that is there, or place one; give its TXT records."""
    access, state_path = access_from(params), params.get("state_path")
    wish = Wish(tuple(parse_identifiers(params["identifiers"])), params.get("profile"))
    resolvers = Resolvers(params.get("resolvers") or ())
    memory = Memory() if state_path is None else memories.load_memory(state_path, option="state_path")
    memory.check_limit(now=memories.utc_now())
    if memory.order is not None:
        check_remembered(memory.order, access.directory, option="state_path", path=state_path)
    if check and memory.order is None and not params.get("order_uri"):
        load_account_key(access)
        return {"changed": True, "account_uri": access.account_uri, **NO_ORDER}
    if state_path is not None and not check:
        memories.check_writable(state_path, option="state_path")
    session = open_session(access)

    def remember(order: Remembered) -> None:
        if state_path is not None:
            memories.save_memory(state_path, replace(memory, order=order, limited_until=None, limited_why=None))

    def remember_limit(until: datetime, why: str | None) -> None:
        if state_path is not None and not check:
            memories.save_limit(state_path, until, why, option="state_path")

    with remembering_limits(remember_limit):
        placed = _pick_up_or_place(session, params, wish, memory.order, remember=remember, check=check, warn=warn)
    if placed is None:
        return {"changed": True, "account_uri": session.account_uri, **NO_ORDER}
    records, warnings = records_for(session, awaiting_records(placed), resolvers=resolvers, zone=params.get("zone"))
    if state_path is not None and not check:
        memories.save_records(state_path, [record.returns() for record in records], option="state_path")
    seen = propagation.check(records, verify=params["verify_dns"], resolvers=resolvers)
    for text in (*warnings, *seen.warnings):
        warn(text)
    return {
        "changed": not placed.reused,
        "account_uri": session.account_uri,
        **order_returns(placed, wish, records, missing=seen.missing),
    }


def _pick_up_or_place(
    session: Session,
    params: t.Mapping[str, t.Any],
    wish: Wish,
    remembered: Remembered | None,
    *,
    remember: t.Callable[[Remembered], None],
    check: bool,
    warn: Warn,
) -> Placed | None:
    """Give the usable order, or a new one; None where check mode would place one."""
    if remembered is not None:
        session.use_account(remembered.account_uri)
    account_uri = require_account(session)
    if params.get("order_uri"):
        remembered = Remembered(session.url, account_uri, params["order_uri"], wish.names, wish.profile, "", None)
    placed = None
    if remembered is not None:
        minutes = timedelta(seconds=params["reuse_min_remaining"])
        placed, why = pick_up(session, remembered, wish, renew=params["renew"], min_remaining=minutes)
        if why:
            warn(f"A new order is needed: {why}.")
    if placed is None and not check:
        require_account(session)
        placed = place(session, wish, remember=remember)
    return placed
