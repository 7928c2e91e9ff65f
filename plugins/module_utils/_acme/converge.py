# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_certificate: make a lineage current, however far earlier runs came; deciding that nothing is due asks nobody.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass, replace
from datetime import timedelta

from .._dns.delegation import parse_delegation
from .._dns.records import DnsRecord
from .._errors import BadInput, UserError
from .._pki import chain as chains
from .._pki import keys
from .._pki.names import parse_identifiers
from .._store.lineage import Bundle, Lineage
from . import leftovers
from . import memory as memories
from .fleet import Fleet
from .memory import Memory, Remembered
from .options import Access, access_from
from .order import Wish
from .renewal import Decision, decide, renew_at
from .returns import NO_ORDER, certificate_returns

if t.TYPE_CHECKING:
    from .._dns.publisher import ChoosePublisher, Publisher

Warn = t.Callable[[str], None]

FORCE_MIN_AGE = timedelta(days=1)
"""`order: force` is ignored for a younger certificate, so that a schedule left on `force` orders once a day."""


def converge(
    params: dict[str, t.Any], *, check: bool, warn: Warn, choose_publisher: ChoosePublisher
) -> dict[str, t.Any]:
    """Do the work of module acme_certificate; `choose_publisher` makes the publisher that the options name."""
    publisher = choose_publisher(params)
    wish = Wish(tuple(parse_identifiers(params["identifiers"])), params.get("profile"), params["challenge"])
    access = access_from(params)
    parse_delegation(params.get("delegation"))  # what is wrong with it is said before anything is done
    lineage = Lineage(params["store_path"], params["name"], is_fleet=params["fleet"])
    fleet = Fleet(params, access, wish, lineage, warn) if params["fleet"] else None
    with contextlib.nullcontext() if check and fleet is None else lineage.lock():
        if fleet is not None:
            fleet.merge()
        return Run(params, access, wish, lineage, fleet, publisher, check, warn).result()


