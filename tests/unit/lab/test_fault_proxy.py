# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proxy passes ACME on unchanged but for what its rules say, and is strict about its rules."""

from __future__ import annotations

import http.client
import json
import ssl
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy
from ansible_collections.zerotrust.pomerium.tests.lab.pebble import Pebble


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Pebble]:
    with Pebble(tmp_path_factory.mktemp("pebble"), dns_server="127.0.0.1:53") as running:
        yield running


@pytest.fixture
def proxy(pebble: Pebble, tmp_path: Path) -> t.Iterator[FaultProxy]:
    """Started, and not checked at its end: some of these tests leave a rule unfired."""
    one = FaultProxy(pebble, tmp_path)
    one.start()
    yield one
    one.close()


class Client:
    """A plain HTTPS client with one kept connection, which is opened again after a reset."""

    def __init__(self, proxy: FaultProxy) -> None:
        context = ssl.create_default_context(cafile=str(proxy.ca_path))
        self._connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=10, context=context)

    def __call__(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        try:
            self._connection.request(method, path, headers={"User-Agent": "test"})
            answer = self._connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except OSError:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def send(proxy: FaultProxy) -> t.Iterator[Client]:
    client = Client(proxy)
    yield client
    client.close()


def test_the_directory_through_the_proxy_names_the_proxy(send: Client, proxy: FaultProxy) -> None:
    status, _headers, body = send("GET", "/dir")
    assert status == 200
    assert json.loads(body)["newOrder"] == f"https://127.0.0.1:{proxy.port}/order-plz"


def test_requests_are_counted_by_resource_here_and_at_pebble(send: Client, proxy: FaultProxy, pebble: Pebble) -> None:
    mark = pebble.mark()
    send("GET", "/dir")
    send("HEAD", "/nonce-plz")
    assert [(request.method, request.path) for request in proxy.requests()] == [("GET", "/dir"), ("HEAD", "/nonce-plz")]
    assert proxy.resources() == ["directory", "newNonce"]
    assert [request.resource for request in pebble.requests(mark)] == ["directory", "newNonce"]


def test_a_lost_answer_was_served_by_the_ca(send: Client, proxy: FaultProxy, pebble: Pebble) -> None:
    proxy.lose_answer("newNonce", nth=2)
    mark = pebble.mark()
    assert send("HEAD", "/nonce-plz")[0] == 200
    with pytest.raises(ConnectionError):
        send("HEAD", "/nonce-plz")
    assert send("HEAD", "/nonce-plz")[0] == 200
    assert len(pebble.requests(mark)) == 3
    proxy.check()


def test_only_good_answers_count_as_the_nth_to_be_lost(send: Client, proxy: FaultProxy) -> None:
    proxy.lose_answer("/(order|nonce)-plz")
    assert send("POST", "/order-plz")[0] >= 400
    with pytest.raises(ConnectionError):
        send("HEAD", "/nonce-plz")


def test_a_refused_request_never_reaches_the_ca(send: Client, proxy: FaultProxy, pebble: Pebble) -> None:
    proxy.refuse("newNonce")
    mark = pebble.mark()
    with pytest.raises(ConnectionError):
        send("HEAD", "/nonce-plz")
    assert pebble.requests(mark) == []
    assert proxy.resources() == ["newNonce"]


def test_an_answer_can_be_given_in_the_place_of_the_ca(send: Client, proxy: FaultProxy, pebble: Pebble) -> None:
    mark = pebble.mark()
    proxy.respond("directory", 503, headers={"Retry-After": "5"}, body=b"<html>", method="GET")
    status, headers, body = send("GET", "/dir")
    assert (status, headers["Retry-After"], body) == (503, "5", b"<html>")
    assert pebble.requests(mark) == []
    assert send("GET", "/dir")[0] == 200


def test_an_answer_can_be_rewritten(send: Client, proxy: FaultProxy) -> None:
    date = "Tue, 24 Nov 2026 10:00:00 GMT"
    proxy.rewrite("newNonce", lambda reply: reply.with_header("retry-after", date).with_header("Replay-Nonce", None))
    _status, headers, _body = send("HEAD", "/nonce-plz")
    assert headers["retry-after"] == date
    assert "Replay-Nonce" not in headers


def test_a_rule_that_never_fired_fails_the_check_with_what_was_seen(send: Client, proxy: FaultProxy) -> None:
    proxy.lose_answer("finalize")
    send("GET", "/dir")
    with pytest.raises(AssertionError, match=r"(?s)LoseAnswer.*finalize-order.*still to fire 1.*GET /dir"):
        proxy.check()


def test_the_end_of_a_with_block_checks(pebble: Pebble, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="still to fire"), FaultProxy(pebble, tmp_path) as proxy:
        proxy.refuse("newOrder")


def test_a_ca_reset_has_the_same_address_and_another_root(pebble: Pebble, send: Client) -> None:
    before = pebble.root_pem()
    pebble.restart()
    assert pebble.root_pem() != before
    assert send("GET", "/dir")[0] == 200
