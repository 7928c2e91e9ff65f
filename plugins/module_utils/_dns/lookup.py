# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Questions to resolvers that never raise: which zone holds a name, and which servers a zone has.

Every question has a deadline, and an answer that did not come is an answer too: a sentence for people.
Private to this collection.
"""

from __future__ import annotations

import ipaddress
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from .._errors import BadInput
from .records import absolute, bare

if t.TYPE_CHECKING:
    import dns.exception
    import dns.name
    import dns.resolver

LOOKUP_SECONDS = 5.0
"""For one question to the resolvers: they ask servers in turn, and stub resolvers give up after five seconds too."""

AT_ONCE = 32
"""Questions under way at the same time: enough for a hundred names at four servers, few enough for a small host."""

BELOW = b"_zone"
"""A label that nobody has below a challenge name."""

LONGEST_CHAIN = 16
"""So many CNAMEs in a row are followed: resolvers of CAs give up earlier (Unbound after 11)."""

SHOWN = 3
"""So many names or values are listed in a sentence; the rest is counted."""

_T = t.TypeVar("_T")
_R = t.TypeVar("_R")


@dataclass(frozen=True)
class Server:
    """One address and port to ask; printed as `192.0.2.1`, `192.0.2.1:5353` or `[2001:db8::1]:5353`."""

    address: str
    port: int = 53

    def __str__(self) -> str:
        if self.port == 53:
            return self.address
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Zone:
    """The zone of a name (no trailing dot), or None and the `reason` why it is not known."""

    name: str | None
    reason: str = ""


@dataclass(frozen=True)
class NameServer:
    """One NS name of a zone (no trailing dot) and all its addresses."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Servers:
    """The name servers of a zone; none, and the `reason`, where DNS did not tell."""

    servers: tuple[NameServer, ...]
    reason: str = ""


@dataclass(frozen=True)
class Zones:
    """Zones by name (in the form of `records.absolute`; None where unknown), and warnings to show."""

    names: dict[str, str | None]
    warnings: tuple[str, ...]


def in_parallel(work: t.Callable[[_T], _R], *, items: t.Iterable[_T]) -> list[_R]:
    """Do `work` for all items at the same time; the results are in the order of the items."""
    todo = list(items)
    if len(todo) < 2:
        return [work(item) for item in todo]
    with ThreadPoolExecutor(max_workers=min(len(todo), AT_ONCE)) as pool:
        return list(pool.map(work, todo))


def some(texts: t.Sequence[str]) -> str:
    """List names (without the trailing dot) or values for a sentence: `a, b, c and 97 more`."""
    shown = ", ".join(map(bare, texts[:SHOWN]))
    return f"{shown} and {len(texts) - SHOWN} more" if len(texts) > SHOWN else shown


def why_endless(way: t.Sequence[str]) -> str:
    """Say why a chain of CNAMEs, from name to name, leads nowhere; nothing where its end may be near."""
    if way[-1] in way[:-1]:
        return f"a loop of CNAMEs, {' to '.join(map(bare, way))}"
    if len(way) > LONGEST_CHAIN + 1:
        return f"more than {LONGEST_CHAIN} CNAMEs in a row, {' to '.join(map(bare, way))}"
    return ""


def plain(error: object) -> str:
    """Say what went wrong in the words of the system, or of the library."""
    text = error.strerror if isinstance(error, OSError) else None
    return str(text or error).rstrip(".") or type(error).__name__


def parse_server(given: str) -> Server:
    """Read `address`, `address:port`, an IPv6 address or `[address]:port`; raises BadInput for anything else."""
    text = str(given).strip()
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = text, "53"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise BadInput(
            "resolvers",
            given,
            "not the address of a DNS server",
            remedy="Write 192.0.2.53, 192.0.2.53:5353 or [v6]:5353.",
        ) from None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadInput("resolvers", given, f"{port!r} is no port", remedy="Write a number from 1 to 65535.")
    return Server(host, int(port))