@dataclass
class Run:
    """One run over one lineage, which it has locked (but for check mode, which writes nothing). Into a `fleet`'s, what
    its hosts keep was merged before, in check mode as well: that is nothing but files of this run."""

    params: t.Mapping[str, t.Any]
    access: Access
    wish: Wish
    lineage: Lineage
    fleet: Fleet | None
    publisher: Publisher | None
    check: bool
    warn: Warn

    def result(self) -> dict[str, t.Any]:
        """Decide, act, and describe: all return values of the module."""
        if self.params.get("records_removed") and not self.check:
            leftovers.forget(self.lineage, self.params["records_removed"])
        bundle = self.lineage.current()
        remembered = self._pending(bundle)
        decision = self._decide(bundle, remembered)
        try:
            done = self._act(decision, remembered)
        except BadInput:
            raise
        except UserError as error:
            if self.params["on_error"] == "fail":
                raise
            facts = {key: value for key, value in error.facts.items() if key in ("missing_records", "problems")}
            done = {"phase": "idle", "error": str(error), **facts}
        finally:
            removed = self._clean_up()
        return self._returns(decision, done, before=bundle, removed=removed)

    @property
    def _only_looks(self) -> bool:
        """Tell whether this run neither orders nor finishes anything."""
        return bool(self.params["order"] == "never" and self.params["stop_after"] == "order")

    def _clean_up(self) -> list[dict[str, t.Any]]:
        """Remove what no order needs any more, also of runs before this one (R14); give what was removed.

        It never fails a run: what cannot be removed is remembered for the next one.
        """
        if self.publisher is None or self.check or self._only_looks:
            return []
        left = leftovers.remaining(self.lineage)
        try:
            if left:
                self.publisher.remove([DnsRecord.from_returns(record) for record in left])
                leftovers.forget(self.lineage, left)
        except UserError as error:
            self.warn(f"TXT records that no order needs any more are still there, the next run tries again. {error}")
            return []
        return left

    def _pending(self, bundle: Bundle | None) -> Remembered | None:
        """Read the order that an earlier run placed; one that is finished and installed already is dropped."""
        remembered = memories.load_memory(self.lineage.order_path, option="store_path").order
        staged = self.lineage.staged_key()
        if bundle and staged and keys.public_sha256(staged.public_key()) == bundle.facts.public_sha256:
            if not self.check:
                leftovers.drop_pending(self.lineage)
            return None
        return remembered

    def _decide(self, bundle: Bundle | None, remembered: Remembered | None) -> Decision:
        decision = decide(
            bundle,
            self.wish,
            directory=self.access.directory,
            key_type=self.params["key_type"],
            now=memories.utc_now(),
            unwanted=self.params.get("replace_version"),
        )
        if bundle is None and self.fleet is not None and self.fleet.reason_without_bundle:
            decision = replace(decision, reasons=(self.fleet.reason_without_bundle,))
        if self.params["order"] != "force" or decision.is_due or bundle is None:
            return decision
        if remembered is not None:
            self.warn("order: force is ignored, an order is pending.")
        elif memories.utc_now() - self._made_at(bundle) < FORCE_MIN_AGE:
            self.warn("order: force is ignored, the certificate is younger than a day.")
        else:
            return replace(decision, reasons=("forced",))
        return decision

    @staticmethod
    def _made_at(bundle: Bundle) -> t.Any:
        from .resources import parse_moment

        return parse_moment(bundle.meta.get("made_at")) or bundle.facts.not_before

    def _act(self, decision: Decision, remembered: Remembered | None) -> dict[str, t.Any]:
        """Go on with the pending order, or order what is due; give the return values of what was done."""
        if remembered is not None:
            unfit = self._unfit(remembered)
            if unfit:
                self.warn(f"The pending order {remembered.order_uri} is {unfit} and is not used.")
                remembered = None
        may_order = decision.is_due and self.params["order"] != "never"
        if self._only_looks:
            records = remembered.records if remembered else ()
            return {"phase": "idle", "done": remembered is None, "dns_records": list(records)}
        if remembered is None and not may_order:
            return {"phase": "idle"}
        if remembered is None and self.fleet is not None:
            self.fleet.check_may_order(has_bundle=self.lineage.current() is not None)
        if remembered is None and self.check:
            return {"phase": "idle", "changed": True}
        return self._go_on(remembered, may_order=may_order)

    def _unfit(self, remembered: Remembered) -> str | None:
        if remembered.directory != self.access.directory:
            return f"of another directory, {remembered.directory}"
        if not remembered.is_for(self.wish.names, self.wish.profile):
            return f"for {remembered.what}"
        return None

    def _go_on(self, remembered: Remembered | None, *, may_order: bool) -> dict[str, t.Any]:
        from .issue import Issue

        if not self.check:
            self.lineage.check_writable()
        state = self.lineage.state()
        if state.get("limited_by") == self.access.directory:
            limits = Memory(limited_until=state.get("limited_until"), limited_why=state.get("limited_why"))
            limits.check_limit(now=memories.utc_now())
        issue = Issue(
            self.params, self.access, self.wish, self.lineage, self.fleet, self.publisher, self.check, self.warn
        )
        return issue.run(remembered, may_order=may_order)

    def _returns(
        self,
        decision: Decision,
        done: dict[str, t.Any],
        *,
        before: Bundle | None,
        removed: t.Sequence[t.Mapping[str, t.Any]],
    ) -> dict[str, t.Any]:
        """Complete the return values: the certificate in use comes last, read anew from the store."""
        bundle = self.lineage.current()
        values: dict[str, t.Any] = {
            "changed": False,
            "done": True,
            "renewed": False,
            "error": None,
            "missing_records": [],
            "problems": [],
            "reasons": list(decision.reasons),
            **NO_ORDER,
        }
        values.update(done)
        values.update(certificate_returns(bundle.chain if bundle else None))
        values["account_uri"] = self.lineage.state().get("account_uri")
        values["records_to_remove"] = leftovers.remaining(self.lineage)
        values["version"] = bundle.version if bundle else None
        values["paths"] = self.lineage.paths()
        values.update(self._fleet_returns(bundle))
        values["renew_at"] = None
        if bundle is not None:
            values["renew_at"] = chains.iso(renew_at(bundle.facts.not_before, bundle.facts.not_after))
        values["diff"] = {"before": _summary(before), "after": _summary(bundle)}
        if values["changed"] and values["diff"]["before"] == values["diff"]["after"]:
            values["diff"]["after"]["order"] = values["order_uri"] or f"a new one for {', '.join(self.wish.names)}"
        if removed:
            values["changed"] = True
            values["diff"]["before"]["leftover_records"] = [record["name"] for record in removed]
            values["diff"]["after"]["leftover_records"] = []
        return values

    def _fleet_returns(self, bundle: Bundle | None) -> dict[str, t.Any]:
        """Say what hosts lack, and which could give a key that is needed here."""
        if self.fleet is None:
            return {"key_hosts": [], "hosts_without": [], "unsaved": False}
        remembered = memories.load_memory(self.lineage.order_path, option="store_path").order
        return {
            "key_hosts": self.fleet.key_hosts(bundle, remembered),
            "hosts_without": self.fleet.hosts_without(bundle),
            "unsaved": self.fleet.is_unsaved(),
        }


def _summary(bundle: Bundle | None) -> dict[str, t.Any]:
    """Say for a diff which certificate is in use."""
    if bundle is None:
        return {"certificate": None}
    shown = bundle.facts.returns()
    return {"certificate": {key: shown[key] for key in ("names", "serial", "not_after", "issuer")}}
