# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records that prove control: one per name, as a playbook gets them and as a person pastes them into a zone.

Pure functions over text; nothing here asks DNS. Private to this collection.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone

from .persist import Wanted

TTL_SECONDS = 300
"""Short enough that a mistyped value is gone from caches soon; a few providers take nothing below it."""

_SETS = ("entries", "identifiers", "challenge_names")
_BARE = re.compile(r"[A-Za-z0-9_-]{1,255}\Z")


@dataclass(frozen=True)
class DnsRecord:
    """One TXT record set: all `entries` live together at `name`, the name that is really written.

    `name` ends with a dot; `zone` does not, and `record` is `name` relative to it (`@` where they are equal), both as
    DNS modules want them, both None where the zone is not known. `challenge_names` are those that the CA looks up; one
    that is not `name` has a CNAME that leads there. `wanted` are entries that other values may stand for.
    """

    name: str
    entries: tuple[str, ...]
    identifiers: tuple[str, ...]
    zone: str | None = None
    record: str | None = None
    type: str = "TXT"
    ttl: int = TTL_SECONDS
    challenge_names: tuple[str, ...] = ()
    wanted: tuple[Wanted, ...] = ()

    def returns(self) -> dict[str, t.Any]:
        """Give the record as the dict that modules return, with lists."""
        shown = {key: value for key, value in asdict(self).items() if key != "wanted"}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in shown.items()}

    @classmethod
    def from_returns(cls, given: t.Mapping[str, t.Any]) -> DnsRecord:
        """Read a record as modules return it; name and entries are enough."""
        known = {field.name: given[field.name] for field in fields(cls) if given.get(field.name) is not None}
        lists = {"identifiers": (), **{key: tuple(value) for key, value in known.items() if isinstance(value, list)}}
        return cls(**{**known, **lists, "name": absolute(known["name"])})

    def in_zone(self, zone: str | None) -> DnsRecord:
        """Give the same in a zone; in none where that is not known, or does not hold the name."""
        record = relative(self.name, zone=zone) if zone else None
        return replace(self, zone=bare(absolute(zone)) if zone and record else None, record=record)

    def is_proven_by(self, entry: str, values: t.Collection[str]) -> bool:
        """Tell whether one of these values, as they are in DNS, does what an entry is to do."""
        return entry in values or any(one.is_met_by(value) for one in self._wanted(entry) for value in values)

    def objections(self, entry: str, values: t.Collection[str]) -> str:
        """Say what is wrong with those of these values that were meant to do what an entry is to do."""
        found = (one.objection(value) for one in self._wanted(entry) for value in sorted(values))
        return "; ".join(objection for objection in found if objection)

    def _wanted(self, entry: str) -> list[Wanted]:
        return [one for one in self.wanted if str(one) == entry]


def absolute(name: str) -> str:
    """Write a DNS name in the one form used as a key: lower case, with the trailing dot."""
    return name.lower().rstrip(".") + "."


def bare(name: str) -> str:
    """Write a name as people read it, without the trailing dot."""
    return name.rstrip(".")


def relative(name: str, *, zone: str) -> str | None:
    """Give `name` relative to `zone`: `@` for the zone itself, None where the name does not lie in the zone."""
    inside, apex = bare(absolute(name)), bare(absolute(zone))
    if inside == apex:
        return "@"
    return inside[: -len(apex) - 1] if inside.endswith("." + apex) else None


def merge(
    values: t.Iterable[tuple[str, str | Wanted, str]],
    *,
    zones: t.Mapping[str, str | None] | None = None,
    written: t.Mapping[str, str] | None = None,
    ttl: int = TTL_SECONDS,
) -> list[DnsRecord]:
    """Make one record per name from (challenge name, TXT value, identifier) triples, sorted by name.

    Apex and wildcard have one name and two values (RFC 8555 section 8.4), so entries are a set: unique and sorted, the
    same for every run. `written` maps challenge names to names to write where they are others, `zones` names to write
    to their zones (`Resolvers.zones_of` makes it), all in the form of `absolute`. A name that `zones` does not know, or
    whose zone does not hold it, has no zone.
    """
    entries: dict[str, set[str]] = {}
    wanted: dict[str, set[Wanted]] = {}
    identifiers: dict[str, set[str]] = {}
    challenge_names: dict[str, set[str]] = {}
    for given, value, identifier in values:
        name = (written or {}).get(absolute(given), absolute(given))
        entries.setdefault(name, set()).add(str(value))
        if isinstance(value, Wanted):
            wanted.setdefault(name, set()).add(value)
        identifiers.setdefault(name, set()).add(identifier)
        challenge_names.setdefault(name, set()).add(absolute(given))
    records = []
    for name in sorted(entries):
        record = DnsRecord(
            name=name,
            entries=tuple(sorted(entries[name])),
            identifiers=tuple(sorted(identifiers[name])),
            ttl=ttl,
            challenge_names=tuple(sorted(challenge_names[name])),
            wanted=tuple(sorted(wanted.get(name, ()), key=str)),
        )
        records.append(record.in_zone((zones or {}).get(name)))
    return records


