# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Orders: what is wanted, picking up the one that was placed, and the TXT records that it asks for.

Placing a new one is in `place.py`. Private to this collection.
"""

from __future__ import annotations

import contextlib
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from .._dns.delegation import written_names
from .._dns.lookup import Resolvers, Zones
from .._dns.persist import Wanted
from .._dns.records import TTL_SECONDS, DnsRecord, absolute, merge
from .._errors import BadInput, UserError
from .._pki.chain import iso
from .._pki.names import Name
from .memory import Remembered, utc_now
from .problems import AcmeProblem, describe_problem
from .resources import (
    PERSISTENT,
    Authorization,
    Order,
    dns_value,
    persistent_value,
    read_authorization,
    read_order,
    record_name,
)

if t.TYPE_CHECKING:
    from .session import Session

T = t.TypeVar("T")
R = t.TypeVar("R")

NAMES_PER_LANE = 8
"""Each lane beyond the first costs one request for a nonce and saves round trips: worth it from this many names on."""

OPEN = ("pending", "ready", "processing")


@dataclass(frozen=True)
class Wish:
    """What a certificate is wanted for, how control is proven, and which certificate it comes after (ARI's cert ID)."""

    identifiers: tuple[Name, ...]
    profile: str | None = None
    challenge: str = "dns-01"
    replaces: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The identifiers as they are sent to the CA."""
        return tuple(name.ascii for name in self.identifiers)


@dataclass(frozen=True)
class Placed:
    """An order at hand; `reused` where an earlier run placed it."""

    order: Order
    authorizations: tuple[Authorization, ...]
    reused: bool

    @property
    def expires(self) -> datetime | None:
        """When the order stops being usable: the earliest end of itself and its pending authorizations."""
        moments = [self.order.expires, *(a.expires for a in self.authorizations if a.status == "pending")]
        return min((moment for moment in moments if moment is not None), default=None)


def side_by_side(work: t.Callable[[T], R], items: t.Sequence[T]) -> list[R]:
    """Do the same for every item, concurrently where there are many, over kept connections; results in order."""
    lanes = 1 + (len(items) - 1) // NAMES_PER_LANE
    if lanes <= 1:
        return [work(item) for item in items]
    lanes = min(lanes, 10)
    with ThreadPoolExecutor(max_workers=lanes) as pool:
        return list(pool.map(work, items))


@contextlib.contextmanager
def remembering_limits(remember: t.Callable[[datetime, str | None], None]) -> t.Iterator[None]:
    """Hand a rate limit that the CA names to `remember` before the error goes on (R7)."""
    try:
        yield
    except AcmeProblem as problem:
        if problem.is_limit and problem.retry_at is not None:
            remember(problem.retry_at, problem.answer)
        raise


def awaiting_records(placed: Placed) -> list[Authorization]:
    """Choose the authorizations whose records must be in DNS: those that the CA has not validated yet."""
    if placed.order.status != "pending":
        return []
    return [authorization for authorization in placed.authorizations if authorization.status == "pending"]


def check_remembered(remembered: Remembered, directory: str, *, option: str, path: str | None) -> None:
    """Refuse to go on with an order that was made at another directory. Raises BadInput; nothing was sent."""
    if remembered.directory != directory:
        raise BadInput(
            option,
            path,
            f"the order {remembered.order_uri} was made at another directory, {remembered.directory}",
            remedy=f"Set acme_directory to that, or use another state for {directory}.",
        )


def check_owner(session: Session, remembered: Remembered) -> None:
    """Find out, where the CA does not show an order, whether the account key is another account's. Raises BadInput."""
    from .account import find_account

    session.forget_account()
    account = find_account(session)
    if account is None:
        raise UserError(
            "The CA does not know the account of this order (any more)",
            name=remembered.account_uri,
            remedy="Check acme_directory and the account key. Where the CA was reset, open the account anew with "
            "acme_account and order anew with acme_order.",
        )
    if account.uri != remembered.account_uri:
        raise BadInput(
            "order_uri",
            remembered.order_uri,
            f"this order belongs to another account, {remembered.account_uri}; this account key is for {account.uri}",
            remedy="Use the account key that placed the order, or place another one (acme_order).",
        )


def pick_up(
    session: Session, remembered: Remembered, wish: Wish, *, renew: bool, min_remaining: timedelta
) -> tuple[Placed | None, str | None]:
    """Pick up the remembered order where it is usable, else say in words why it is not (R29), if nobody asked for it.

    A `valid` order is usable unless `renew` asks for the next one. Where the account is gone the session has none then.
    """
    if not remembered.is_for(wish.names, wish.profile):
        return None, f"the order {remembered.order_uri} was for {remembered.what}"
    try:
        order = read_order(session, remembered.order_uri)
    except AcmeProblem as problem:
        if problem.type == "accountDoesNotExist":
            session.forget_account()
            return None, f"the CA does not know its account {remembered.account_uri} any more"
        if problem.is_gone:
            check_owner(session, remembered)
            return None, f"the CA does not know the order {remembered.order_uri} any more"
        raise
    if set(order.identifiers) != set(wish.names):
        return None, f"the CA made the order {order.url} for {', '.join(order.identifiers)}"
    if order.status == "valid" and renew:
        return None, None
    if order.status not in (*OPEN, "valid"):
        return None, f"the order {order.url} has become {order.status}: {_why(session, order)}"
    authorizations = read_authorizations(session, order) if order.status in ("pending", "ready") else ()
    placed = Placed(order, tuple(authorizations), reused=True)
    dead = [a.identifier for a in authorizations if a.status not in ("pending", "valid", "processing")]
    if dead:
        return None, f"the authorization for {', '.join(dead)} is not usable any more"
    if order.status == "pending" and placed.expires and placed.expires - utc_now() < min_remaining:
        return None, f"the order {order.url} is valid only until {iso(placed.expires)}"
    return placed, None


def _why(session: Session, order: Order) -> str:
    """Say why an order is of no use any more: the CA's reason, else what has become of its authorizations."""
    if order.error:
        return describe_problem(order.error)
    authorizations = read_authorizations(session, order)
    said = [describe_problem(problem) for problem in (one.problem() for one in authorizations) if problem]
    return said[0] if said else statuses_of(authorizations)


def statuses_of(authorizations: t.Iterable[Authorization]) -> str:
    """Say what has become of authorizations of which the CA says no more."""
    ended = [f"{one.identifier} is {one.status}" for one in authorizations if one.status not in ("pending", "valid")]
    return ", ".join(ended) or "no reason given"


def read_authorizations(session: Session, order: Order) -> list[Authorization]:
    """Read all authorizations of an order, sorted by name (CAs shuffle them)."""
    found = side_by_side(lambda url: read_authorization(session, url), order.authorization_urls)
    return sorted(found, key=lambda authorization: (authorization.name, not authorization.is_wildcard))


def values_for(
    session: Session, authorizations: t.Iterable[Authorization], wish: Wish
) -> list[tuple[str, str | Wanted, str]]:
    """Give what these authorizations want to see in DNS: name, TXT value and identifier of each.

    Raises UserError where the CA offers no such challenge for a name.
    """
    kind, account = wish.challenge, session.account_uri or ""
    return [
        (record_name(a.identifier, kind, account_uri=account), _value(session, a, wish), a.identifier)
        for a in authorizations
    ]


def challenge_names(session: Session, wish: Wish) -> set[str]:
    """Give the names at which the CA may look for proofs of what is wished for, in the form of `records.absolute`."""
    account = session.account_uri or ""
    return {absolute(record_name(name, wish.challenge, account_uri=account)) for name in wish.names}


def _value(session: Session, authorization: Authorization, wish: Wish) -> str | Wanted:
    """Give the TXT value; of dns-persist-01, the one that a name and its wildcard share where both are ordered."""
    if wish.challenge == PERSISTENT:
        return persistent_value(session, authorization, is_wildcard=f"*.{authorization.name}" in wish.names)
    return dns_value(session, authorization.challenge(wish.challenge))


@dataclass(frozen=True)
class Asked:
    """What an order wants to see in DNS: the `records` to write, the same values `sought` where the CA looks them up,
    and `warnings` about names and zones."""

    records: tuple[DnsRecord, ...] = ()
    sought: tuple[DnsRecord, ...] = ()
    warnings: tuple[str, ...] = ()


def records_for(
    session: Session,
    authorizations: t.Iterable[Authorization],
    wish: Wish,
    params: t.Mapping[str, t.Any],
    *,
    resolvers: Resolvers,
    zone: str | None = None,
    ttl: int = TTL_SECONDS,
    known: t.Mapping[str, str] | None = None,
) -> Asked:
    """Give the TXT records of these authorizations, with their zones where DNS (or `zone`) tells them.

    `params` has the options `delegation` and `follow_cname`; `known` are delegations that the publisher knows, of these
    and of other names. Raises as `values_for` and `written_names`.
    """
    values = values_for(session, authorizations, wish)
    names = sorted({absolute(name) for name, value, identifier in values})
    if not names:
        return Asked()
    written, warnings = written_names(
        names,
        of_order=challenge_names(session, wish),
        known=known or {},
        delegation=params.get("delegation") or {},
        resolvers=resolvers,
        follow=params["follow_cname"],
        verify=params["verify_dns"],
    )
    targets = sorted(set(written.values()))
    found = Zones(dict.fromkeys(targets, zone), ()) if zone is not None else resolvers.zones_of(targets)
    return Asked(
        records=tuple(merge(values, zones=found.names, written=written, ttl=ttl)),
        sought=tuple(merge(values, zones=found.names)),
        warnings=(*warnings, *found.warnings),
    )
