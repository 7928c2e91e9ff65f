# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DNS UPDATE (RFC 2136) for the small DNS server: TXT values added to a master file and removed from it, line by line.

Only with the right TSIG key, only TXT, and only under the condition that something is absent: else it is REFUSED. It is
here so that `make demo` needs no name server; what a real one says is tested with BIND.
"""

from __future__ import annotations

import typing as t

import dns.exception
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import dns.update
from ansible_collections.zerotrust.pomerium.tests.lab.dns_zone import ZoneFile

Keyring = t.Dict[dns.name.Name, dns.tsig.Key]


def read_query(wire: bytes, keyring: Keyring) -> dns.message.Message:
    """Read a query; a TSIG signature must be right where there is one. Raises DNSException, DNS errors included."""
    return dns.message.from_wire(wire, keyring=keyring or None, ignore_trailing=True)


def apply_update(query: dns.message.Message, zones: t.Iterable[ZoneFile]) -> dns.rcode.Rcode:
    """Do what an update asks for, and give the response's code (RFC 2136 section 2.2)."""
    if not isinstance(query, dns.update.UpdateMessage) or len(query.zone) != 1:
        return dns.rcode.FORMERR
    if not query.had_tsig:
        return dns.rcode.REFUSED
    zone = next((zone for zone in zones if zone.origin == query.zone[0].name), None)
    if zone is None:
        return dns.rcode.NOTAUTH
    if not all(rrset.name.is_subdomain(zone.origin) for rrset in query.update):
        return dns.rcode.NOTZONE
    absent = [rrset for rrset in query.prerequisite if rrset.deleting == dns.rdataclass.NONE and not len(rrset)]
    if any(rrset.rdtype != dns.rdatatype.TXT for rrset in query.update) or len(absent) < len(query.prerequisite):
        return dns.rcode.REFUSED
    if any(zone.current().get_rdataset(rrset.name, rrset.rdtype) for rrset in absent):
        return dns.rcode.YXRRSET
    lines = zone.path.read_text().splitlines()
    for rrset in query.update:
        for rdata in rrset:
            lines = [line for line in lines if not _is(line, rrset.name, rdata)]
            if rrset.deleting is None:
                lines.append(f"{rrset.name}  {rrset.ttl}  IN  TXT  {rdata.to_text()}")
    zone.path.write_text("\n".join(lines) + "\n")
    return dns.rcode.NOERROR


def _is(line: str, name: dns.name.Name, rdata: dns.rdata.Rdata) -> bool:
    """Tell whether a line, as we write or people paste it, is this value at this name."""
    words = line.split(None, 4)
    if len(words) != 5 or words[3] != "TXT" or not words[0].endswith("."):
        return False
    try:
        found = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.TXT, words[4])
    except dns.exception.DNSException:
        return False
    return dns.name.from_text(words[0]) == name and found == rdata.replace()
