# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one server says about a TXT record; against real servers."""

from __future__ import annotations

import socket
import typing as t

import dns.flags
import dns.message
import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.lookup import in_parallel
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.txt import Answer, ask_txt

CHALLENGE = "_acme-challenge.corp.example.com."


def ask(dns_lab: t.Any, name: str = CHALLENGE, *, timeout: float = 3.0) -> Answer:
    return ask_txt(name, address=dns_lab.server.address, port=dns_lab.server.port, timeout=timeout)


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
    assert ask(dns_lab) == Answer(kind.upper(), kind="failed")


def test_silence_is_no_answer_within_the_deadline(dns_lab: t.Any) -> None:
    dns_lab.server.misbehave(CHALLENGE, "drop")
    assert ask(dns_lab, timeout=0.3) == Answer("no answer in 0.3 s", kind="silent")


def test_a_lost_datagram_is_sent_again(dns_lab: t.Any) -> None:
    dns_lab.server.misbehave(CHALLENGE, "drop", queries=1)
    assert ask(dns_lab, timeout=0.6).text == "NXDOMAIN"


def test_a_truncated_answer_is_fetched_over_tcp(dns_lab: t.Any) -> None:
    dns_lab.add(*(f'{CHALLENGE} 60 IN TXT "{number:060}"' for number in range(40)))
    assert len(ask(dns_lab).values) == 40
    assert [query.transport for query in dns_lab.server.queries(name=CHALLENGE)] == ["udp", "tcp"]


def test_a_closed_tcp_port_behind_a_truncated_answer_is_said() -> None:
    answer = answered_by(lambda query: dns.flags.TC)
    assert answer == Answer("truncated over UDP, and over TCP connection refused", kind="silent")


def test_tcp_that_is_dropped_behind_a_truncated_answer_is_said() -> None:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen(1)
        answer = answered_by(lambda query: dns.flags.TC, port=tcp.getsockname()[1])
    assert answer == Answer("truncated over UDP, and over TCP no answer in 0.3 s", kind="silent")


def test_tcp_that_is_hung_up_behind_a_truncated_answer_is_said(dns_lab: t.Any) -> None:
    dns_lab.server.misbehave(CHALLENGE, "truncate", queries=1)
    dns_lab.server.misbehave(CHALLENGE, "drop")
    said = "truncated over UDP, and over TCP the connection ends before the answer"
    assert ask(dns_lab) == Answer(said, kind="silent")


def test_an_address_that_cannot_be_sent_to_is_no_silence() -> None:
    answer = ask_txt(CHALLENGE, address="255.255.255.255")
    assert answer.kind == "unreachable"
    assert answer.text.startswith("not reachable from here (")


@pytest.mark.parametrize("recursive", [False, True])
def test_only_resolvers_are_asked_to_recurse(recursive: bool) -> None:
    asked = []

    def note(query: dns.message.Message) -> int:
        asked.append((bool(query.flags & dns.flags.RD), query.payload))
        return 0

    answered_by(note, recursive=recursive)
    assert asked == [(recursive, 1232)]


def answered_by(flags: t.Callable[[dns.message.Message], int], *, recursive: bool = False, port: int = 0) -> Answer:
    """Ask a server on UDP alone that answers one query with `flags`, and nothing else."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", port))
        udp.settimeout(5)
        port = udp.getsockname()[1]

        def serve(_item: object) -> None:
            wire, client = udp.recvfrom(4096)
            query = dns.message.from_wire(wire)
            response = dns.message.make_response(query)
            response.flags |= flags(query)
            udp.sendto(response.to_wire(), client)

        def question(_item: object) -> Answer:
            return ask_txt(CHALLENGE, address="127.0.0.1", port=port, recursive=recursive, timeout=0.3)

        results: list[t.Any] = in_parallel(lambda work: work(None), items=[serve, question])
        return t.cast(Answer, results[1])


def test_cnames_are_followed_to_the_end_of_the_answer(dns_lab: t.Any) -> None:
    dns_lab.add(f"{CHALLENGE} 60 IN CNAME a.example.com.", "a 60 IN CNAME b", 'b 60 IN TXT "value"')
    answer = ask(dns_lab)
    assert answer.values == {"value"}
    assert answer.text == 'a CNAME to a.example.com, on to b.example.com, there other values: "value"'


def test_a_cname_that_leaves_the_zone_is_named(dns_lab: t.Any) -> None:
    dns_lab.add(f"{CHALLENGE} 60 IN CNAME x.acme-dns.Example.net.")
    answer = ask(dns_lab)
    assert answer.text == "a CNAME to x.acme-dns.example.net, there no TXT record"
    assert answer.chain == ("x.acme-dns.example.net.",)


def test_a_loop_of_cnames_is_named_with_its_chain(dns_lab: t.Any) -> None:
    dns_lab.add(f"{CHALLENGE} 60 IN CNAME a.example.com.", f"a 60 IN CNAME {CHALLENGE}")
    assert ask(dns_lab) == Answer(
        f"a loop of CNAMEs, {CHALLENGE[:-1]} to a.example.com to {CHALLENGE[:-1]}", kind="endless"
    )


def test_a_zone_of_its_own_below_the_one_that_is_asked_is_named(dns_lab: t.Any) -> None:
    dns_lab.add("corp 60 IN NS ns1.corp", "ns1.corp 60 IN A 192.0.2.1")
    assert ask(dns_lab).text == "a referral to the name servers of corp.example.com"
