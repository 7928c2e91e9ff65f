# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one order state machine: from the status that the CA shows to a certificate that was checked.

    pending ──records seen, challenges answered──> ready ──CSR──> processing ──> valid ──downloaded, checked──> issued
       │ a record is missing: nothing is answered      │ past the deadline: pending, the next run goes on
       └ waiting_for_dns                               └ validating, issuing

Every run begins where the order stands, so it does not matter which run, or which controller, did the steps before.
Private to this collection.
"""

from __future__ import annotations

import contextlib
import itertools
import typing as t
from dataclasses import dataclass, replace

from .. import _wait
from .._dns import propagation
from .._dns.records import DnsRecord, absolute, merge
from .._errors import UserError
from .download import download
from .order import OPEN, Placed, Wish, read_authorizations, side_by_side, statuses_of, values_for
from .problems import AcmeProblem, describe_problem
from .resources import Authorization, Order, order_from, read_order

if t.TYPE_CHECKING:
    from .._dns.lookup import Resolvers
    from .._pki.chain import Chain
    from .._pki.csr import Csr
    from .session import Session


MOST_REQUESTS = 5
"""So many times a run sends the certificate signing request for one order."""


@dataclass(frozen=True)
class Plan:
    """How far to go and how long to wait, in seconds; `csr` gives the request, whose key is on disk by then.

    With `eager` the records are waited for in any case, else only once some server has one of them. `zone` is the one
    that holds the challenge names, where DNS may not tell.
    """

    wish: Wish
    csr: t.Callable[[], Csr]
    verify: str
    resolvers: Resolvers
    eager: bool
    propagation_timeout: float
    validation_timeout: float
    issuance_timeout: float
    zone: str | None = None
    anchors: t.Sequence[t.Any] = ()
    preferred_chain: str | None = None


@dataclass(frozen=True)
class Outcome:
    """Where the order stands now. `chain` is there once it is issued; `missing` while records are waited for."""

    phase: str
    placed: Placed
    chain: Chain | None = None
    missing: tuple[propagation.Missing, ...] = ()
    warnings: tuple[str, ...] = ()
    answered: bool = False
    waited: str | None = None


def awaiting_answer(authorizations: t.Iterable[Authorization], kind: str) -> list[Authorization]:
    """Choose the authorizations whose challenge was not answered yet: each is answered once, never while processing."""
    return [a for a in authorizations if a.status == "pending" and a.challenge(kind).status == "pending"]


def drive(session: Session, placed: Placed, plan: Plan, *, check: bool = False) -> Outcome:
    """Take an order as far as it goes. In check mode it only looks: nothing is answered, nothing finalized.

    Raises UserError where the order can never be fulfilled or the certificate must not be used.
    """
    outcome = Outcome("validating", placed)
    if placed.order.status == "pending":
        outcome = _prove(session, outcome, plan, check=check)
        if outcome.phase != "validating" or outcome.waited or check:
            return outcome
        placed = outcome.placed
    if check and placed.order.status != "valid":
        return replace(outcome, phase="issuing")
    order = placed.order
    if order.status in ("ready", "processing"):
        order = _issue(session, order, plan)
    outcome = replace(outcome, placed=replace(placed, order=order))
    if order.status == "invalid":
        raise order_failed(session, order)
    if order.status != "valid" or not order.certificate_url:
        return replace(outcome, phase="issuing", waited=f"the CA is still issuing ({order.status})")
    got = download(
        session, order, csr=plan.csr(), names=plan.wish.names, anchors=plan.anchors, preferred=plan.preferred_chain
    )
    return replace(outcome, phase="issued", chain=got.chain, warnings=(*outcome.warnings, *got.warnings))


def _prove(session: Session, outcome: Outcome, plan: Plan, *, check: bool) -> Outcome:
    """See the records, answer the challenges, wait until the CA has validated them."""
    placed = outcome.placed
    kind = plan.wish.challenge
    open_ones = awaiting_answer(placed.authorizations, kind)
    values = values_for(session, open_ones, plan.wish)
    zones = {absolute(name): plan.zone for name, value, identifier in values}
    seen = _look_for(merge(values, zones=zones), plan, check=check)
    outcome = replace(outcome, missing=tuple(seen.missing), warnings=tuple(seen.warnings))
    if seen.missing:
        return replace(outcome, phase="waiting_for_dns")
    if check:
        return outcome
    side_by_side(lambda a: _answer(session, a, kind), open_ones)
    order = _await_validation(session, placed.order, plan)
    outcome = replace(outcome, placed=replace(placed, order=order), answered=bool(open_ones))
    if order.status == "invalid":
        raise order_failed(session, order)
    if order.status == "pending":
        authorizations = read_authorizations(session, order)
        if any(one.status not in ("pending", "valid", "processing") for one in authorizations):
            raise order_failed(session, order, authorizations)
        # A CA may say what went wrong and leave the challenge to be answered again (RFC 8555 section 8.2).
        said = _in_words(problem for problem in (one.problem() for one in authorizations) if problem)
        return replace(outcome, waited=f"the CA has not validated the names yet{f' ({said})' if said else ''}")
    validated = tuple(replace(a, status="valid") for a in placed.authorizations)  # RFC 8555 section 7.1.6: all are
    return replace(outcome, placed=replace(outcome.placed, authorizations=validated))


def _look_for(records: t.Sequence[DnsRecord], plan: Plan, *, check: bool) -> propagation.Seen:
    seen = propagation.check(records, verify=plan.verify, resolvers=plan.resolvers)
    if not seen.missing or check or not (plan.eager or seen.any_seen) or plan.propagation_timeout <= 0:
        return seen
    return propagation.wait(records, verify=plan.verify, resolvers=plan.resolvers, within=plan.propagation_timeout)


def _answer(session: Session, authorization: Authorization, kind: str) -> None:
    """Tell the CA to validate. A lost answer is settled by reading: only one still pending is answered again."""
    from acme import challenges

    from .resources import read_authorization
    from .transport import LostAnswer

    challenge = authorization.challenge(kind)
    body = challenges.DNS01Response(key_authorization="")  # serialises to {} (RFC 8555 section 7.5.1)
    for last_try in (False, True):
        try:
            session.ask(challenge.url, body, doing=f"validate {authorization.identifier}")
            return
        except LostAnswer:
            now = read_authorization(session, authorization.url)
            if now.status != "pending" or now.challenge(kind).status != "pending":
                return
            if last_try:
                raise


def _await_validation(session: Session, order: Order, plan: Plan) -> Order:
    """Read the order until it is pending no more; Retry-After is obeyed after one quick look."""
    return _wait.until(
        lambda: read_order(session, order.url),
        reached=lambda seen: seen.status != "pending",
        within=plan.validation_timeout,
        first=0.3,
        pause=lambda seen: seen.retry_after,
    ).last


def _issue(session: Session, order: Order, plan: Plan) -> Order:
    """Send the CSR and wait for the certificate; an order that is still (or again) `ready` gets it again.

    A CA may have lost the request, or say `orderNotReady` although it showed `ready` (certbot #10288). It is sent
    MOST_REQUESTS times at most: a CA that fails again and again is left to a later run.
    """
    sends = itertools.count(1)

    def look() -> Order:
        seen = read_order(session, order.url)
        return _send_csr(session, seen, plan) if seen.status == "ready" and next(sends) < MOST_REQUESTS else seen

    if order.status == "ready":
        order = _send_csr(session, order, plan)
    if order.status in ("valid", "invalid"):
        return order
    return _wait.until(
        look,
        reached=lambda seen: seen.status not in OPEN,
        within=plan.issuance_timeout,
        first=0.3,
        pause=lambda seen: seen.retry_after,
    ).last


def _send_csr(session: Session, order: Order, plan: Plan) -> Order:
    from acme import messages
    from cryptography import x509

    from .transport import LostAnswer

    csr = x509.load_der_x509_csr(plan.csr().der)
    try:
        response = session.ask(order.finalize_url, messages.CertificateRequest(csr=csr), doing="issue the certificate")
        return order_from(response, order.url)
    except LostAnswer as lost:
        seen = read_order(session, order.url)
        if lost.not_before is not None and seen.status == "ready":
            raise
        return seen
    except AcmeProblem as problem:
        if problem.type != "orderNotReady":
            raise
        return read_order(session, order.url)


def order_failed(session: Session, order: Order, authorizations: t.Sequence[Authorization] | None = None) -> UserError:
    """Make the error of an order that can never be fulfilled: what the CA said, name by name (R15).

    What is still pending of it is given up at the CA.
    """
    authorizations = authorizations or read_authorizations(session, order)
    problems = [problem for problem in (one.problem() for one in authorizations) if problem]
    side_by_side(lambda one: _give_up(session, one), [one for one in authorizations if one.status == "pending"])
    answer = _in_words(problems) or (describe_problem(order.error) if order.error else statuses_of(authorizations))
    return UserError(
        "The order has failed and cannot be used any more",
        answer=answer,
        remedy="Correct what the CA names; the next run places a new order with new TXT values.",
        problems=problems or ([dict(order.error)] if order.error else []),
        order_is_dead=True,
    )


def _in_words(problems: t.Iterable[dict[str, t.Any]]) -> str:
    """Say problems name by name, as `Authorization.problem` gives them."""
    return "; ".join(
        f"{problem['identifier']['value']}: {describe_problem({**problem, 'identifier': None})}" for problem in problems
    )


def _give_up(session: Session, authorization: Authorization) -> None:
    """Deactivate an authorization (RFC 8555 section 7.5.2): a pending one counts against a limit. Best effort."""
    from acme import messages

    with contextlib.suppress(UserError):
        body = messages.UpdateAuthorization(status="deactivated")
        session.network.ask(authorization.url, body, doing="give up an authorization", repeatable=True, patience=5.0)
