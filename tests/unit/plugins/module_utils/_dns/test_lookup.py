# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lookup: zones and their servers; against real servers."""

from __future__ import annotations

import typing as t

import dns.resolver
import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.lookup import (
    NameServer,
    Resolvers,
    Server,
    parse_server,
)
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput

CHALLENGE = "_acme-challenge.corp.example.com."


@pytest.mark.parametrize(
    ("given", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        (" 192.0.2.1:5353 ", "192.0.2.1", 5353),
        ("2001:db8::53", "2001:db8::53", 53),
        ("[2001:db8::53]", "2001:db8::53", 53),
        ("[2001:db8::53]:5353", "2001:db8::53", 5353),
    ],
)
def test_a_resolver_is_an_address_with_or_without_port(given: str, address: str, port: int) -> None:
    assert parse_server(given) == Server(address, port)


@pytest.mark.parametrize("server", ["192.0.2.1", "192.0.2.1:5353", "2001:db8::53", "[2001:db8::53]:5353"])
def test_a_server_is_printed_as_it_may_be_written(server: str) -> None:
    assert str(parse_server(server)) == server


@pytest.mark.parametrize(
    "given",
    ["", "dns.google", "https://1.1.1.1/dns-query", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "1.1.1.1:dns"],
)
def test_any_other_resolver_is_refused_with_option_value_and_remedy(given: str) -> None:
    with pytest.raises(BadInput, match=r"^resolvers .*\. Write ") as refused:
        Resolvers([given])
    assert repr(given) in str(refused.value)


def test_no_resolvers_given_means_those_of_the_system() -> None:
    try:
        expected = [str(one) for one in dns.resolver.Resolver().nameservers]
    except dns.resolver.NoResolverConfiguration:
        expected = []
    assert [server.address for server in Resolvers().servers] == expected


def test_the_zone_of_a_name_is_found_by_its_soa(dns_lab: t.Any) -> None:
    assert dns_lab.resolvers.zone_of(CHALLENGE).name == "example.com"


def test_a_zone_is_found_above_a_challenge_name_that_is_a_cname(dns_lab: t.Any) -> None:
    dns_lab.add(f"{CHALLENGE} 60 IN CNAME x.example.net.")
    assert dns_lab.resolvers.zone_of(CHALLENGE).name == "example.com"


def test_a_zone_is_found_where_the_target_of_its_cname_lies_in_the_zone_above(dns_lab: t.Any) -> None:
    dns_lab.delegate("corp")
    dns_lab.add_zone("corp.example.com", "_acme-challenge 60 IN CNAME x.example.com.")
    assert dns_lab.resolvers.zone_of(CHALLENGE).name == "corp.example.com"


def test_a_zone_is_found_where_the_target_of_its_cname_cannot_be_resolved(dns_lab: t.Any) -> None:
    dns_lab.add(f"{CHALLENGE} 60 IN CNAME x.example.net.")
    dns_lab.server.misbehave(CHALLENGE, "servfail")
    assert dns_lab.resolvers.zone_of(CHALLENGE).name == "example.com"


def test_a_zone_is_found_without_a_question_for_the_name_that_is_not_there_yet(dns_lab: t.Any) -> None:
    """A resolver, which may be the CA's too, would remember for a while that there is none."""
    assert dns_lab.resolvers.zone_of(CHALLENGE).name == "example.com"
    assert dns_lab.server.mark() == 1 and not dns_lab.server.queries(name=CHALLENGE)


@pytest.mark.parametrize("wildcard", ["*.corp 60 IN CNAME x.example.net.", "* 60 IN A 192.0.2.1"])
def test_a_zone_is_found_where_a_wildcard_covers_all_that_is_below(dns_lab: t.Any, wildcard: str) -> None:
    dns_lab.add(wildcard, "corp 60 IN A 192.0.2.1")
    assert dns_lab.resolvers.zone_of(CHALLENGE).name == "example.com"


def test_a_zone_is_found_where_a_wildcard_begins_at_its_own_top(dns_lab: t.Any) -> None:
    dns_lab.delegate("corp")
    dns_lab.add_zone("corp.example.com", "* 60 IN CNAME x.example.net.")
    assert dns_lab.resolvers.zone_of(CHALLENGE).name == "corp.example.com"


def test_a_zone_is_found_by_resolvers_that_leave_the_authority_out(dns_lab: t.Any) -> None:
    dns_lab.server.misbehave(f"_zone.{CHALLENGE}", "nodata")
    assert dns_lab.resolvers.zone_of(CHALLENGE).name == "example.com"


def test_a_zone_is_asked_for_once(dns_lab: t.Any) -> None:
    dns_lab.resolvers.zone_of(CHALLENGE)
    mark = dns_lab.server.mark()
    assert dns_lab.resolvers.zone_of("_ACME-challenge.corp.example.com").name == "example.com"
    assert dns_lab.server.mark() == mark


def test_a_silent_resolver_gives_no_zone_and_the_reason(dns_lab: t.Any) -> None:
    dns_lab.server.misbehave(f"_zone.{CHALLENGE}", "drop")
    found = dns_lab.resolvers.zone_of(CHALLENGE, within=0.3)
    assert found.name is None
    assert found.reason == f"no answer in 0.3 s from {dns_lab.server.resolver}"


def test_a_refusing_resolver_gives_no_zone_and_the_reason(dns_lab: t.Any) -> None:
    found = dns_lab.resolvers.zone_of("_acme-challenge.example.net")
    assert (found.name, found.reason) == (None, f"REFUSED from {dns_lab.server.resolver}")


def test_unknown_zones_are_one_warning_for_each_reason(dns_lab: t.Any) -> None:
    zones = dns_lab.resolvers.zones_of(["a.example.net", "b.example.net", "c.example.com"])
    assert zones.names == {"a.example.net.": None, "b.example.net.": None, "c.example.com.": "example.com"}
    assert zones.warnings == (
        f"The DNS zone of a.example.net, b.example.net is not known: REFUSED from {dns_lab.server.resolver}.",
    )


def test_the_root_zone_is_no_zone_of_ours(dns_lab: t.Any) -> None:
    dns_lab.serve_root()
    found = dns_lab.resolvers.zone_of("_acme-challenge.corp.internal")
    assert (found.name, found.reason) == (None, "only the root zone is known to hold it, does the domain exist?")


def test_the_servers_of_a_zone_are_all_addresses_of_each_ns(dns_lab: t.Any) -> None:
    dns_lab.add("ns2 IN A 192.0.2.2", "ns2 IN AAAA 2001:db8::2")
    assert dns_lab.resolvers.servers_of("example.com").servers == (
        NameServer("ns1.example.com", (f"{dns_lab.network}.1",)),
        NameServer("ns2.example.com", (f"{dns_lab.network}.2", "192.0.2.2", "2001:db8::2")),
    )


def test_servers_are_looked_up_once_for_each_zone(dns_lab: t.Any) -> None:
    dns_lab.resolvers.servers_of("example.com")
    mark = dns_lab.server.mark()
    assert dns_lab.resolvers.servers_of("Example.com.").servers
    assert dns_lab.server.mark() == mark


def test_servers_that_dns_does_not_tell_are_asked_for_again(dns_lab: t.Any) -> None:
    dns_lab.server.misbehave("example.com", "servfail", rdtype="NS", queries=1)
    assert dns_lab.resolvers.servers_of("example.com").reason == f"SERVFAIL from {dns_lab.server.resolver}"
    assert dns_lab.resolvers.servers_of("example.com").servers