def join_entries(
    records: t.Iterable[t.Mapping[str, t.Any]], *, without: t.Iterable[t.Mapping[str, t.Any]] = ()
) -> list[dict[str, t.Any]]:
    """Join records as modules return them, by name and by value, less the values in `without`; empty ones vanish.

    Where two differ in anything else, the later one counts.
    """
    excluded = {(record["name"], entry) for record in without for entry in record["entries"]}
    joined: dict[str, dict[str, t.Any]] = {}
    for record in records:
        earlier = joined.get(record["name"], {})
        present = [field for field in _SETS if field in record or field in earlier]
        both = {field: {*(earlier.get(field) or ()), *(record.get(field) or ())} for field in present}
        both["entries"] = {entry for entry in both["entries"] if (record["name"], entry) not in excluded}
        joined[record["name"]] = {**record, **{field: sorted(found) for field, found in both.items()}}
    return [joined[name] for name in sorted(joined) if joined[name]["entries"]]


def zone_text(value: str) -> str:
    """Write a TXT value as a zone file holds it (RFC 1035 section 5.1), in parts of at most 255 octets.

    Bare where no character needs quotes: Ansible prints a quote as `\\"`, which cannot be pasted into a zone.
    """
    if _BARE.match(value):
        return value
    octets = value.encode()
    parts = [octets[start : start + 255].decode("latin-1") for start in range(0, len(octets), 255)] or [""]
    return " ".join(f'"{"".join(_escaped(octet) for octet in part)}"' for part in parts)


def _escaped(octet: str) -> str:
    if octet in '"\\':
        return "\\" + octet
    return octet if " " <= octet <= "~" else f"\\{ord(octet):03d}"


def zone_lines(records: t.Iterable[DnsRecord]) -> list[str]:
    """Write one line per value, `NAME  300  IN  TXT  VALUE`, that can go into a zone file unchanged.

    Not indented: a line that begins with blanks means "same name as above" there.
    """
    return [
        f"{record.name}  {record.ttl}  IN  {record.type}  {zone_text(entry)}"
        for record in records
        for entry in record.entries
    ]


def instructions(records: t.Sequence[DnsRecord], *, valid_until: datetime | None) -> list[str]:
    """Tell a person what to add and until when, as lines; empty where there is nothing to add.

    `valid_until` is the moment at which the order or the first of its authorizations ends (aware, any time zone), None
    where the CA names none.
    """
    if not records:
        return []
    until = ""
    if valid_until is not None:
        until = f" (order valid until {valid_until.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC)"
    lines = [f"Add these TXT records, then run this again{until}:", *zone_lines(records)]
    shared = [len(record.entries) for record in records if len(record.entries) > 1]
    if shared == [2]:
        lines.append("Both values belong at one name: add the second, do not replace the first.")
    elif shared:
        lines.append("All values of one name belong there together: add each, replace none.")
    leading = cname_lines(records)
    if leading:
        lines += ["The CA finds them by these CNAME records, which are made once and stay:", *leading]
    return lines


def cname_line(name: str, target: str) -> str:
    """Write the CNAME that leads from one name to another, as `zone_lines` writes values."""
    return f"{name}  {TTL_SECONDS}  IN  CNAME  {target}"


def cname_lines(records: t.Iterable[DnsRecord]) -> list[str]:
    """Write one line for each CNAME that has to lead from what the CA looks up to what is written."""
    return [
        cname_line(name, record.name) for record in records for name in record.challenge_names if name != record.name
    ]
