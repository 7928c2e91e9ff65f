# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's DNS server answers as an authoritative server does, and errs only where it was told to."""

from __future__ import annotations

import socket
import typing as t
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest
from ansible_collections.zerotrust.pomerium.tests.lab.dns_server import DnsServer

ZONE = """\
$TTL 300
@       IN SOA  ns1 hostmaster (
                1 3600 600
                86400 60 )
@       IN NS   ns1
@       IN NS   ns2
ns1     IN A    127.0.0.2
ns2     IN A    127.0.0.3
*.wild  IN TXT  "from the wildcard"
alias   IN CNAME x.wild
out     IN CNAME elsewhere.example.org.
loop    IN CNAME pool
pool    IN CNAME loop
a.deep  IN A    127.0.0.1
big     IN TXT  "{0}" "{0}" "{0}" "{0}" "{0}" "{0}"
sub     IN NS   ns.sub
ns.sub  IN A    127.0.0.9
caa     IN CAA  0 issue "letsencrypt.org"
""".format("x" * 250)
PASTED = '  _acme-challenge.corp.example.com.  300  IN  TXT  "Yz0B1U"\n'


@pytest.fixture
def zone_path(tmp_path: Path) -> Path:
    path = tmp_path / "example.com.zone"
    path.write_text(ZONE)
    return path


@pytest.fixture
def server(zone_path: Path) -> t.Iterator[DnsServer]:
    with DnsServer({"example.com": zone_path}) as running:
        yield running


def ask(
    server: DnsServer, name: str, rdtype: str = "TXT", *, is_tcp: bool = False, payload: int | None = None
) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype, use_edns=None if payload is None else 0, payload=payload)
    send = dns.query.tcp if is_tcp else dns.query.udp
    return send(query, server.address, port=server.port, timeout=2)


def texts(response: dns.message.Message) -> list[str]:
    found = [r.strings for rrset in response.answer if rrset.rdtype == dns.rdatatype.TXT for r in rrset]
    return sorted(b"".join(strings).decode() for strings in found)


def test_a_line_pasted_as_it_is_printed_is_served_at_once(server: DnsServer, zone_path: Path) -> None:
    assert ask(server, "_acme-challenge.corp.example.com").rcode() == dns.rcode.NXDOMAIN
    with zone_path.open("a") as zone:
        zone.write(PASTED + PASTED.replace("Yz0B1U", "second"))
    assert texts(ask(server, "_acme-challenge.corp.example.com")) == ["Yz0B1U", "second"]
    assert server.errors == []


def test_leading_blanks_still_mean_the_same_owner(server: DnsServer, zone_path: Path) -> None:
    with zone_path.open("a") as zone:
        zone.write('one IN TXT "1"\n    IN TXT "2"\n    300 IN TXT "3"\n')
    assert texts(ask(server, "one.example.com")) == ["1", "2", "3"]


def test_a_broken_zone_file_is_told_and_the_last_good_one_served(server: DnsServer, zone_path: Path) -> None:
    zone_path.write_text(ZONE + PASTED + "nonsense (\n")
    assert ask(server, "ns1.example.com", "A").rcode() == dns.rcode.NOERROR
    assert str(zone_path) in server.errors[0]
    zone_path.write_text(ZONE + PASTED)
    assert server.errors == []
    assert texts(ask(server, "_acme-challenge.corp.example.com")) == ["Yz0B1U"]


def test_names_are_found_in_any_case_and_answered_in_the_case_of_the_question(server: DnsServer) -> None:
    response = ask(server, "x.WiLd.eXaMpLe.CoM")
    assert texts(response) == ["from the wildcard"]
    assert response.question[0].to_text().startswith("x.WiLd.eXaMpLe.CoM.")
    assert response.answer[0].name.to_text() == "x.WiLd.eXaMpLe.CoM."


def test_a_cname_is_followed_within_the_zones_and_a_loop_ends(server: DnsServer) -> None:
    assert texts(ask(server, "alias.example.com")) == ["from the wildcard"]
    assert [r.rdtype.name for r in ask(server, "loop.example.com").answer] == ["CNAME", "CNAME"]
    outside = ask(server, "out.example.com")
    assert (outside.rcode(), len(outside.answer)) == (dns.rcode.NOERROR, 1)


def test_negative_answers_carry_the_soa_and_tell_no_such_name_from_no_such_type(server: DnsServer) -> None:
    missing, empty, between = (ask(server, f"{name}.example.com") for name in ("nope", "ns1", "deep"))
    assert [r.rcode() for r in (missing, empty, between)] == [dns.rcode.NXDOMAIN, dns.rcode.NOERROR, dns.rcode.NOERROR]
    for response in (missing, empty, between):
        assert response.flags & dns.flags.AA
        assert (response.authority[0].rdtype, response.authority[0].ttl) == (dns.rdatatype.SOA, 60)


