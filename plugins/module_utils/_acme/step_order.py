# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guide's first ACME step, acme_order: the order that is there or a new one, and its TXT records.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .._dns import propagation
from .._dns.delegation import parse_delegation
from .._dns.lookup import Resolvers
from .._errors import BadInput
from .._pki.chain import CERT_ID
from .._pki.names import parse_identifiers
from . import memory as memories
from .account import require_account
from .account_key import load_account_key
from .given import given_csr, refuse_account_key
from .memory import Memory, Remembered
from .options import Access, access_from
from .order import Placed, Wish, awaiting_records, check_remembered, pick_up, records_for, remembering_limits
from .place import place
from .returns import NO_ORDER, order_returns
from .session import Session, open_session

Warn = t.Callable[[str], None]


def place_order(params: dict[str, t.Any], *, check: bool, warn: Warn) -> dict[str, t.Any]:
    """Do the work of module acme_order: pick up the order that is there, or place one; give its TXT records."""
    access, wish = access_from(params), _wish(params)
    parse_delegation(params.get("delegation"))  # what is wrong with it is said before anything is done
    with contextlib.nullcontext() if check else memories.locked(params.get("state_path")):
        return Step(params, access, wish, check, warn).result()


def _wish(params: t.Mapping[str, t.Any]) -> Wish:
    """Read what is wanted; names are given as such, or by a CSR."""
    csr = given_csr(params)
    names = parse_identifiers(params["identifiers"] if csr is None else csr.names)
    replaces = params.get("replaces")
    if replaces is not None and not CERT_ID.match(replaces):
        raise BadInput(
            "replaces",
            replaces,
            "not a certificate's name in renewal information",
            remedy="Give cert_id, as acme_finalize returned it for the certificate.",
        )
    return Wish(tuple(names), params.get("profile"), params["challenge"], replaces)


@dataclass
class Step:
    """One run of acme_order, which has locked the state file (but for check mode, which writes nothing)."""

    params: t.Mapping[str, t.Any]
    access: Access
    wish: Wish
    check: bool
    warn: Warn

    def result(self) -> dict[str, t.Any]:
        """Pick up or place, look the records up, and describe: all return values of the module."""
        state_path: str | None = self.params.get("state_path")
        memory = Memory() if state_path is None else memories.load_memory(state_path, option="state_path")
        memory.check_limit(now=memories.utc_now())
        if memory.order is not None:
            check_remembered(memory.order, self.access.directory, option="state_path", path=state_path)
        self._check_csr()
        if self.check and memory.order is None and not self.params.get("order_uri"):
            load_account_key(self.access)
            return self._new(memory.order, self.access.account_uri)
        session = open_session(self.access)
        with remembering_limits(self._remember_limit):
            placed = self._pick_up_or_place(session, memory)
        if placed is None:
            return self._new(memory.order, session.account_uri)
        return self._describe(session, placed, memory.order)

    def _check_csr(self) -> None:
        csr = given_csr(self.params)
        if csr is not None:
            refuse_account_key(self.params, "csr", csr.public_sha256, load_account_key(self.access))

    def _pick_up_or_place(self, session: Session, memory: Memory) -> Placed | None:
        """Give the usable order, or a new one; None where check mode would place one."""
        remembered, wish = memory.order, self.wish
        if remembered is not None:
            session.use_account(remembered.account_uri)
        account_uri = require_account(session)
        if self.params.get("order_uri"):
            uri = self.params["order_uri"]
            remembered = Remembered(session.url, account_uri, uri, wish.names, wish.profile, "", None)
        placed = None
        if remembered is not None:
            seconds = timedelta(seconds=self.params["reuse_min_remaining"])
            placed, why = pick_up(session, remembered, wish, renew=self.params["renew"], min_remaining=seconds)
            if why:
                self.warn(f"A new order is needed: {why}.")
        if placed is None and not self.check:
            require_account(session)
            placed = place(session, wish, remember=lambda order: self._remember(memory, order), warn=self.warn)
        return placed

    def _describe(self, session: Session, placed: Placed, before: Remembered | None) -> dict[str, t.Any]:
        """Look the records of the order up, and give all return values."""
        resolvers = Resolvers(self.params.get("resolvers") or ())
        open_ones = awaiting_records(placed)
        zone = self.params.get("zone")
        asked = records_for(session, open_ones, self.wish, self.params, resolvers=resolvers, zone=zone)
        self._remember_records([record.returns() for record in asked.records])
        seen = propagation.check(asked.sought, verify=self.params["verify_dns"], resolvers=resolvers)
        for text in (*asked.warnings, *seen.warnings):
            self.warn(text)
        after = _summary(placed.order.url, self.wish)
        return {
            "changed": not placed.reused,
            "account_uri": session.account_uri,
            **order_returns(placed, self.wish, asked.records, missing=seen.missing),
            "diff": {"before": after if placed.reused else _summary_of(before), "after": after},
        }

    def _new(self, before: Remembered | None, account_uri: str | None) -> dict[str, t.Any]:
        """Say, in check mode, that an order would be placed."""
        after = _summary("a new order", self.wish)
        diff = {"before": _summary_of(before), "after": after}
        return {"changed": True, "account_uri": account_uri, **NO_ORDER, "diff": diff}

    def _remember(self, memory: Memory, order: Remembered) -> None:
        if self.params.get("state_path") is not None:
            state = replace(memory, order=order, limited_until=None, limited_why=None)
            memories.save_memory(self.params["state_path"], state)

    def _remember_records(self, records: list[dict[str, t.Any]]) -> None:
        """Remember the records; where other values were given before, say so: the old ones prove nothing any more."""
        path = self.params.get("state_path")
        if path is None or self.check:
            return
        before = memories.save_records(path, records, challenge=self.wish.challenge, option="state_path")
        entries = {entry for record in before for entry in record["entries"]}
        if entries and not entries & {entry for record in records for entry in record["entries"]}:
            self.warn("The TXT values are others than before, since the account key or the challenge type is another.")

    def _remember_limit(self, until: datetime, why: str | None) -> None:
        if self.params.get("state_path") is not None and not self.check:
            memories.save_limit(self.params["state_path"], until, why, option="state_path")


def _summary(order_uri: str, wish: Wish) -> dict[str, t.Any]:
    return {"order_uri": order_uri, "identifiers": list(wish.names), "profile": wish.profile}


def _summary_of(remembered: Remembered | None) -> dict[str, t.Any]:
    if remembered is None:
        return {}
    return {
        "order_uri": remembered.order_uri,
        "identifiers": list(remembered.identifiers),
        "profile": remembered.profile,
    }
