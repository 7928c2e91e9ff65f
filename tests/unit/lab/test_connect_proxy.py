# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's HTTP proxy tunnels to loopback alone, and counts."""

from __future__ import annotations

import http.client
import json
import ssl

import pytest
from ansible_collections.zerotrust.pomerium.tests.lab.connect_proxy import ConnectProxy
from ansible_collections.zerotrust.pomerium.tests.lab.pebble import Pebble


def get_directory(through: ConnectProxy, pebble: Pebble, host: str = "127.0.0.1") -> bytes:
    context = ssl.create_default_context(cafile=str(pebble.ca_path))
    connection = http.client.HTTPSConnection("127.0.0.1", through.port, timeout=10, context=context)
    connection.set_tunnel(host, pebble.port)
    try:
        connection.request("GET", "/dir", headers={"User-Agent": "test"})
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_tunnel_carries_tls_and_is_counted(pebble: Pebble) -> None:
    with ConnectProxy() as proxy:
        assert "newOrder" in json.loads(get_directory(proxy, pebble))
    assert proxy.tunnels == [f"127.0.0.1:{pebble.port}"]


def test_a_proxy_that_refuses_says_so(pebble: Pebble) -> None:
    with ConnectProxy(refuses=True) as proxy, pytest.raises(OSError, match="407"):
        get_directory(proxy, pebble)


def test_nothing_beyond_loopback_is_reached(pebble: Pebble) -> None:
    with ConnectProxy() as proxy, pytest.raises(OSError, match="403"):
        get_directory(proxy, pebble, "ca.example")
