# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_dns_record: TXT values published or removed, by value, through a publisher. What DNS shows says what is to be
done, so that it converges with any of them.

Private to this collection.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from .._errors import UserError
from .._wait import until
from . import propagation
from .lookup import Resolvers
from .records import DnsRecord, absolute, bare

if t.TYPE_CHECKING:
    from .publisher import ChoosePublisher, Publisher

Warn = t.Callable[[str], None]


def publish_records(
    params: dict[str, t.Any], *, check: bool, warn: Warn, choose_publisher: ChoosePublisher
) -> dict[str, t.Any]:
    """Do the work of module acme_dns_record; `choose_publisher` makes the publisher that the options name."""
    publisher = choose_publisher(params)
    if publisher is None:
        raise UserError("No publisher is given", remedy="Give publisher, or publisher_file.")
    resolvers = Resolvers(params.get("resolvers") or ())
    sought = [DnsRecord.from_returns(record) for record in params["records"]]
    written = _written(sought, publisher, resolvers, warn)
    verify = params["verify_dns"]
    before = propagation.check(sought, verify=verify, resolvers=resolvers)
    is_present = params["state"] == "present"
    changed = verify == "none" or (bool(before.missing) if is_present else before.any_seen)
    changed = changed and (is_present or publisher.REMOVES)
    missing: t.Sequence[propagation.Missing] = before.missing if is_present else ()
    warnings = before.warnings
    if changed and not check:
        (publisher.add if is_present else publisher.remove)(written)
        if params["wait"]:
            seen = _wait(sought, params, resolvers, is_present=is_present)
            missing, warnings = seen.missing if is_present else (), seen.warnings
    for text in warnings:
        warn(text)
    return {
        "changed": changed,
        "records": [record.returns() for record in written],
        "servers": [
            {"name": one.name, "entry": one.entry, "server": server.server, "answer": server.answer}
            for one in missing
            for server in one.servers
        ],
        "diff": _diff(written, is_present=is_present, changed=changed),
    }


def _written(records: t.Sequence[DnsRecord], publisher: Publisher, resolvers: Resolvers, warn: Warn) -> list[DnsRecord]:
    """Give the records as they are to be written: where the publisher has them, with their zones."""
    names = {absolute(name): absolute(target) for name, target in publisher.delegation.items()}
    written = []
    for record in records:
        target = names.get(record.name, record.name)
        zone = publisher.zone or (record.zone if target == record.name else None)
        written.append(replace(record, name=target, zone=zone, ttl=publisher.ttl, challenge_names=(record.name,)))
    found = resolvers.zones_of(record.name for record in written if not record.zone)
    for text in found.warnings:
        warn(text)
    return [record.in_zone(record.zone or found.names[record.name]) for record in written]


def _wait(
    records: t.Sequence[DnsRecord], params: t.Mapping[str, t.Any], resolvers: Resolvers, *, is_present: bool
) -> propagation.Seen:
    """Wait until every server has every value, or none has any. Raises UserError that says who has not."""
    verify, within = params["verify_dns"], params["propagation_timeout"]
    if is_present:
        seen = propagation.wait(records, verify=verify, resolvers=resolvers, within=within)
        if seen.missing:
            raise propagation.missing_error(
                seen.missing,
                remedy=f"They were published {within} s ago: raise propagation_timeout where servers are only slow.",
            )
        return seen
    waited = until(
        lambda: propagation.check(records, verify=verify, resolvers=resolvers),
        reached=lambda seen: verify == "none" or not seen.any_seen,
        within=within,
        first=0.0,
    )
    if not waited.reached:
        names = ", ".join(bare(record.name) for record in records)
        raise UserError(
            "Some servers still have TXT values that were removed",
            name=names,
            remedy=f"They were removed {within} s ago: raise propagation_timeout where servers are only slow.",
        )
    return waited.last


def _diff(records: t.Sequence[DnsRecord], *, is_present: bool, changed: bool) -> dict[str, t.Any]:
    there = {record.name: list(record.entries) for record in records}
    before, after = (({}, there) if is_present else (there, {})) if changed else (there, there)
    return {"before": before, "after": after}
