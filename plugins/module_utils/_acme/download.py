# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificate of a finished order: fetched, checked, and given with the chain that is preferred.

The default chain comes first and is enough: an alternate one that is absent, broken or slow is a warning (R37).
Private to this collection.
"""

from __future__ import annotations

import typing as t
import urllib.parse
from dataclasses import dataclass

from .._errors import UserError
from .._pki import chain as chains
from .memory import utc_now
from .resources import Order

if t.TYPE_CHECKING:
    import requests

    from .._pki.csr import Csr
    from .session import Session

ALTERNATE_SECONDS = 10.0
"""So long an alternate chain that fails is asked for again."""


@dataclass(frozen=True)
class Downloaded:
    """A chain that passed every check, and what to warn of."""

    chain: chains.Chain
    warnings: tuple[str, ...] = ()


def download(
    session: Session,
    order: Order,
    *,
    csr: Csr,
    names: t.Sequence[str],
    anchors: t.Sequence[t.Any],
    preferred: str | None,
) -> Downloaded:
    """Fetch the certificate and check it before a byte of it goes anywhere (R35, R36).

    `preferred` is the common name of the root at which the chain should end. Raises ChainError where key, names, order
    of the chain or dates are not as they must be.
    """
    response = session.ask(order.certificate_url or "", doing="give the certificate", document=False)
    try:
        chain = chains.parse_chain(response.content)
        chains.check_key(chain, csr.public_sha256)
        chains.check_exact_names(chain, names)
        chains.check_links(chain, anchors=anchors)
        chains.check_dates(chain, now=utc_now())
    except chains.ChainError as error:
        remedy = "Run again; where it stays so, give the key that it was asked for with, or order anew"
        if isinstance(error, chains.ExpiredError):
            remedy = "It ran out before it was fetched: order anew, as the next run of acme_certificate does"
        place = order.certificate_url
        error.advise(f"The CA gives it at {place}; nothing was written. {remedy} (acme_order with renew: true).")
        raise
    if preferred is None or chain.ends_at == preferred:
        return Downloaded(chain)
    return _prefer(preferred, chain, _alternates(session, response, chain, anchors=anchors))


def _prefer(preferred: str, default: chains.Chain, alternates: t.Iterable[chains.Chain | str]) -> Downloaded:
    """Take the first alternate chain that ends at the preferred root, else the default one with a warning."""
    offered, warnings = [default.ends_at], []
    for alternate in alternates:
        if isinstance(alternate, str):
            warnings.append(alternate)
        elif alternate.ends_at == preferred:
            return Downloaded(alternate, tuple(warnings))
        else:
            offered.append(alternate.ends_at)
    ends = ", ".join(repr(end) for end in offered)
    warnings.append(
        f"No chain of the CA ends at {preferred!r} (preferred_chain), the default one is used; there is: {ends}."
    )
    return Downloaded(default, tuple(warnings))


def _alternates(
    session: Session, response: requests.Response, default: chains.Chain, *, anchors: t.Sequence[t.Any]
) -> t.Iterator[chains.Chain | str]:
    """Fetch the alternate chains (RFC 8555 section 7.4.2) one by one; one that is of no use is said in words."""
    for url in _alternate_urls(response):
        try:
            answer = session.network.ask(
                url, doing="give an alternate chain", document=False, patience=ALTERNATE_SECONDS
            )
            chain = chains.parse_chain(answer.content)
            if chain.leaf != default.leaf:
                raise chains.ChainError("The alternate chain is of another certificate", name=url)
            chains.check_links(chain, anchors=anchors)
        except UserError as error:
            yield f"An alternate chain cannot be used. {error}"
        else:
            yield chain


def _alternate_urls(response: requests.Response) -> list[str]:
    """Read the Link headers; `response.links` would keep only the last one of a relation."""
    from requests.utils import parse_header_links

    links = parse_header_links(response.headers.get("Link") or "")
    return [urllib.parse.urljoin(response.url, link["url"]) for link in links if link.get("rel") == "alternate"]
