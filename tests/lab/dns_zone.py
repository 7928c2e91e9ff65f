# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A DNS zone in an RFC 1035 master file, read again when the file changes, and the answers that it gives.

**Pasting.** Records printed for people are indented:

      _acme-challenge.corp.example.com.  300  IN  TXT  "Yz0B1U..."

In a master file a leading blank means "same owner as before", after which only a TTL, a class or a type may follow.
None of these ends in a dot, so a line whose first word does can only be a pasted one: its leading blanks are dropped
before the file is parsed. Such lines can be appended as they were printed. (Lines inside of parentheses are left
alone. BIND refuses an indented line, so what is shown to people should say that the blanks are no part of it.)
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone

LONGEST_CNAME_CHAIN = 16


@dataclass
class Answer:
    """What a zone has to say to one question."""

    rcode: dns.rcode.Rcode = dns.rcode.NOERROR
    is_authoritative: bool = True
    answer: list[dns.rrset.RRset] = field(default_factory=list)
    authority: list[dns.rrset.RRset] = field(default_factory=list)
    additional: list[dns.rrset.RRset] = field(default_factory=list)


class ZoneFile:
    """A master file that is looked at before every answer; while it cannot be parsed, what it last said stands."""

    def __init__(self, origin: str, path: Path) -> None:
        self.origin = dns.name.from_text(origin)
        self.path = path
        self.error: str | None = None
        self._stamp = self._look()
        self._zone = self._parse()

    def current(self) -> dns.zone.Zone:
        """The zone as the file says now."""
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._zone = self._parse()
                self.error = None
            except (dns.exception.DNSException, OSError, ValueError) as error:
                self.error = f"{self.path}: {error}"
        return self._zone

    def _look(self) -> tuple[int, int, int]:
        try:
            status = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def _parse(self) -> dns.zone.Zone:
        text = accept_pasted_lines(self.path.read_text())
        return dns.zone.from_text(text, origin=self.origin, relativize=False, check_origin=True)


def accept_pasted_lines(text: str) -> str:
    """Take the leading blanks off lines that begin with an absolute name, outside of parentheses and quotes."""
    lines, depth = [], 0
    for line in text.splitlines():
        words = line.split(None, 1)
        if depth == 0 and words and line[0] in " \t" and words[0].endswith("."):
            line = line.lstrip()
        lines.append(line)
        depth += _parentheses(line)
    return "\n".join(lines) + "\n"


def _parentheses(line: str) -> int:
    """How many more parentheses the line opens than it closes, apart from quoted, escaped and commented ones."""
    depth, is_quoted, characters = 0, False, iter(line)
    for character in characters:
        if character == "\\":
            next(characters, None)
        elif character == '"':
            is_quoted = not is_quoted
        elif character == ";" and not is_quoted:
            break
        elif not is_quoted:
            depth += {"(": 1, ")": -1}.get(character, 0)
    return depth


def resolve(
    zones: t.Mapping[dns.name.Name, dns.zone.Zone], name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> Answer:
    """Answer from the closest of `zones`, following CNAMEs through all of them; REFUSED for a name in none.

    A chain that loops, or is longer than LONGEST_CNAME_CHAIN, is given as far as it was followed.
    """
    result = Answer()
    seen: set[dns.name.Name] = set()
    while True:
        zone = _closest(zones, name)
        if zone is None:
            if not result.answer:
                return Answer(rcode=dns.rcode.REFUSED, is_authoritative=False)
            return result
        seen.add(name)
        target = _ask(zone, name, rdtype, result)
        if target is None or target in seen or len(seen) > LONGEST_CNAME_CHAIN:
            return result
        name = target


def _closest(zones: t.Mapping[dns.name.Name, dns.zone.Zone], name: dns.name.Name) -> dns.zone.Zone | None:
    origins = [origin for origin in zones if name.is_subdomain(origin)]
    return zones[max(origins, key=len)] if origins else None


def _ask(
    zone: dns.zone.Zone, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, result: Answer
) -> dns.name.Name | None:
    """Add what `zone` says to `result`; returns the target of a CNAME that is to be followed."""
    cut = _delegation(zone, name, rdtype)
    if cut is not None:
        result.is_authoritative = bool(result.answer)
        result.authority.append(cut)
        result.additional.extend(_addresses(zone, cut))
        return None
    node = _node(zone, name)
    if node is None:
        result.rcode = dns.rcode.NXDOMAIN
        result.authority.append(_negative_soa(zone))
        return None
    found = [_rrset(name, rdataset) for rdataset in node if rdtype in (rdataset.rdtype, dns.rdatatype.ANY)]
    result.answer.extend(found)
    for rrset in found:
        result.additional.extend(_addresses(zone, rrset))
    cname = next((r for r in node if r.rdtype == dns.rdatatype.CNAME), None)
    if not found and cname is not None:
        result.answer.append(_rrset(name, cname))
        return t.cast(dns.name.Name, cname[0].target)
    if not found:
        result.authority.append(_negative_soa(zone))
    return None


def _delegation(zone: dns.zone.Zone, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.rrset.RRset | None:
    """The NS records of the highest cut between the zone's apex and `name`; a DS is asked above its cut."""
    origin = _origin(zone)
    for labels in range(len(origin) + 1, len(name) + 1):
        cut = name.split(labels)[1]
        if not (cut == name and rdtype == dns.rdatatype.DS):
            found = zone.get_rdataset(cut, dns.rdatatype.NS)
            if found is not None:
                return _rrset(cut, found)
    return None


def _node(zone: dns.zone.Zone, name: dns.name.Name) -> list[t.Any] | None:
    """The record sets at a name, by a wildcard where RFC 4592 says so; None where the name does not exist."""
    if zone.get_node(name) is not None or _has_names_below(zone, name):
        return list(zone.get_node(name) or [])
    encloser = name.parent()
    while zone.get_node(encloser) is None and not _has_names_below(zone, encloser):
        encloser = encloser.parent()
    wildcard = zone.get_node(dns.name.Name((b"*", *encloser.labels)))
    return None if wildcard is None else list(wildcard)


def _has_names_below(zone: dns.zone.Zone, name: dns.name.Name) -> bool:
    return any(other != name and other.is_subdomain(name) for other in zone.nodes)


def _addresses(zone: dns.zone.Zone, rrset: dns.rrset.RRset) -> list[dns.rrset.RRset]:
    """A and AAAA records, glue included, of the servers that an NS record set names."""
    if rrset.rdtype != dns.rdatatype.NS:
        return []
    wanted = [(r.target, kind) for r in rrset for kind in (dns.rdatatype.A, dns.rdatatype.AAAA)]
    found = [(target, zone.get_rdataset(target, kind)) for target, kind in wanted if target.is_subdomain(_origin(zone))]
    return [_rrset(target, rdataset) for target, rdataset in found if rdataset is not None]


def _negative_soa(zone: dns.zone.Zone) -> dns.rrset.RRset:
    """The SOA with the TTL that RFC 2308 gives to a negative answer."""
    soa = zone.find_rdataset(_origin(zone), dns.rdatatype.SOA)
    return dns.rrset.from_rdata(_origin(zone), min(soa.ttl, soa[0].minimum), soa[0])


def _origin(zone: dns.zone.Zone) -> dns.name.Name:
    if zone.origin is None:
        raise ValueError("a zone without an origin")
    return zone.origin


def _rrset(name: dns.name.Name, rdataset: t.Any) -> dns.rrset.RRset:
    return dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))
