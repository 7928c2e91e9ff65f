# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Placing an order, once: it is remembered before anything else is done with it.

An answer that got lost is settled by reading at the CA, so that no answer, lost or late, costs a second order (R2).
Private to this collection.
"""

from __future__ import annotations

import typing as t

from .._errors import BadInput, UserError
from .._pki.chain import iso
from .account import list_orders
from .memory import Remembered, utc_now
from .order import OPEN, Placed, Wish, read_authorizations
from .problems import AcmeProblem
from .resources import Order, order_from, read_order

if t.TYPE_CHECKING:
    from .session import Session

MOST_ORDERS_READ = 20
"""How many of the account's newest orders are read to find one whose answer got lost."""

REPLACES_REFUSED = ("alreadyReplaced", "unauthorized", "malformed", "conflict", "about:blank")
"""How CAs refuse `replaces`: replaced already, another account's, unknown or without a common name (RFC 9773 5)."""


def check_profile(session: Session, wish: Wish) -> None:
    """Refuse a profile that the CA does not offer. Raises BadInput listing those that it does."""
    if wish.profile and wish.profile not in session.profiles:
        offered = ", ".join(sorted(session.profiles)) or "none"
        raise BadInput(
            "profile", wish.profile, f"this CA offers: {offered}", remedy="Give one of them, or leave it out."
        )


def place(
    session: Session, wish: Wish, *, remember: t.Callable[[Remembered], None], warn: t.Callable[[str], None]
) -> Placed:
    """Place a new order; it is remembered before its authorizations are read.

    Raises AcmeProblem where the CA refuses.
    """
    check_profile(session, wish)
    order = _post(session, wish, warn=warn)
    remember(_remembered(session, order, wish))
    check_names(order, wish.names)
    return Placed(order, tuple(read_authorizations(session, order)), reused=False)


def serves_renewal_info(session: Session) -> bool:
    """Tell whether the CA knows renewal information (ARI), and with it `replaces`."""
    try:
        return bool(session.directory["renewalInfo"])
    except KeyError:
        return False


def _post(session: Session, wish: Wish, *, warn: t.Callable[[str], None]) -> Order:
    """Post it. Where the answer got lost, it is looked for at the CA; only one that is not there is posted again.

    A CA that does not take `replaces` makes no order for that: it is posted once more without (R26).
    """
    from .transport import LostAnswer

    replaces = wish.replaces
    if replaces and not serves_renewal_info(session):
        replaces = None
        warn("This CA has no renewal information, so `replaces` is not sent.")
    try:
        return _post_once(session, wish, replaces)
    except LostAnswer as lost:
        found = find_order(session, wish)
        if found is not None:
            return found
        if lost.not_before is not None:
            raise
    except AcmeProblem as problem:
        if not replaces or (problem.type not in REPLACES_REFUSED and problem.status != 409):
            raise
        warn(f"The CA does not take the order as a replacement of {replaces}: {problem.answer}. Ordered without.")
    return _post_once(session, wish, None)


def _post_once(session: Session, wish: Wish, replaces: str | None) -> Order:
    from acme import messages

    from .bodies import NewOrder
    from .transport import LostAnswer

    body = NewOrder(
        identifiers=[messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name) for name in wish.names],
        profile=wish.profile or "",
        replaces=replaces or "",
    )
    response = session.ask(session.directory["newOrder"], body, doing="take the order")
    if "Location" not in response.headers:
        raise LostAnswer("The CA took the order and did not tell its address", remedy="Run again.")
    return order_from(response, response.headers["Location"])


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
        challenge=wish.challenge,
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
    for url in reversed(list_orders(session, account["orders"])[-MOST_ORDERS_READ:]):
        order = read_order(session, url)
        if order.status in OPEN and set(order.identifiers) == set(wish.names):
            return order
    return None