def test_what_is_in_no_zone_is_refused_without_authority(server: DnsServer) -> None:
    response = ask(server, "example.org")
    assert response.rcode() == dns.rcode.REFUSED
    assert not response.flags & dns.flags.AA


def test_a_delegation_is_a_referral_with_glue(server: DnsServer) -> None:
    response = ask(server, "host.sub.example.com")
    assert not response.flags & dns.flags.AA
    assert response.authority[0].rdtype == dns.rdatatype.NS
    assert response.additional[0].to_text() == "ns.sub.example.com. 300 IN A 127.0.0.9"


def test_ns_answers_carry_the_addresses_of_the_servers(server: DnsServer) -> None:
    response = ask(server, "example.com", "NS")
    assert {r[0].to_text() for r in response.additional} == {"127.0.0.2", "127.0.0.3"}


def test_caa_is_answered_where_it_is_and_is_no_error_where_it_is_not(server: DnsServer) -> None:
    assert 'issue "letsencrypt.org"' in ask(server, "caa.example.com", "CAA").answer[0].to_text()
    empty = ask(server, "example.com", "CAA")
    assert (empty.rcode(), empty.answer) == (dns.rcode.NOERROR, [])


@pytest.mark.parametrize("payload", [None, 1232, 4096])
def test_an_answer_that_is_too_big_for_udp_is_truncated_and_whole_over_tcp(
    server: DnsServer, payload: int | None
) -> None:
    truncated = ask(server, "big.example.com", payload=payload)
    assert truncated.flags & dns.flags.TC
    assert truncated.answer == []
    assert len(texts(ask(server, "big.example.com", is_tcp=True, payload=payload))[0]) == 1500


def test_one_tcp_connection_takes_several_queries(server: DnsServer) -> None:
    with socket.create_connection((server.address, server.port), timeout=2) as connection:
        for name in ("ns1.example.com", "ns2.example.com"):
            dns.query.send_tcp(connection, dns.message.make_query(name, "A"))
            response, _received_at = dns.query.receive_tcp(connection)
            assert len(response.answer) == 1


@pytest.mark.parametrize(
    ("kind", "rcode"), [("servfail", "SERVFAIL"), ("refused", "REFUSED"), ("nxdomain", "NXDOMAIN")]
)
def test_a_scripted_error_lasts_as_many_queries_as_asked(server: DnsServer, kind: t.Any, rcode: str) -> None:
    server.misbehave("X.wild.example.com", kind, queries=2)
    seen = [dns.rcode.to_text(ask(server, "x.wild.example.com").rcode()) for _each in range(3)]
    assert seen == [rcode, rcode, "NOERROR"]


def test_scripted_truncation_is_over_udp_only_and_of_one_type_only(server: DnsServer) -> None:
    server.misbehave("x.wild.example.com", "truncate", rdtype="TXT")
    assert ask(server, "x.wild.example.com").flags & dns.flags.TC
    assert texts(ask(server, "x.wild.example.com", is_tcp=True)) == ["from the wildcard"]
    assert not ask(server, "x.wild.example.com", "A").flags & dns.flags.TC


def test_a_dropped_query_gets_no_answer_but_is_logged(server: DnsServer) -> None:
    server.misbehave("x.wild.example.com", "drop", queries=1)
    query = dns.message.make_query("x.wild.example.com", "TXT")
    with pytest.raises(dns.exception.Timeout):
        dns.query.udp(query, server.address, port=server.port, timeout=0.1)
    assert [q.rcode for q in server.queries(name="x.wild.example.com")] == [None]


def test_a_stale_server_serves_the_zone_as_it_was_until_told_otherwise(server: DnsServer, zone_path: Path) -> None:
    name = "_acme-challenge.corp.example.com"
    server.misbehave(name, "stale")
    zone_path.write_text(ZONE + PASTED)
    assert ask(server, name).rcode() == dns.rcode.NXDOMAIN
    server.behave(name)
    assert texts(ask(server, name)) == ["Yz0B1U"]


def test_queries_are_logged_in_order_with_their_transport(server: DnsServer) -> None:
    ask(server, "ns1.example.com", "A")
    mark = server.mark()
    ask(server, "NS2.example.com", "A", is_tcp=True)
    assert [(q.name, q.rdtype, q.transport, q.rcode) for q in server.queries(mark)] == [
        ("NS2.example.com", "A", "tcp", "NOERROR")
    ]
    assert len(server.queries(name="ns2.example.com.")) == 1


def test_several_addresses_of_loopback_can_be_served_at_once(server: DnsServer, zone_path: Path) -> None:
    with DnsServer({"example.com": zone_path}, address="127.0.0.2") as second:
        assert second.address == "127.0.0.2"
        assert ask(second, "example.com", "SOA").rcode() == ask(server, "example.com", "SOA").rcode()
