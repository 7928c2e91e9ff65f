# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proxy passes ACME on unchanged but for what its rules say, and is strict about its rules."""

from __future__ import annotations

import json
from http.client import HTTPException
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy
from ansible_collections.zerotrust.pomerium.tests.lab.pebble import Pebble
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import ALWAYS
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_acme import with_header
from ansible_collections.zerotrust.pomerium.tests.unit.lab.plain_client import Client


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


def test_an_alternate_chain_is_told_from_the_certificate_itself(send: Client, proxy: FaultProxy) -> None:
    proxy.inject("alternate:500,times=2")
    paths = ["/certZ/abc", "/certZ/abc/alternate/1", "/certZ/abc/alternate/2"]
    assert [send("GET", path)[0] == 500 for path in paths] == [False, True, True]


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


def test_a_rule_for_always_must_fire_once_and_ends_when_it_is_lifted(send: Client, proxy: FaultProxy) -> None:
    rule = proxy.respond("directory", 503, times=ALWAYS)
    with pytest.raises(AssertionError, match="still to fire 1"):
        proxy.check()
    assert [send("GET", "/dir")[0] for _time in range(3)] == [503] * 3
    rule.lift()
    assert send("GET", "/dir")[0] == 200
    proxy.check()


def test_a_rule_that_is_lifted_before_it_fired_fails_the_check(send: Client, proxy: FaultProxy) -> None:
    proxy.respond("directory", 503, times=ALWAYS).lift()
    assert send("GET", "/dir")[0] == 200
    with pytest.raises(AssertionError, match="still to fire 1"):
        proxy.check()


def test_an_answer_that_a_change_is_not_about_does_not_count(send: Client, proxy: FaultProxy) -> None:
    proxy.rewrite("any", lambda reply: reply.with_header("X", "1") if reply.body else None)
    assert "X" not in send("HEAD", "/nonce-plz")[1]
    assert send("GET", "/dir")[1]["X"] == "1"


def test_several_changes_make_one_answer(send: Client, proxy: FaultProxy) -> None:
    proxy.rewrite("directory", with_header("A", "1"), with_header("B", "2"))
    _status, headers, _body = send("GET", "/dir")
    assert (headers["A"], headers["B"]) == ("1", "2")


def test_an_error_in_a_change_fails_the_check(send: Client, proxy: FaultProxy) -> None:
    proxy.inject("newNonce:token:abc")
    with pytest.raises((ConnectionError, HTTPException)):
        send("HEAD", "/nonce-plz")
    with pytest.raises(AssertionError, match="JSONDecodeError"):
        proxy.check()


def test_the_end_of_a_with_block_checks(pebble: Pebble, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="still to fire"), FaultProxy(pebble, tmp_path) as proxy:
        proxy.refuse("newOrder")


def test_a_ca_reset_has_the_same_address_and_another_root(pebble: Pebble, send: Client) -> None:
    before = pebble.root_pem()
    pebble.restart()
    assert pebble.root_pem() != before
    assert send("GET", "/dir")[0] == 200
