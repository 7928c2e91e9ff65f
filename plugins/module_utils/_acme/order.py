# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Orders: pick up the one that was placed, or place a new one; and the TXT records that it asks for.

An order is remembered before anything else is done with it, and an answer that got lost is settled by reading at the
CA, so that no answer, lost or late, costs a second order. Private to this collection.
"""

from __future__ import annotations

import contextlib
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from .._dns.lookup import Resolvers
from .._dns.records import DnsRecord, absolute, merge
from .._errors import BadInput, UserError
from .._pki.chain import iso
from .._pki.names import Name
from .memory import Remembered, utc_now
from .problems import AcmeProblem
from .resources import Authorization, Order, dns_value, order_from, read_authorization, read_order

if t.TYPE_CHECKING:
    from .session import Session

T = t.TypeVar("T")
R = t.TypeVar("R")

NAMES_PER_LANE = 8
"""Each lane beyond the first costs one request for a nonce and saves round trips: worth it from this many names on."""

MOST_ORDERS_READ = 20
"""How many of the account's newest orders are read to find one whose answer got lost."""

OPEN = ("pending", "ready", "processing")


@dataclass(frozen=True)
class Wish:
    """What a certificate is wanted for."""

    identifiers: tuple[Name, ...]
    profile: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """The identifiers as they are sent to the CA."""
        return tuple(name.ascii for name in self.identifiers)


@dataclass(frozen=True)
class Placed:
    """An order at hand; `reused` where an earlier run placed it, `dropped` why an earlier one could not be used."""

    order: Order
    authorizations: tuple[Authorization, ...]
    reused: bool
    dropped: str | None = None

    @property
    def expires(self) -> datetime | None:
        """When the order stops being usable: the earliest end of itself and its pending authorizations."""
        moments = [self.order.expires, *(a.expires for a in self.authorizations if a.status == "pending")]
        return min((moment for moment in moments if moment is not None), default=None)


def side_by_side(work: t.Callable[[T], R], items: t.Sequence[T], session: Session) -> list[R]:
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
            remedy="Check acme_directory and the account key; acme_account creates an account.",
        )
    if account.uri != remembered.account_uri:
        raise BadInput(
            "order_uri",
            remembered.order_uri,
            f"this order belongs to another account, {remembered.account_uri}; this account key is for {account.uri}",
            remedy="Use the account key that placed the order, or remove the state to order anew.",
        )


def pick_up(
    session: Session, remembered: Remembered, wish: Wish, *, renew: bool, min_remaining: timedelta
) -> tuple[Placed | None, str | None]:
    """Pick up the remembered order where it is usable, else say in words why it is not (R29).

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
        return None, "the certificate of the earlier order is to be renewed"
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
    from .problems import describe_problem

    return describe_problem(order.error or next(iter(problems_of(session, order)), None))


def problems_of(session: Session, order: Order) -> list[dict[str, t.Any]]:
    """Read what failed, per name, with the CA's own words."""
    found = [authorization.problem() for authorization in read_authorizations(session, order)]
    return [problem for problem in found if problem]


def read_authorizations(session: Session, order: Order) -> list[Authorization]:
    """Read all authorizations of an order, sorted by name (CAs shuffle them)."""
    found = side_by_side(lambda url: read_authorization(session, url), order.authorization_urls, session)
    return sorted(found, key=lambda authorization: (authorization.name, not authorization.is_wildcard))


def check_profile(session: Session, wish: Wish) -> None:
    """Refuse a profile that the CA does not offer. Raises BadInput listing those that it does."""
    if wish.profile and wish.profile not in session.profiles:
        offered = ", ".join(sorted(session.profiles)) or "none"
        raise BadInput(
            "profile", wish.profile, f"this CA offers: {offered}", remedy="Give one of them, or leave it out."
        )


def place(session: Session, wish: Wish, *, remember: t.Callable[[Remembered], None]) -> Placed:
    """Place a new order; it is remembered before its authorizations are read.

    Where the answer got lost, the order is looked for at the CA; only one that is not there is placed again.
    Raises AcmeProblem where the CA refuses.
    """
    from acme import messages

    from .transport import LostAnswer

    check_profile(session, wish)
    body = messages.NewOrder(
        identifiers=[messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name) for name in wish.names],
        profile=wish.profile or "",
    )

    def post() -> Order:
        response = session.ask(session.directory["newOrder"], body, doing="take the order")
        if "Location" not in response.headers:
            raise LostAnswer("The CA took the order and did not tell its address", remedy="Run again.")
        return order_from(response, response.headers["Location"])

    try:
        order = post()
    except LostAnswer:
        order = find_order(session, wish) or post()
    remember(_remembered(session, order, wish))
    check_names(order, wish.names)
    return Placed(order, tuple(read_authorizations(session, order)), reused=False)


def check_names(order: Order, names: t.Collection[str]) -> None:
    """Refuse an order that the CA made for other names (some strip `*.`, R35). Raises UserError."""
    if set(order.identifiers) != set(names):
        raise UserError(
            "The CA made an order for other names than asked",
            name=order.url,
            answer=f"asked were {', '.join(names)}; it has {', '.join(order.identifiers)}",
            remedy="Nothing was answered; use a CA that issues for these names.",
        )


def _remembered(session: Session, order: Order, wish: Wish) -> Remembered:
    return Remembered(
        directory=session.url,
        account_uri=session.account_uri or "",
        order_uri=order.url,
        identifiers=wish.names,
        profile=wish.profile,
        created=iso(utc_now()),
        expires=iso(order.expires) if order.expires else None,
    )


def find_order(session: Session, wish: Wish) -> Order | None:
    """Look among the account's newest orders for an open one with just these names (RFC 8555 section 7.1.2.1).

    None where the CA keeps no list; such CAs (Let's Encrypt) give the same order again when it is placed again.
    """
    account = session.ask(session.account_uri or "", doing="show the account").json()
    if not account.get("orders"):
        return None
    listed = session.ask(account["orders"], doing="list the account's orders").json().get("orders") or []
    for url in reversed(listed[-MOST_ORDERS_READ:]):
        order = read_order(session, url)
        if order.status in OPEN and set(order.identifiers) == set(wish.names):
            return order
    return None


def records_for(
    session: Session,
    authorizations: t.Iterable[Authorization],
    *,
    resolvers: Resolvers,
    zone: str | None = None,
    with_zones: bool = True,
) -> tuple[list[DnsRecord], tuple[str, ...]]:
    """Give the TXT records that these authorizations ask for, and warnings about zones that DNS did not tell.

    Raises UserError where the CA offers no dns-01 challenge for a name.
    """
    triples = [
        (f"_acme-challenge.{a.name}", dns_value(session, a.challenge("dns-01")), a.identifier) for a in authorizations
    ]
    names = {absolute(name) for name, value, identifier in triples}
    if zone is not None:
        return merge(triples, zones=dict.fromkeys(names, zone)), ()
    if not with_zones or not names:
        return merge(triples), ()
    found = resolvers.zones_of(names)
    return merge(triples, zones=found.names), found.warnings