class Resolvers:
    """The recursive servers to ask: those of the option `resolvers`, or the system's where it is empty.

    What they told about zones and servers is kept for the life of the object; what they failed to tell is asked again.
    """

    def __init__(self, given: t.Sequence[str] = ()) -> None:
        """Take `address`, `address:port` or `[v6]:port`; raises BadInput for anything else. Asks nothing yet."""
        self._given = tuple(parse_server(one) for one in given)
        self._zones: dict[str, Zone] = {}
        self._servers: dict[str, Servers] = {}

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers in their order; none where the system has none configured."""
        if self._given:
            return self._given
        return tuple(Server(str(one), self._resolver.port) for one in self._resolver.nameservers)

    @cached_property
    def _resolver(self) -> dns.resolver.Resolver:
        import dns.resolver
        from dns.nameserver import Do53Nameserver

        if not self._given:
            try:
                return dns.resolver.Resolver()
            except dns.resolver.NoResolverConfiguration:
                pass  # no server at all: every question says so
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers = [Do53Nameserver(one.address, one.port) for one in self._given]
        return resolver

    def zone_of(self, name: str, *, within: float = LOOKUP_SECONDS) -> Zone:
        """Find the zone that holds `name` by its SOA, in at most `within` seconds. Never raises."""
        import dns.exception
        import dns.name

        key = absolute(name)
        if key not in self._zones:
            try:
                found = self._find_zone(dns.name.from_text(key), within=within)
            except dns.exception.DNSException as error:
                return Zone(None, self._why(error, within=within))
            if found == dns.name.root:
                return Zone(None, "only the root zone is known to hold it, does the domain exist?")
            self._zones[key] = Zone(bare(found.to_text()).lower())
        return self._zones[key]

    def _find_zone(self, name: dns.name.Name, *, within: float) -> dns.name.Name:
        """Ask for a name below, which does not exist: the answer names the zone (RFC 2308 section 3).

        A question for the name itself would have resolvers, perhaps those of the CA too, remember that it does not
        exist while its record is being published; where it is a CNAME, it would be answered for the target.
        """
        import dns.name
        import dns.rdatatype
        import dns.resolver

        end = time.monotonic() + within
        below, start = dns.name.Name([BELOW, *name.labels]), name
        try:
            answer = self._resolver.resolve(below, "CNAME", lifetime=within, search=False, raise_on_no_answer=False)
            response = answer.response
            start = name.parent() if answer.rrset else name  # a wildcard's, perhaps of the zone above
        except dns.resolver.NXDOMAIN as error:
            response = error.kwargs["responses"][below]
        for rrset in response.authority:
            if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name):
                return rrset.name
        return dns.resolver.zone_for_name(start, resolver=self._resolver, lifetime=max(0.0, end - time.monotonic()))

    def zones_of(self, names: t.Iterable[str]) -> Zones:
        """Find the zones of many names at the same time, in at most twice LOOKUP_SECONDS. Never raises.

        No question is begun after the first LOOKUP_SECONDS. What is not found is None in `names`, with one warning for
        each reason.
        """
        end = time.monotonic() + LOOKUP_SECONDS
        keys = sorted({absolute(name) for name in names})

        def find(key: str) -> Zone:
            if time.monotonic() >= end:
                return Zone(None, f"not asked within {LOOKUP_SECONDS:g} s")
            return self.zone_of(key)

        zones = dict(zip(keys, in_parallel(find, items=keys)))
        reasons: dict[str, list[str]] = {}
        for key, zone in zones.items():
            if zone.name is None:
                reasons.setdefault(zone.reason, []).append(key)
        warnings = tuple(
            f"The DNS zone of {some(unknown)} is not known: {reason}." for reason, unknown in reasons.items()
        )
        return Zones({key: zone.name for key, zone in zones.items()}, warnings)

    def servers_of(self, zone: str) -> Servers:
        """Find the NS names of a zone and all their A and AAAA addresses. Never raises.

        Takes LOOKUP_SECONDS for the names, and again for each AT_ONCE addresses where DNS is silent.
        """
        key = absolute(zone)
        if key not in self._servers:
            names, reason = self._lookup(key, rdtype="NS")
            if not names:
                return Servers((), reason)
            names = sorted(name.lower() for name in names)
            questions = [(name, rdtype) for name in names for rdtype in ("A", "AAAA")]
            answers = in_parallel(lambda question: self._lookup(question[0], rdtype=question[1])[0], items=questions)
            addresses: dict[str, list[str]] = {name: [] for name in names}
            for (name, _rdtype), found in zip(questions, answers):
                addresses[name] += sorted(found)
            servers = tuple(NameServer(bare(name), tuple(addresses[name])) for name in names)
            if not any(server.addresses for server in servers):
                return Servers(servers, f"no address is known for {', '.join(server.name for server in servers)}")
            self._servers[key] = Servers(servers)
        return self._servers[key]

    def _lookup(self, name: str, *, rdtype: str) -> tuple[list[str], str]:
        """Give the records as text, or none and the reason."""
        import dns.exception

        try:
            answer = self._resolver.resolve(name, rdtype, lifetime=LOOKUP_SECONDS, search=False)
        except dns.exception.DNSException as error:
            return [], self._why(error, within=LOOKUP_SECONDS)
        return [rdata.to_text() for rdata in answer], ""

    def _why(self, error: dns.exception.DNSException, *, within: float) -> str:
        import dns.exception
        import dns.resolver

        asked = ", ".join(str(server) for server in self.servers)
        if not asked:
            return "no resolver is configured on this machine"
        if isinstance(error, dns.exception.Timeout):
            return f"no answer in {within:g} s from {asked}"
        if isinstance(error, dns.resolver.NoNameservers):
            said = sorted({plain(entry[3]) for entry in error.kwargs.get("errors", ())})
            return f"{', '.join(said)} from {asked}"
        if isinstance(error, dns.resolver.NXDOMAIN):
            return f"NXDOMAIN from {asked}"
        if isinstance(error, dns.resolver.NoAnswer):
            return f"no such record at {asked}"
        return plain(error)
