# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One order of one lineage, from the account to the stored certificate; what `converge` does when something is due.

Each step is on disk before the next one begins, so that a run killed anywhere is taken up by the next: the account
key before the account, the order before its authorizations, the certificate's key before the CA is asked to sign.
Private to this collection.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .._dns import propagation
from .._dns.delegation import parse_delegation
from .._dns.lookup import Resolvers
from .._dns.records import TTL_SECONDS, cname_lines
from .._errors import UserError
from .._pki import chain as chains
from .._pki import keys
from .._pki.csr import make_csr
from .._version import VERSION
from . import leftovers
from . import memory as memories
from .account import create_account, find_account
from .finalize import Outcome, Plan, drive
from .memory import Memory, Remembered
from .options import Access
from .order import (
    Asked,
    Placed,
    Wish,
    awaiting_records,
    challenge_names,
    pick_up,
    records_for,
    remembering_limits,
)
from .place import check_profile, place, serves_renewal_info
from .problems import AcmeProblem
from .resources import PERSISTENT, parse_moment
from .returns import order_returns
from .session import Session, open_session, trust_anchors

if t.TYPE_CHECKING:
    from .._dns.publisher import Publisher
    from .._pki.keys import PrivateKey
    from .._store.lineage import Lineage
    from .fleet import Fleet

MIN_REMAINING = timedelta(minutes=30)
"""A person is not sent to the zone for an order that ends sooner; a new one is placed instead."""


