# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Propagation: every authoritative server must have every value; against real name servers on port 53."""

from __future__ import annotations

import itertools
import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.lookup import AT_ONCE, Resolvers
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.persist import Wanted
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.propagation import (
    Missing,
    Seen,
    ServerAnswer,
    check,
    wait,
)
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.records import DnsRecord, merge

CHALLENGE = "_acme-challenge.corp.example.com."
RECORD = DnsRecord(CHALLENGE, ("apex", "wildcard"), ("corp.example.com", "*.corp.example.com"), zone="example.com")
LINES = (f'{CHALLENGE} 300 IN TXT "apex"', f'{CHALLENGE} 300 IN TXT "wildcard"')
TIMEOUT = 0.6


def look(dns_lab: t.Any, *records: DnsRecord, verify: str = "authoritative") -> Seen:
    return check(records or [RECORD], verify=verify, resolvers=dns_lab.resolvers, timeout=TIMEOUT)


def lacking(seen: Seen) -> dict[str, dict[str, str]]:
    """By entry: what each server that lacks it said."""
    return {one.entry: {server.server: server.answer for server in one.servers} for one in seen.missing}


def test_records_at_every_authoritative_server_are_seen(dns_lab: t.Any) -> None:
    servers = dns_lab.start_name_servers()
    dns_lab.add(*LINES)
    assert look(dns_lab) == Seen((), any_seen=True)
    assert all(len(server.queries(rdtype="TXT")) == 1 for server in servers)


