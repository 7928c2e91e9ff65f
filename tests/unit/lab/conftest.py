# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One CA for all certificates of these tests, hosts, and a fault proxy with clients, stopped at the end of each."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:  # imported in functions: pytest-ansible sets its import hooks only after it has loaded this file
    from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued
    from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy
    from ansible_collections.zerotrust.pomerium.tests.lab.pebble import Pebble
    from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost
    from ansible_collections.zerotrust.pomerium.tests.unit.lab.plain_client import AcmeClient, Client
    from ansible_collections.zerotrust.pomerium.tests.unit.lab.pomerium_pairs import Pair


@pytest.fixture(scope="session")
def ca() -> Authority:
    from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority

    return Authority("CA of the unit tests")


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[PomeriumHost]:
    """A host that has not been started yet: a test writes its configuration first."""
    from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost

    one = PomeriumHost(tmp_path / "host", "pom1")
    yield one
    one.close()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Where a test lays a certificate and its key."""
    from ansible_collections.zerotrust.pomerium.tests.unit.lab.pomerium_pairs import Pair

    return Pair(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")


@pytest.fixture
def wildcard(ca: Authority, pair: Pair) -> Issued:
    """A certificate that lies there."""
    return pair.put(ca.issue("*.corp.example.com", "corp.example.com"))


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Pebble]:
    """A CA that asks nobody about names: none is validated here."""
    from ansible_collections.zerotrust.pomerium.tests.lab.pebble import Pebble

    with Pebble(tmp_path_factory.mktemp("pebble"), dns_server="127.0.0.1:53", nonce_reject=0) as running:
        yield running


@pytest.fixture
def proxy(pebble: Pebble, tmp_path: Path) -> t.Iterator[FaultProxy]:
    """Started, and not checked at its end: some of these tests leave a rule unfired."""
    from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy

    one = FaultProxy(pebble, tmp_path)
    one.start()
    yield one
    one.close()


@pytest.fixture
def send(proxy: FaultProxy) -> t.Iterator[Client]:
    from ansible_collections.zerotrust.pomerium.tests.unit.lab.plain_client import Client

    client = Client(proxy)
    yield client
    client.close()


@pytest.fixture
def acme(proxy: FaultProxy) -> t.Iterator[AcmeClient]:
    from ansible_collections.zerotrust.pomerium.tests.unit.lab.plain_client import AcmeClient

    client = AcmeClient(proxy)
    yield client
    client.close()
