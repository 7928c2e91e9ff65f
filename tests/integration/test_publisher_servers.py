# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_certificate with a publisher against real name servers: BIND on port 53, with a secondary, and zones between
which CNAMEs lead. Every server of every zone is asked before the CA is."""

from __future__ import annotations

import contextlib
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, Done, made, resources
from ansible_collections.zerotrust.pomerium.tests.lab.bind import Bind, why_missing
from ansible_collections.zerotrust.pomerium.tests.lab.dns_relay import DnsRelay
from ansible_collections.zerotrust.pomerium.tests.lab.dns_server import DnsServer
from ansible_collections.zerotrust.pomerium.tests.lab.needed import need, need_root
from ansible_collections.zerotrust.pomerium.tests.lab.ports import loopback_network

NAME = "_acme-challenge.corp.example.com"
ZONE = """\
$TTL 60
@    IN SOA ns1 hostmaster 1 60 60 60 60
@    IN NS ns1
@    IN NS ns2
ns1  IN A {primary}
ns2  IN A {secondary}
corp IN A 127.0.0.1
_acme-challenge.team IN CNAME team.acme.example.net.
"""
OTHER = """\
$TTL 60
@    IN SOA ns1.example.com. hostmaster.example.com. 1 60 60 60 60
@    IN NS ns1.example.com.
@    IN NS ns2.example.com.
"""


class Site(t.NamedTuple):
    """Two name servers for example.com and acme.example.net, and a controller whose CA asks the first."""

    primary: Bind
    secondary: Bind
    addresses: dict[str, str]
    controller: Controller

    def run(self, **options: t.Any) -> Done:
        """Run acme_certificate, looking at both servers."""
        given = {
            "publisher": self.primary.publisher(),
            "resolvers": [self.primary.resolver],
            "verify_dns": "authoritative",
            "propagation_timeout": 20,
        }
        return self.controller.run("acme_certificate", **{**given, **options})

    def txt(self) -> dict[str, set[str]]:
        """All TXT values of both zones."""
        return {**self.primary.txt("example.com"), **self.primary.txt("acme.example.net")}


@pytest.fixture
def site(start: t.Callable[..., Controller], tmp_path: Path) -> t.Iterator[Site]:
    """Authoritative servers are asked on port 53, which takes root."""
    need(why_missing())
    need_root("port 53")
    network = loopback_network()
    addresses = {"primary": f"{network}.1", "secondary": f"{network}.2"}
    zones = {"example.com": ZONE.format(**addresses), "acme.example.net": OTHER}
    primary = Bind(tmp_path / "primary", zones, is_resolver=True)
    secondary = Bind(tmp_path / "secondary", primary=primary)
    with contextlib.ExitStack() as stack:
        for server, address in ((primary, addresses["primary"]), (secondary, addresses["secondary"])):
            stack.enter_context(server)
            stack.enter_context(DnsRelay(address, to=(server.address, server.port)))
        yield Site(primary, secondary, addresses, start(resolver=primary.resolver))


def test_one_task_does_it_all_and_the_secondary_is_waited_for(site: Site) -> None:
    done = site.run().ok
    assert (done["phase"], done["records_to_remove"]) == ("issued", [])
    assert site.txt() == {}


def test_r16_a_secondary_that_does_not_follow_holds_the_challenge_back_until_it_does(site: Site) -> None:
    """Frozen, as it were: another server answers in its place, with the zone as it was."""
    site.secondary.stop()
    stale = site.secondary.directory / "stale.zone"
    stale.write_text((site.primary.directory / "example.com.zone").read_text())
    mark = site.controller.lab.ca.mark()
    with DnsServer({"example.com": stale}, port=site.secondary.port):
        late = site.run(propagation_timeout=2)
        assert f"at ns2.example.com ({site.addresses['secondary']})" in late.error
        assert "ns1.example.com" not in late.error
        assert "challenge" not in resources(site.controller.lab, mark)
    (site.secondary.directory / "example.com.zone").unlink()  # else it waits for the next refresh
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(site.run)
        time.sleep(1)
        site.secondary.start()
        assert running.result().ok["renewed"]
    assert made(site.controller.lab)["orders"] == 1
    assert site.txt() == {}


def test_r19_into_another_zone_by_a_cname_that_was_made_once(site: Site) -> None:
    done = site.run(identifiers=["*.team.example.com", "team.example.com"], follow_cname=True).ok
    assert done["renewed"] and site.txt() == {}


def test_r21_two_certificates_at_once_in_one_zone_keep_all_values(site: Site) -> None:

    def one(name: str) -> Done:
        return site.run(name=name, identifiers=[f"*.{name}.example.com", "*.corp.example.com"])

    with ThreadPoolExecutor(3) as pool:
        assert [done.ok["renewed"] for done in pool.map(one, ("a", "b", "c"))] == [True] * 3
    assert site.txt() == {}