def test_records_nowhere_are_missing_everywhere(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    seen = look(dns_lab)
    at_both = {f"ns{n}.example.com ({dns_lab.network}.{n})": "NXDOMAIN" for n in (1, 2)}
    assert lacking(seen) == {"apex": at_both, "wildcard": at_both}
    assert not seen.any_seen
    assert not seen.warnings


def test_the_zone_is_found_where_the_record_does_not_say_it(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(*LINES)
    assert look(dns_lab, DnsRecord(CHALLENGE, ("apex",), ("corp.example.com",))) == Seen((), any_seen=True)


def test_one_stale_server_is_enough_to_miss_a_value(dns_lab: t.Any) -> None:
    _ns1, ns2 = dns_lab.start_name_servers()
    ns2.misbehave(CHALLENGE, "stale")
    dns_lab.add(*LINES)
    seen = look(dns_lab)
    at_ns2 = {f"ns2.example.com ({dns_lab.network}.2)": "NXDOMAIN"}
    assert lacking(seen) == {"apex": at_ns2, "wildcard": at_ns2}
    assert seen.any_seen


def test_only_the_value_that_was_replaced_is_missing(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(LINES[1])
    (missing,) = look(dns_lab).missing
    assert missing.entry == "apex"
    assert {server.answer for server in missing.servers} == {'other values: "wildcard"'}


def test_foreign_values_at_the_name_do_not_matter(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(*LINES, f'{CHALLENGE} 300 IN TXT "of somebody else"')
    assert not look(dns_lab).missing


def test_a_foreign_value_is_none_of_ours(dns_lab: t.Any) -> None:
    dns_lab.add(f'{CHALLENGE} 300 IN TXT "of somebody else"')
    assert not look(dns_lab, verify="recursive").any_seen


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("servfail", "SERVFAIL"), ("refused", "REFUSED"), ("nxdomain", "NXDOMAIN"), ("drop", "no answer in 0.6 s")],
)
def test_a_server_that_fails_is_not_yet(dns_lab: t.Any, kind: str, answer: str) -> None:
    _ns1, ns2 = dns_lab.start_name_servers()
    dns_lab.add(*LINES)
    ns2.misbehave(CHALLENGE, kind)
    assert lacking(look(dns_lab))["apex"] == {f"ns2.example.com ({dns_lab.network}.2)": answer}


def test_a_silent_address_counts_not_where_another_of_its_server_answers(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(*LINES, f"ns1 IN A {dns_lab.network}.9")
    assert look(dns_lab) == Seen((), any_seen=True)


def test_every_address_that_answers_counts(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    stale = dns_lab.start(f"{dns_lab.network}.9")
    stale.misbehave(CHALLENGE, "nodata")
    dns_lab.add(*LINES, f"ns1 IN A {dns_lab.network}.9")
    assert lacking(look(dns_lab))["apex"] == {f"ns1.example.com ({dns_lab.network}.9)": "no TXT record"}


def test_a_server_that_this_machine_cannot_reach_is_left_out_and_said(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(*LINES, "@ IN NS ns3", "ns3 IN A 255.255.255.255", "@ IN NS ns4")
    seen = look(dns_lab)
    assert not seen.missing
    ns3, ns4 = seen.warnings
    assert ns3.startswith("ns3.example.com was not asked: 255.255.255.255 not reachable from here (")
    assert ns4 == "ns4.example.com was not asked: it has no address."


def test_where_no_name_server_answers_the_resolvers_decide_with_a_warning(dns_lab: t.Any) -> None:
    dns_lab.add(*LINES)
    seen = look(dns_lab)
    assert not seen.missing
    assert seen.warnings == (
        "No authoritative server answered for _acme-challenge.corp.example.com (is port 53 closed here?), so what the "
        f"resolvers say decides: {dns_lab.server.resolver}.",
    )


def test_where_nobody_answers_all_is_missing_and_nothing_raised(dns_lab: t.Any) -> None:
    dns_lab.server.misbehave(CHALLENGE, "drop")
    dns_lab.server.misbehave("example.com", "servfail")
    seen = look(dns_lab)
    assert lacking(seen)["apex"] == {dns_lab.server.resolver: "no answer in 0.6 s"}
    assert seen.warnings[0] == (
        f"The name servers of the zone example.com are not known: SERVFAIL from {dns_lab.server.resolver}."
    )


def test_without_any_resolver_all_is_missing(dns_lab: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Resolvers, "servers", ())
    assert lacking(look(dns_lab, verify="recursive"))["apex"] == {"the resolvers": "none is configured on this machine"}


def test_recursive_asks_every_resolver(dns_lab: t.Any) -> None:
    other = dns_lab.start("127.0.0.1", port=0)
    other.misbehave(CHALLENGE, "servfail")
    dns_lab.add(*LINES)
    dns_lab.resolve_by(dns_lab.server, other)
    seen = look(dns_lab, verify="recursive")
    assert lacking(seen) == {"apex": {other.resolver: "SERVFAIL"}, "wildcard": {other.resolver: "SERVFAIL"}}
    assert seen.any_seen


def test_a_silent_resolver_counts_not_where_another_answers(dns_lab: t.Any) -> None:
    dns_lab.add(*LINES)
    dns_lab.resolvers = Resolvers([dns_lab.server.resolver, f"{dns_lab.network}.9"])
    assert look(dns_lab, verify="recursive") == Seen((), any_seen=True)


def test_a_silent_server_is_not_waited_for_again_for_every_name(dns_lab: t.Any) -> None:
    names = [f"n{number}.example.com." for number in range(3 * AT_ONCE)]
    for name in names:
        dns_lab.server.misbehave(name, "drop")
    seen = look(dns_lab, *(DnsRecord(name, ("value",), (name,)) for name in names), verify="recursive")
    assert [one.name for one in seen.missing] == names
    assert len(dns_lab.server.queries(rdtype="TXT")) <= 2 * AT_ONCE


def test_none_sees_everything_and_asks_nobody(dns_lab: t.Any) -> None:
    assert look(dns_lab, verify="none") == Seen((), any_seen=True)
    assert dns_lab.server.mark() == 0


PERSISTENT = "_validation-persist.corp.example.com."
WANTED = Wanted(("ca.example", "old-ca.example"), ("https://ca.example/acct/1",), is_wildcard=True)
LASTING = merge([(PERSISTENT, WANTED, "corp.example.com"), (PERSISTENT, WANTED, "*.corp.example.com")])


def test_r47_a_record_that_was_made_by_somebody_else_and_states_the_same_is_seen(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(f'{PERSISTENT} 60 IN TXT "old-ca.example;AccountURI=https://ca.example/acct/1;" "policy=wildcard"')
    assert look(dns_lab, *LASTING) == Seen((), any_seen=True)


def test_r47_a_record_that_has_run_out_is_missing_and_it_is_said_why(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(f'{PERSISTENT} 60 IN TXT "{WANTED}; persistUntil=1700000000"')
    seen = look(dns_lab, *LASTING)
    said = f'other values: "{WANTED}; persistUntil=1700000000" (its persistUntil was 2023-11-14 22:13 UTC)'
    assert {*lacking(seen)[str(WANTED)].values()} == {said}
    assert not seen.any_seen


def wait_for(dns_lab: t.Any, *, within: float, sleep: t.Callable[[float], None]) -> Seen:
    clock = itertools.count(0.0, 10.0)
    return wait(
        [RECORD],
        verify="recursive",
        resolvers=dns_lab.resolvers,
        within=within,
        timeout=TIMEOUT,
        clock=lambda: next(clock),
        sleep=sleep,
    )


def test_waiting_ends_when_the_last_value_is_there(dns_lab: t.Any) -> None:
    lines, pauses = iter(LINES), []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 1:
            dns_lab.add(next(lines))

    assert not wait_for(dns_lab, within=600, sleep=sleep).missing
    assert pauses == [0.0, 2.0, 3.0]


def test_waiting_ends_at_its_deadline_with_pauses_that_grow(dns_lab: t.Any) -> None:
    pauses: list[float] = []
    seen = wait_for(dns_lab, within=75, sleep=pauses.append)
    assert [one.entry for one in seen.missing] == ["apex", "wildcard"]
    assert pauses == [0.0, 2.0, 3.0, 5.0, 7.0, 10.0, 10.0, 5.0]


def test_r16_a_secondary_that_is_stale_for_a_while_is_waited_for(dns_lab: t.Any) -> None:
    _ns1, ns2 = dns_lab.start_name_servers()
    ns2.misbehave(CHALLENGE, "stale", queries=3)
    dns_lab.add(*LINES)
    assert waits_until_seen(dns_lab) == 3
    assert len(ns2.queries(rdtype="TXT")) == 4


def test_r17_nxdomain_then_servfail_then_silence_then_right_is_waited_for(dns_lab: t.Any) -> None:
    ns1, ns2 = dns_lab.start_name_servers()
    dns_lab.add(*LINES)
    for kind in ("nxdomain", "servfail"):
        ns1.misbehave(CHALLENGE, kind, queries=1)
    ns2.misbehave(CHALLENGE, "drop", queries=2)
    assert waits_until_seen(dns_lab) == 2


def test_r18_a_truncated_answer_counts_as_what_tcp_says(dns_lab: t.Any) -> None:
    ns1, _ns2 = dns_lab.start_name_servers()
    ns1.misbehave(CHALLENGE, "truncate")
    dns_lab.add(*LINES)
    assert look(dns_lab) == Seen((), any_seen=True)
    assert [query.transport for query in ns1.queries(rdtype="TXT")] == ["udp", "tcp"]


def waits_until_seen(dns_lab: t.Any) -> int:
    """Wait for the record to be seen; gives the number of pauses that were made."""
    pauses: list[float] = []
    seen = wait(
        [RECORD],
        verify="authoritative",
        resolvers=dns_lab.resolvers,
        within=600,
        timeout=TIMEOUT,
        sleep=pauses.append,
    )
    assert not seen.missing
    return len(pauses) - 1


def test_waiting_looks_name_servers_up_once(dns_lab: t.Any) -> None:
    ns1, _ns2 = dns_lab.start_name_servers()
    ns1.misbehave(CHALLENGE, "servfail", queries=2)
    dns_lab.add(*LINES)
    seen = wait([RECORD], verify="authoritative", resolvers=dns_lab.resolvers, within=60, sleep=lambda seconds: None)
    assert not seen.missing
    assert len(ns1.queries(rdtype="TXT")) == 3
    assert len(dns_lab.server.queries(rdtype="NS")) == 1


MISSING = Missing(
    CHALLENGE,
    "Yz0B1U",
    (
        ServerAnswer("ns1.example.com (192.0.2.1)", "NXDOMAIN"),
        ServerAnswer("ns2.example.com (192.0.2.2)", 'other values: "old"'),
        ServerAnswer("ns3.example.com (192.0.2.3)", "NXDOMAIN"),
    ),
)


def test_the_sentence_names_value_name_and_what_each_server_said() -> None:
    assert MISSING.sentence() == (
        'The TXT value "Yz0B1U" is missing at _acme-challenge.corp.example.com: '
        "NXDOMAIN at ns1.example.com (192.0.2.1), ns3.example.com (192.0.2.3); "
        'other values: "old" at ns2.example.com (192.0.2.2).'
    )


def test_a_missing_record_is_returned_as_documented() -> None:
    returned = MISSING.returns()
    assert list(returned) == ["name", "entry", "servers"]
    assert returned["servers"][0] == {"server": "ns1.example.com (192.0.2.1)", "answer": "NXDOMAIN"}
