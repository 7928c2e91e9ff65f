# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The return values that the modules about orders and certificates share: every key is always there.

Private to this collection.
"""

from __future__ import annotations

import typing as t

from .._dns.records import DnsRecord, instructions
from .._pki.chain import Chain, describe, iso

if t.TYPE_CHECKING:
    from .._dns.propagation import Missing
    from .order import Placed, Wish

NO_ORDER: dict[str, t.Any] = {
    "order_uri": None,
    "status": None,
    "expires": None,
    "reused": False,
    "dns_records": [],
    "authorizations": [],
    "instructions": [],
    "action_required": False,
}

NO_CERTIFICATE: dict[str, t.Any] = {
    "certificate": None,
    "chain": None,
    "fullchain": None,
    "names": [],
    "not_before": None,
    "not_after": None,
    "serial": None,
    "fingerprint_sha256": None,
    "issuer": None,
    "cert_id": None,
}


def order_returns(
    placed: Placed, wish: Wish, records: t.Sequence[DnsRecord], *, missing: t.Sequence[Missing]
) -> dict[str, t.Any]:
    """Describe an order; instructions are there only while a person has to add something.

    An internationalised name is shown in both forms there: the zone has its A-labels, the person knows the other.
    """
    lines = instructions(records, valid_until=placed.expires) if missing else []
    both = [name.shown for name in wish.identifiers if name.shown != name.ascii]
    if lines and both:
        lines.append(f"Internationalised names: {', '.join(both)}.")
    return {
        "order_uri": placed.order.url,
        "status": placed.order.status,
        "expires": iso(placed.expires) if placed.expires else None,
        "reused": placed.reused,
        "dns_records": [record.returns() for record in records],
        "authorizations": [
            {
                "identifier": authorization.identifier,
                "status": authorization.status,
                "expires": iso(authorization.expires) if authorization.expires else None,
                "offered": sorted(challenge.type for challenge in authorization.challenges),
            }
            for authorization in placed.authorizations
        ],
        "instructions": lines,
        "action_required": bool(missing),
    }


def certificate_returns(chain: Chain | None) -> dict[str, t.Any]:
    """Describe a certificate, public parts only."""
    if chain is None:
        return dict(NO_CERTIFICATE)
    return {
        "certificate": chain.pem(issuers=False).decode(),
        "chain": chain.pem(leaf=False).decode(),
        "fullchain": chain.pem().decode(),
        **describe(chain.leaf).returns(),
    }
