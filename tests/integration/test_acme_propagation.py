# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DNS as it is between publishing and validation: every authoritative server of every zone on the way is asked.

Real name servers on port 53 of a loopback network; the lab's DNS is the resolver, the CA's as well as ours.
"""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, made
from ansible_collections.zerotrust.pomerium.tests.lab.bind import Bind, why_missing
from ansible_collections.zerotrust.pomerium.tests.lab.dns_server import DnsServer
from ansible_collections.zerotrust.pomerium.tests.lab.lab import ZONE, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.needed import need, need_root
from ansible_collections.zerotrust.pomerium.tests.lab.ports import loopback_network

NAME = "_acme-challenge.corp.example.com"
TARGET = "corp.acme.example.net"
AUTHORITATIVE = {"verify_dns": "authoritative"}


@dataclass
class NameServers:
    """Two for example.com and two for acme.example.net, whose file is `elsewhere`."""

    ours: tuple[DnsServer, DnsServer]
    theirs: tuple[DnsServer, DnsServer]
    elsewhere: Path


def start_name_servers(lab: Lab, stack: contextlib.ExitStack) -> NameServers:
    network = loopback_network()
    elsewhere = lab.directory / "acme.example.net.zone"
    elsewhere.write_text(
        "$TTL 60\n@ IN SOA ns3 hostmaster 1 60 60 60 60\n@ IN NS ns3\n@ IN NS ns4\n"
        f"ns3 IN A {network}.3\nns4 IN A {network}.4\n"
    )
    lab.zone_path.write_text(f"{ZONE.replace('127.0.0.1', f'{network}.1', 1)}@ IN NS ns2\nns2 IN A {network}.2\n")
    lab.dns.serve_also("acme.example.net", elsewhere)
    places = [("example.com", lab.zone_path, 1), ("example.com", lab.zone_path, 2)]
    places += [("acme.example.net", elsewhere, 3), ("acme.example.net", elsewhere, 4)]
    servers = [DnsServer({zone: path}, address=f"{network}.{number}", port=53) for zone, path, number in places]
    try:
        ns1, ns2, ns3, ns4 = map(stack.enter_context, servers)
    except PermissionError as error:
        need(f"name servers on port 53 ({error})")
        raise
    return NameServers((ns1, ns2), (ns3, ns4), elsewhere)


@pytest.fixture
def name_servers(controller: Controller) -> t.Iterator[NameServers]:
    with contextlib.ExitStack() as stack:
        yield start_name_servers(controller.lab, stack)


def test_r16_r17_r18_the_ca_is_told_to_look_when_every_name_server_is_right(
    controller: Controller, name_servers: NameServers
) -> None:
    """One is stale; the other denies, then fails, and then has its answers fetched over TCP."""
    ns1, ns2 = name_servers.ours
    order = controller.order(**AUTHORITATIVE)
    assert controller.lab.dns.queries(name=NAME, rdtype="TXT") == [], "a resolver would remember for a while"
    for kind in ("nxdomain", "servfail"):
        ns1.misbehave(NAME, kind, queries=1)
    ns1.misbehave(NAME, "truncate")
    ns2.misbehave(NAME, "stale", queries=2)
    marks = ns1.mark(), ns2.mark()
    controller.paste(order)
    done = controller.run("acme_finalize", propagation_timeout=60, **AUTHORITATIVE).ok
    assert done["phase"] == "issued" and made(controller.lab)["certificates"] == 1
    seen = [server.queries(mark) for server, mark in zip((ns1, ns2), marks)]
    assert [(query.transport, query.rcode) for query in seen[0]] == [
        ("udp", "NXDOMAIN"),
        ("udp", "SERVFAIL"),
        ("udp", "NOERROR"),
        ("tcp", "NOERROR"),
    ]
    by_the_ca = controller.lab.dns.queries(name=NAME, rdtype="TXT")
    assert len(seen[1]) == 3 and min(query.at for query in by_the_ca) > max(query.at for query in seen[0] + seen[1])


def test_r19_behind_a_cname_every_server_of_the_other_zone_has_to_have_it(
    controller: Controller, name_servers: NameServers
) -> None:
    controller.lab.paste(f"{NAME}.  300  IN  CNAME  {TARGET}.")
    order = controller.order(follow_cname=True, **AUTHORITATIVE)
    (record,) = order["dns_records"]
    assert (record["name"], record["zone"], record["record"]) == (f"{TARGET}.", "acme.example.net", "corp")
    ns4 = name_servers.theirs[1]
    ns4.misbehave(TARGET, "stale")
    with name_servers.elsewhere.open("a") as file:
        file.writelines(f"{line}\n" for line in order["instructions"] if line.startswith(TARGET))
    late = controller.run("acme_finalize", **AUTHORITATIVE)
    where = f"ns4.acme.example.net ({ns4.address})"
    assert f"is missing at {NAME}: a CNAME to {TARGET}, there NXDOMAIN at {where}." in late.error
    assert {server["server"] for one in late["missing_records"] for server in one["servers"]} == {where}
    ns4.behave()
    assert controller.run("acme_finalize", **AUTHORITATIVE).ok["phase"] == "issued"


@pytest.mark.parametrize("delegated", [False, True])
def test_r30_a_resolver_that_the_ca_shares_does_not_remember_that_there_was_no_record(
    start: t.Callable[..., Controller], tmp_path: Path, delegated: bool
) -> None:
    """By hand, with an hour for which the zone lets resolvers remember: they are not asked before it is there."""
    need(why_missing())
    need_root("port 53")
    address = f"{loopback_network()}.1"
    zone = tmp_path / "example.com.zone"
    cname = f"{NAME}. IN CNAME corp.acme" if delegated else ""
    zone.write_text(
        f"$TTL 3600\n@ IN SOA ns1 hostmaster 1 3600 3600 3600 3600\n@ IN NS ns1\nns1 IN A {address}\n{cname}\n"
    )
    cache = Bind(tmp_path / "cache", is_resolver=True, upstream=address)
    with DnsServer({"example.com": zone}, address=address, port=53), cache:
        controller = start(resolver=cache.resolver)
        options = {"resolvers": [cache.resolver], **AUTHORITATIVE}
        order = controller.order(identifiers=["corp.example.com"], follow_cname=delegated, **options)
        with zone.open("a") as file:
            file.writelines(f"{line}\n" for line in order["instructions"] if "  IN  TXT  " in line)
        assert controller.run("acme_finalize", **options).ok["phase"] == "issued"
