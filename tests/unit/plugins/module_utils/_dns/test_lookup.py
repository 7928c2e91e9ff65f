# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lookup: zones, servers, and what one server says; against real servers."""

from __future__ import annotations

import socket
import typing as t

import dns.flags
import dns.message
import dns.resolver
import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.lookup import (
    Answer,
    NameServer,
    Resolvers,
    Server,
    ask_txt,
    in_parallel,
    parse_server,
)
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput

CHALLENGE = "_acme-challenge.corp.example.com."


def ask(dns_lab: t.Any, name: str = CHALLENGE, *, timeout: float = 3.0) -> Answer:
    return ask_txt(name, address=dns_lab.server.address, port=dns_lab.server.port, timeout=timeout)


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


def test_a_zone_is_asked_for_once(dns_lab: t.Any) -> None:
    dns_lab.resolvers.zone_of(CHALLENGE)
    mark = dns_lab.server.mark()
    assert dns_lab.resolvers.zone_of("_ACME-challenge.corp.example.com").name == "example.com"
    assert dns_lab.server.mark() == mark


def test_a_silent_resolver_gives_no_zone_and_the_reason(dns_lab: t.Any) -> None:
    dns_lab.server.misbehave(CHALLENGE, "drop")
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


def test_the_values_at_a_name_are_a_set_of_joined_strings(dns_lab: t.Any) -> None:
    dns_lab.add(f'{CHALLENGE} 60 IN TXT "one"', f'{CHALLENGE} 60 IN TXT "two " "halves"')
    assert ask(dns_lab).values == {"one", "two halves"}


def test_no_more_than_three_other_values_are_shown(dns_lab: t.Any) -> None:
    dns_lab.add(*(f'{CHALLENGE} 60 IN TXT "{value}"' for value in "abcde"))
    assert ask(dns_lab).text == 'other values: "a", "b", "c" and 2 more'


def test_a_name_without_txt_is_told_from_no_name(dns_lab: t.Any) -> None:
    dns_lab.add("here.example.com. 60 IN A 192.0.2.1")
    assert ask(dns_lab, "here.example.com.").text == "no TXT record"
    assert ask(dns_lab, "there.example.com.").text == "NXDOMAIN"


@pytest.mark.parametrize("kind", ["servfail", "refused"])
def test_an_error_of_the_server_is_an_answer(dns_lab: t.Any, kind: str) -> None:
    dns_lab.server.misbehave(CHALLENGE, kind)
    assert ask(dns_lab) == Answer(kind.upper())


def test_silence_is_no_answer_within_the_deadline(dns_lab: t.Any) -> None:
    dns_lab.server.misbehave(CHALLENGE, "drop")
    assert ask(dns_lab, timeout=0.3) == Answer("no answer in 0.3 s", answered=False)


def test_a_lost_datagram_is_sent_again(dns_lab: t.Any) -> None:
    dns_lab.server.misbehave(CHALLENGE, "drop", queries=1)
    assert ask(dns_lab, timeout=0.6).text == "NXDOMAIN"


def test_a_truncated_answer_is_fetched_over_tcp(dns_lab: t.Any) -> None:
    dns_lab.add(*(f'{CHALLENGE} 60 IN TXT "{number:060}"' for number in range(40)))
    assert len(ask(dns_lab).values) == 40
    assert [query.transport for query in dns_lab.server.queries(name=CHALLENGE)] == ["udp", "tcp"]


def test_a_closed_tcp_port_behind_a_truncated_answer_is_said() -> None:
    answer = answered_by(lambda query: dns.flags.TC)
    assert answer == Answer("truncated over UDP, and over TCP connection refused", answered=False)


def test_an_address_that_cannot_be_sent_to_is_no_silence() -> None:
    answer = ask_txt(CHALLENGE, address="255.255.255.255")
    assert not answer.answered
    assert not answer.has_route
    assert answer.text.startswith("not reachable from here (")


@pytest.mark.parametrize("recursive", [False, True])
def test_only_resolvers_are_asked_to_recurse(recursive: bool) -> None:
    asked = []

    def note(query: dns.message.Message) -> int:
        asked.append((bool(query.flags & dns.flags.RD), query.payload))
        return 0

    answered_by(note, recursive=recursive)
    assert asked == [(recursive, 1232)]


def answered_by(flags: t.Callable[[dns.message.Message], int], *, recursive: bool = False) -> Answer:
    """Ask a server on UDP alone that answers one query with `flags`, and nothing else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(5)
        port = udp.getsockname()[1]

        def serve(_item: object) -> None:
            wire, client = udp.recvfrom(4096)
            query = dns.message.from_wire(wire)
            response = dns.message.make_response(query)
            response.flags |= flags(query)
            udp.sendto(response.to_wire(), client)

        def question(_item: object) -> Answer:
            return ask_txt(CHALLENGE, address="127.0.0.1", port=port, recursive=recursive)

        results: list[t.Any] = in_parallel(lambda work: work(None), items=[serve, question])
        return t.cast(Answer, results[1])


def test_cnames_are_followed_to_the_end_of_the_answer(dns_lab: t.Any) -> None:
    dns_lab.add(f"{CHALLENGE} 60 IN CNAME a.example.com.", "a 60 IN CNAME b", 'b 60 IN TXT "value"')
    answer = ask(dns_lab)
    assert answer.values == {"value"}
    assert answer.target == "b.example.com"


def test_a_cname_that_leaves_the_zone_is_named(dns_lab: t.Any) -> None:
    dns_lab.add(f"{CHALLENGE} 60 IN CNAME x.acme-dns.example.net.")
    answer = ask(dns_lab)
    assert answer.text == "a CNAME to x.acme-dns.example.net, there no TXT record"
    assert answer.target == "x.acme-dns.example.net"


def test_a_loop_of_cnames_is_reported(dns_lab: t.Any) -> None:
    dns_lab.add(f"{CHALLENGE} 60 IN CNAME a.example.com.", f"a 60 IN CNAME {CHALLENGE}")
    assert ask(dns_lab) == Answer("a loop of CNAMEs, or more than 16 in a row")
