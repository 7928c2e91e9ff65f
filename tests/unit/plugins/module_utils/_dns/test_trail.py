# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Over CNAMEs from zone to zone, as a CA goes: against real name servers on port 53."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns import trail
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.propagation import Seen, check
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.records import DnsRecord

CHALLENGE = "_acme-challenge.corp.example.com."
RECORD = DnsRecord(CHALLENGE, ("value",), ("corp.example.com",))
TARGET = "x.acme.example.net."
CNAME = f"{CHALLENGE} 60 IN CNAME {TARGET}"
TXT = 'x 60 IN TXT "value"'
TIMEOUT = 0.6


def look(dns_lab: t.Any, record: DnsRecord = RECORD) -> Seen:
    return check([record], verify="authoritative", resolvers=dns_lab.resolvers, timeout=TIMEOUT)


def lacking(seen: Seen) -> dict[str, str]:
    """What each server said that lacks the value, and its name alone."""
    return {server.server.split()[0]: server.answer for one in seen.missing for server in one.servers}


def test_r19_a_cname_into_another_zone_is_followed_to_all_servers_of_that_zone(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    targets = dns_lab.add_zone("acme.example.net", TXT, servers=(3, 4))
    dns_lab.add(CNAME)
    assert look(dns_lab) == Seen((), any_seen=True)
    assert [len(server.queries(name=TARGET, rdtype="TXT")) for server in targets] == [1, 1]
    assert not [query for name in (CHALLENGE, TARGET) for query in dns_lab.server.queries(name=name)]


def test_r19_a_value_that_one_server_behind_the_cname_lacks_is_missing(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    _ns3, ns4 = dns_lab.add_zone("acme.example.net", TXT, servers=(3, 4))
    ns4.misbehave(TARGET, "nxdomain")
    dns_lab.add(CNAME)
    seen = look(dns_lab)
    assert seen.missing[0].sentence() == (
        'The TXT value "value" is missing at _acme-challenge.corp.example.com: a CNAME to x.acme.example.net, there '
        f"NXDOMAIN at ns4.acme.example.net ({dns_lab.network}.4)."
    )
    assert seen.any_seen


def test_r19_a_secondary_that_lacks_the_cname_lacks_the_value(dns_lab: t.Any) -> None:
    _ns1, ns2 = dns_lab.start_name_servers()
    ns2.misbehave(CHALLENGE, "stale")
    dns_lab.add_zone("acme.example.net", TXT)
    dns_lab.add(CNAME)
    assert lacking(look(dns_lab)) == {"ns2.example.com": "NXDOMAIN"}


def test_servers_that_lead_to_different_names_are_all_followed(dns_lab: t.Any) -> None:
    _ns1, ns2 = dns_lab.start_name_servers()
    dns_lab.add(f"{CHALLENGE} 60 IN CNAME old.acme.example.net.")
    ns2.misbehave(CHALLENGE, "stale")
    dns_lab.remove(f"{CHALLENGE} 60 IN CNAME old.acme.example.net.")
    dns_lab.add(CNAME)
    dns_lab.add_zone("acme.example.net", TXT)
    assert lacking(look(dns_lab)) == {"ns3.acme.example.net": "a CNAME to old.acme.example.net, there NXDOMAIN"}


def test_r19_three_zones_and_cnames_within_one_of_them(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    (ns3,) = dns_lab.add_zone("acme.example.net", "x IN CNAME y", "y IN CNAME z.example.org.")
    (ns4,) = dns_lab.add_zone("example.org", servers=(4,))
    dns_lab.add(CNAME)
    way = "a CNAME to x.acme.example.net, on to y.acme.example.net, on to z.example.org, there NXDOMAIN"
    assert lacking(look(dns_lab)) == {"ns4.example.org": way}
    assert len(ns3.queries(rdtype="TXT")) == 1, "what it answers is enough for both of its names"
    dns_lab.add('z IN TXT "value"', zone="example.org")
    assert not look(dns_lab).missing


def test_r19_a_loop_over_zones_is_named_with_its_chain(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add_zone("acme.example.net", f"x IN CNAME {CHALLENGE}")
    dns_lab.add(CNAME)
    loop = f"a loop of CNAMEs, {CHALLENGE[:-1]} to x.acme.example.net to {CHALLENGE[:-1]}"
    assert lacking(look(dns_lab)) == {"ns3.acme.example.net": loop}


def test_r19_a_chain_without_an_end_is_given_up(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    to_and_fro = [f"n{number} IN CNAME n{number + 1}.{{}}." for number in range(30)]
    dns_lab.add(f"{CHALLENGE} IN CNAME n0.acme.example.net.", *(one.format("acme.example.net") for one in to_and_fro))
    dns_lab.add_zone("acme.example.net", *(one.format("example.com") for one in to_and_fro))
    (said,) = {*lacking(look(dns_lab)).values()}
    assert said.startswith(
        f"more than 16 CNAMEs in a row, {CHALLENGE[:-1]} to n0.acme.example.net to n1.example.com to "
    )
    assert said.endswith(" to n16.acme.example.net")


def test_what_a_server_says_of_another_zone_is_not_believed(dns_lab: t.Any) -> None:
    """A CA's resolver asks that zone's own servers; here ns1 has an old copy of it, with the value."""
    dns_lab.add_zone("acme.example.net", TXT)
    dns_lab.add(CNAME)
    ns1 = dns_lab.serve("example.com", "acme.example.net", address=f"{dns_lab.network}.1")
    ns1.misbehave(CHALLENGE, "stale")
    dns_lab.start(f"{dns_lab.network}.2")
    dns_lab.add('x IN TXT "another"', zone="acme.example.net")
    dns_lab.remove(TXT, zone="acme.example.net")
    assert lacking(look(dns_lab)) == {
        "ns3.acme.example.net": 'a CNAME to x.acme.example.net, there other values: "another"'
    }


def test_a_cname_into_a_zone_below_goes_on_to_the_servers_of_that_zone(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(
        f"{CHALLENGE} IN CNAME x.acme.example.com.", "acme IN NS ns3.acme", f"ns3.acme IN A {dns_lab.network}.3"
    )
    dns_lab.add_zone("acme.example.com", TXT)
    assert look(dns_lab) == Seen((), any_seen=True)


def test_a_challenge_name_that_is_a_zone_itself_is_asked_for_at_its_own_servers(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(
        "_acme-challenge.corp IN NS ns3._acme-challenge.corp", f"ns3._acme-challenge.corp IN A {dns_lab.network}.3"
    )
    dns_lab.add_zone(CHALLENGE[:-1])
    assert lacking(look(dns_lab)) == {f"ns3.{CHALLENGE[:-1]}": "no TXT record"}
    dns_lab.add('@ IN TXT "value"', zone=CHALLENGE[:-1])
    assert look(dns_lab) == Seen((), any_seen=True)


def test_a_zone_that_is_given_and_is_not_the_one_is_told_by_the_referral(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.delegate("corp")
    record = DnsRecord(CHALLENGE, ("value",), ("corp.example.com",), zone="Example.com.")
    said = "a referral to the name servers of corp.example.com"
    assert lacking(look(dns_lab, record)) == {"ns1.example.com": said, "ns2.example.com": said}


def test_a_wildcard_cname_counts_until_the_real_record_is_there(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add_zone("acme.example.net")
    dns_lab.add(f"*.corp 60 IN CNAME {TARGET}")
    assert lacking(look(dns_lab)) == {"ns3.acme.example.net": "a CNAME to x.acme.example.net, there NXDOMAIN"}
    dns_lab.add(f'{CHALLENGE} 60 IN TXT "value"')
    assert look(dns_lab) == Seen((), any_seen=True)


def test_where_a_zone_behind_a_cname_cannot_be_reached_the_resolvers_decide_for_it(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    for server in dns_lab.add_zone("acme.example.net", TXT):
        server.close()
    dns_lab.add(CNAME)
    seen = look(dns_lab)
    assert not seen.missing
    assert seen.warnings == (
        "No authoritative server answered for x.acme.example.net (is port 53 closed here?), so what the resolvers say "
        f"decides: {dns_lab.server.resolver}.",
    )


def test_where_the_zone_behind_a_cname_is_broken_it_is_told(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add_zone("acme.example.net")
    dns_lab.add(CNAME)
    for name in (TARGET, f"_zone.{TARGET}"):
        dns_lab.server.misbehave(name, "servfail")
    dns_lab.server.misbehave("acme.example.net", "servfail")
    seen = look(dns_lab)
    assert lacking(seen) == {dns_lab.server.resolver: "a CNAME to x.acme.example.net, there SERVFAIL"}
    assert seen.warnings[0] == (
        f"The DNS zone of x.acme.example.net is not known: SERVFAIL from {dns_lab.server.resolver}."
    )


def test_name_servers_that_refuse_their_zone_are_named(dns_lab: t.Any) -> None:
    """Lame delegation: the zone's NS records name servers that do not serve it."""
    dns_lab.add_zone("example.org", servers=(3,))
    dns_lab.serve("example.org", address=f"{dns_lab.network}.1")
    dns_lab.serve("example.org", address=f"{dns_lab.network}.2")
    assert lacking(look(dns_lab)) == {"ns1.example.com": "REFUSED", "ns2.example.com": "REFUSED"}


def test_where_all_addresses_are_of_a_kind_that_this_machine_lacks_the_resolvers_decide(dns_lab: t.Any) -> None:
    """IPv6 alone, on a host without: fe80:: cannot be sent to on any host where no interface is named with it."""
    ipv6 = ["@ IN NS six", "six IN AAAA fe80::53"]
    dns_lab.add_zone("example.org", '_acme-challenge IN TXT "value"', *ipv6, servers=())
    seen = look(dns_lab, DnsRecord("_acme-challenge.example.org.", ("value",), ("example.org",)))
    assert not seen.missing
    assert seen.warnings[0].startswith("No authoritative server answered for _acme-challenge.example.org (")


def test_in_a_split_horizon_the_resolvers_that_are_given_say_whom_to_ask(dns_lab: t.Any, dns_inside: t.Any) -> None:
    """Inside, the zone has other name servers, which never get the value; the CA looks from outside."""
    dns_lab.start_name_servers()
    dns_inside.start_name_servers()
    dns_lab.add(f'{CHALLENGE} 60 IN TXT "value"')
    assert [server.server for one in look(dns_inside).missing for server in one.servers] == [
        f"ns{n}.example.com ({dns_inside.network}.{n})" for n in (1, 2)
    ]
    assert look(dns_lab) == Seen((), any_seen=True)


def test_resolvers_are_asked_also_where_silent_servers_have_used_the_time_up(
    dns_lab: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail, "CHECK_SECONDS", TIMEOUT / 2)
    dns_lab.add(f'{CHALLENGE} 60 IN TXT "value"')
    assert not look(dns_lab).missing


def test_no_further_zone_is_asked_once_the_time_is_used_up(dns_lab: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trail, "CHECK_SECONDS", TIMEOUT / 2)
    ns1, _ns2 = dns_lab.start_name_servers()
    ns1.misbehave(CHALLENGE, "drop")
    (ns3,) = dns_lab.add_zone("acme.example.net")
    dns_lab.add(CNAME, TXT)
    look(dns_lab)
    assert not ns3.queries(rdtype="TXT")