@dataclass
class Issue:
    """The order at work; `run` gives the return values of what was done."""

    params: t.Mapping[str, t.Any]
    access: Access
    wish: Wish
    lineage: Lineage
    fleet: Fleet | None
    publisher: Publisher | None
    check: bool
    warn: t.Callable[[str], None]

    def run(self, remembered: Remembered | None, *, may_order: bool) -> dict[str, t.Any]:
        """Go on with the remembered order, or place one where that is allowed.

        Raises UserError where the CA refuses or the order is dead (it is forgotten then).
        """
        with remembering_limits(self._remember_limit):
            session = self._session(remembered)
            placed = self._order(session, remembered, may_order=may_order)
            if placed is None:
                return {"phase": "idle", "changed": self.check and may_order}
            self._save_account(session)
            resolvers = Resolvers(self.params.get("resolvers") or ())
            asked = self._asked(session, placed, resolvers)
            stops = self.params["stop_after"] == "order"
            if not self.check and not (stops and placed.reused and self._is_key_elsewhere(remembered)):
                self._key(placed)
            if stops and (placed.order.status == "pending" or self.fleet is not None):
                return self._stopped(placed, asked, resolvers)
            self._check_acknowledged(placed)
            return self._finish(session, placed, asked, resolvers)

    def _is_key_elsewhere(self, remembered: Remembered | None) -> bool:
        """Tell whether the key of the pending order lies on hosts, which are asked for it after this step."""
        return self.fleet is not None and self.fleet.is_key_elsewhere(remembered)

    def _check_acknowledged(self, placed: Placed) -> None:
        """Refuse to finish an order whose key no host has: it would be lost with this run. Raises UserError."""
        if self.fleet is None or self.check or placed.order.status in ("processing", "valid"):
            return
        if not self.fleet.is_acknowledged():
            raise UserError(
                "No host keeps the order with its key yet, so it is not finished",
                name=placed.order.url,
                remedy="Stage it first (role pomerium, entry point stage), see what that says, and run again: the "
                "order stays usable.",
            )

    def _session(self, remembered: Remembered | None) -> Session:
        """Open a session as the account of the order, of the lineage, or of the key; create it where that is agreed.

        Another key than the lineage had may be another account's.
        """
        state = self.lineage.state()
        known = state.get("account_uri") if state.get("directory") == self.access.directory else None
        uri = remembered.account_uri if remembered else self.access.account_uri or known
        session = open_session(self.access, may_create_key=uri is None and not self.check)
        if uri is None or (uri == known and not remembered and state.get("account_key") != _digest(session)):
            self._sign_on(session)
        else:
            session.use_account(uri)
        return session

    def _sign_on(self, session: Session) -> None:
        """Use the account of the key; create it where that is agreed, and nothing else speaks against the order."""
        if session.key_is_new or find_account(session) is None:
            check_profile(session, self.wish)
            create_account(
                session,
                self.access,
                contact=self.params.get("contact") or (),
                terms_agreed=self.params["terms_agreed"],
            )
        self._save_account(session)

    def _order(self, session: Session, remembered: Remembered | None, *, may_order: bool) -> Placed | None:
        if remembered is not None:
            placed, why = pick_up(session, remembered, self.wish, renew=False, min_remaining=MIN_REMAINING)
            keyless = placed and placed.order.status in ("processing", "valid") and not self._has_key(remembered)
            if placed is not None and not keyless:
                return placed
            self._drop(f"the key of the order {remembered.order_uri} is lost" if keyless else why, may_order=may_order)
        if self.check or not may_order:
            return None
        leftovers.drop_pending(self.lineage)
        return self._place(session)

    def _has_key(self, remembered: Remembered) -> bool:
        """Tell whether the pending order's key is here, or may still be fetched from a host."""
        may_come = self.params["stop_after"] == "order" and self._is_key_elsewhere(remembered)
        return may_come or self.lineage.staged_key() is not None

    def _place(self, session: Session) -> Placed:
        """Place an order, as the account of the key where the CA has forgotten the one that the lineage had (R33)."""
        if session.account_uri is None:
            self._sign_on(session)
        self._prepare(session)
        wish = replace(self.wish, replaces=self._replaced(session))
        try:
            return place(session, wish, remember=self._remember, warn=self.warn)
        except AcmeProblem as problem:
            if problem.type != "accountDoesNotExist" or self.access.account_uri:
                raise
            self.warn(f"The CA does not know the account {session.account_uri} any more.")
            session.forget_account()
            self._sign_on(session)
            return place(session, self.wish, remember=self._remember, warn=self.warn)

    def _prepare(self, session: Session) -> None:
        """Have the publisher say what would be in its way. Where CNAMEs lead is not known before there is an order."""
        if self.publisher is None:
            return
        names: list[str] = []
        if not self.params["follow_cname"]:
            mapped = parse_delegation(self.params.get("delegation"))
            names = sorted({mapped.get(name, name) for name in challenge_names(session, self.wish)})
        self.publisher.prepare(names)

    def _replaced(self, session: Session) -> str | None:
        """Name the certificate that the new one comes after, where the CA wants to know (RFC 9773 section 5).

        It must be of the same CA and account, have a name in common and not be expired (R27). Let's Encrypt exempts
        such renewals from its limits.
        """
        bundle = self.lineage.current()
        if bundle is None or not serves_renewal_info(session):
            return None
        is_ours = bundle.meta.get("directory") == session.url and bundle.meta.get("account_uri") == session.account_uri
        is_alive = bundle.facts.not_after > memories.utc_now()
        return bundle.facts.cert_id if is_ours and is_alive and set(bundle.facts.names) & set(self.wish.names) else None

    def _drop(self, why: str | None, *, may_order: bool) -> None:
        """Say that the pending order is of no use; without leave to order, that is an error where one is due."""
        if self.params["order"] == "never":
            if self.fleet is not None and not self.check:  # hosts would say for ever that they have its key
                leftovers.drop_pending(self.lineage)
            raise UserError(
                f"The pending order cannot be finished: {why}", remedy="Order again (order: due, or playbook order)."
            )
        self.warn(f"The earlier order is not used: {why}." + (" A new one is placed." if may_order else ""))
        if not self.check and not may_order:
            leftovers.drop_pending(self.lineage)

    def _asked(self, session: Session, placed: Placed, resolvers: Resolvers) -> Asked:
        """Give the records to publish, and remember them with the order so that they can be removed one day."""
        publisher = self.publisher
        asked = records_for(
            session,
            awaiting_records(placed),
            self.wish,
            self.params,
            resolvers=resolvers,
            zone=publisher.zone if publisher else None,
            ttl=publisher.ttl if publisher else TTL_SECONDS,
            known=publisher.delegation if publisher else None,
        )
        for text in asked.warnings:
            self.warn(text)
        if not self.check:
            shown, kind = [record.returns() for record in asked.records], self.wish.challenge
            memories.save_records(self.lineage.order_path, shown, challenge=kind, option="store_path")
        return asked

    def _key(self, placed: Placed) -> PrivateKey:
        """Give the order's key: once the CA has the CSR no other will do, whatever type is wanted by now."""
        staged = self.lineage.staged_key()
        if staged is not None and placed.order.status in ("processing", "valid"):
            return staged
        key = self.lineage.stage_key(self.params["key_type"])
        digest, before = keys.public_sha256(key.public_key()), self.lineage.pending_key()
        if self.fleet is not None and before is not None and staged is None:
            self.warn(f"The key of the order {placed.order.url} is lost; another one is made for it.")
        memories.save_key(self.lineage.order_path, digest, option="store_path")
        return key

    def _stopped(self, placed: Placed, asked: Asked, resolvers: Resolvers) -> dict[str, t.Any]:
        """Describe an order that is placed. With a publisher nobody looks yet: resolvers would remember a "no"."""
        missing = () if self.publisher else self._missing(asked, resolvers)
        return {
            "done": False,
            "changed": not placed.reused,
            "phase": "waiting_for_dns" if missing or self.publisher else "validating",
            "missing_records": [one.returns() for one in missing],
            **order_returns(placed, self.wish, asked.records, missing=missing),
        }

    def _finish(self, session: Session, placed: Placed, asked: Asked, resolvers: Resolvers) -> dict[str, t.Any]:
        self._publish(asked, resolvers)
        try:
            outcome = drive(session, placed, self._plan(placed, resolvers), check=self.check)
        except UserError as error:
            if not self.check and (error.facts.get("order_is_dead") or self._has_run_out(error)):
                leftovers.drop_pending(self.lineage)
            raise
        for text in outcome.warnings:
            self.warn(text)
        if outcome.waited:
            self.warn(f"The order {outcome.placed.order.url} is not finished: {outcome.waited}; the next run goes on.")
        if self.publisher is not None and outcome.missing and not self.check:
            raise propagation.missing_error(outcome.missing, remedy=_unseen(asked))
        values = {
            "changed": not placed.reused or outcome.answered or (self.check and not outcome.missing),
            "phase": outcome.phase,
            "missing_records": [missing.returns() for missing in outcome.missing],
            **order_returns(outcome.placed, self.wish, asked.records, missing=outcome.missing),
        }
        if outcome.chain is not None and not self.check:
            values.update(self._store(session, outcome))
        return values

    def _publish(self, asked: Asked, resolvers: Resolvers) -> None:
        """Have the publisher write the records; one that is made once only where none is there that does."""
        if self.publisher is None or self.check or not asked.records:
            return
        if self.wish.challenge == PERSISTENT and not self._missing(asked, resolvers):
            return
        self.publisher.add(asked.records)

    def _missing(self, asked: Asked, resolvers: Resolvers) -> tuple[propagation.Missing, ...]:
        """Look once which values are not where the CA will look."""
        return propagation.check(asked.sought, verify=self.params["verify_dns"], resolvers=resolvers).missing

    def _has_run_out(self, error: UserError) -> bool:
        """Tell whether the order's certificate expired before it was fetched: no run could store it any more.

        One that had expired before the order was placed is not the order's.
        """
        order = memories.load_memory(self.lineage.order_path, option="store_path").order
        created = parse_moment(order.created) if order else None
        return isinstance(error, chains.ExpiredError) and created is not None and error.not_after > created

    def _plan(self, placed: Placed, resolvers: Resolvers) -> Plan:
        return Plan(
            wish=self.wish,
            csr=lambda: make_csr(self._key(placed), self.wish.names),
            verify=self.params["verify_dns"],
            resolvers=resolvers,
            eager=self.params["records_published"] or self.publisher is not None,
            propagation_timeout=self.params["propagation_timeout"],
            validation_timeout=self.params["validation_timeout"],
            issuance_timeout=self.params["issuance_timeout"],
            zone=self.publisher.zone if self.publisher else None,
            anchors=trust_anchors(self.access),
            preferred_chain=self.params.get("preferred_chain"),
        )

    def _store(self, session: Session, outcome: Outcome) -> dict[str, t.Any]:
        """Make the certificate the current one; the records of its order may be removed from now on."""
        chain = t.cast("chains.Chain", outcome.chain)
        facts = chains.describe(chain.leaf)
        meta = {
            "directory": self.access.directory,
            "account_uri": session.account_uri,
            "names": list(self.wish.names),
            "not_before": chains.iso(facts.not_before),
            "not_after": chains.iso(facts.not_after),
            "fingerprint_sha256": facts.fingerprint_sha256,
            "key_type": facts.key_type,
            "profile": self.wish.profile,
            "made_at": chains.iso(memories.utc_now()),
            "made_by": f"zerotrust.pomerium {VERSION}",
        }
        leftovers.leave(self.lineage)
        self.lineage.commit(chain, self._key(outcome.placed), meta, session.key)
        self.lineage.learn(limited_by=None, limited_until=None, limited_why=None)
        return {"changed": True, "renewed": True, "dns_records": []}

    def _remember(self, order: Remembered) -> None:
        memories.save_memory(self.lineage.order_path, Memory(order=order))

    def _remember_limit(self, until: datetime, why: str | None) -> None:
        if not self.check:
            self.lineage.learn(limited_by=self.access.directory, limited_until=chains.iso(until), limited_why=why)

    def _save_account(self, session: Session) -> None:
        if not self.check:
            uri, digest = session.account_uri, _digest(session)
            self.lineage.learn(directory=self.access.directory, account_uri=uri, account_key=digest)


def _unseen(asked: Asked) -> str:
    """Say what to do about records that were published and are not where the CA looks."""
    leading = "; ".join(cname_lines(asked.records))
    return (
        "They were published, but are not seen there in time. Nothing was sent to the CA and the order stays usable: "
        + (f"see that these records are there, which lead to them: {leading}; " if leading else "")
        + "raise propagation_timeout where servers are only slow, and see publisher.zone, delegation and resolvers "
        "where they are others than the CA asks; then run again."
    )


def _digest(session: Session) -> str:
    return keys.public_sha256(session.key.public_key())
