# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_order, the guide's first step: one order, its TXT records, and the same ones however often it is asked."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import (
    Controller,
    entries,
    made,
    resources,
    tree,
)
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import Reply

NAME = "_acme-challenge.corp.example.com."
IDN = "*.bücher.example.com"


def test_r29_phase_one_twice_prints_the_same_values(controller: Controller) -> None:
    account, first, by_state = controller.play_all([("acme_account", {}), ("acme_order", {}), ("acme_order", {})])
    by_uri = controller.run("acme_order", state_path=None, order_uri=first.ok["order_uri"])
    assert (first["changed"], first["reused"]) == (True, False)
    assert [r.ok["changed"] for r in (by_state, by_uri)] == [False, False]
    assert [r["reused"] for r in (by_state, by_uri)] == [True, True]
    for again in (by_state, by_uri):
        for key in ("order_uri", "account_uri", "status", "expires", "dns_records", "authorizations", "instructions"):
            assert again[key] == first[key], key
    assert first["account_uri"] == account["account_uri"]
    (record,) = first["dns_records"]
    assert record == {
        "name": NAME,
        "zone": "example.com",
        "record": "_acme-challenge.corp",
        "type": "TXT",
        "ttl": 300,
        "entries": entries(first),
        "identifiers": ["*.corp.example.com", "corp.example.com"],
        "challenge_names": [NAME],
    }
    assert len(record["entries"]) == 2 and first["action_required"]
    assert [f"{NAME}  300  IN  TXT  {entry}" for entry in record["entries"]] == first["instructions"][1:3]
    assert made(controller.lab)["orders"] == 1


def test_action_is_required_only_until_the_records_are_there(controller: Controller) -> None:
    first = controller.order()
    controller.paste(first)
    again = controller.run("acme_order").ok
    assert (again["action_required"], again["instructions"]) == (False, [])
    assert again["dns_records"] == first["dns_records"]


def test_r29_an_order_that_ends_too_soon_is_replaced_and_that_is_said(controller: Controller) -> None:
    """Pebble's authorizations live an hour, its orders a day: the earliest end counts."""
    _account, first, enough, too_soon = controller.run_all(
        [
            ("acme_account", {}),
            ("acme_order", {}),
            ("acme_order", {"reuse_min_remaining": 3000}),
            ("acme_order", {"reuse_min_remaining": 3660}),
        ]
    )
    assert entries(enough.ok) == entries(first.ok)
    assert too_soon.ok["changed"] and not too_soon["reused"]
    assert not set(entries(too_soon)) & set(entries(first))
    assert f"{first['order_uri']} is valid only until {first['expires']}" in too_soon.warnings


def test_r29_an_order_that_has_failed_is_replaced_and_that_is_said(controller: Controller) -> None:
    _account, first, failed, again = controller.run_all(
        [("acme_account", {}), ("acme_order", {}), ("acme_finalize", {"verify_dns": "none"}), ("acme_order", {})]
    )
    assert "corp.example.com: unauthorized" in failed.error
    assert {problem["identifier"]["value"] for problem in failed["problems"]} <= {
        "*.corp.example.com",
        "corp.example.com",
    }
    assert again.ok["changed"] and not set(entries(again)) & set(entries(first.ok))
    assert f"{first['order_uri']} has become invalid: " in again.warnings
    assert "unauthorized" in again.warnings


def test_r29_an_order_that_has_expired_is_replaced_and_that_is_said(start: t.Callable[..., Controller]) -> None:
    """RFC 8555 has an expired order become invalid, some CAs forget it. No nonce is refused, since the rules count."""
    behind_proxy = start(faults=True, pebble={"nonce_reject": 0})

    def expire(reply: Reply) -> Reply:
        return replace(reply, body=json.dumps({**json.loads(reply.body), "status": "invalid"}).encode())

    proxy = behind_proxy.lab.proxy
    assert proxy is not None
    proxy.rewrite("order", expire)
    proxy.respond("order", 404, body=b'{"type": "urn:ietf:params:acme:error:malformed", "detail": "gone"}', nth=2)
    _account, first, second, third = behind_proxy.run_all([("acme_account", {}), *[("acme_order", {})] * 3])
    assert len({*entries(first.ok), *entries(second.ok), *entries(third.ok)}) == 6
    assert f"{first['order_uri']} has become invalid" in second.warnings
    assert f"the CA does not know the order {second['order_uri']} any more" in third.warnings


def test_r29_r33_after_a_restart_of_the_ca_the_lost_account_is_named(controller: Controller) -> None:
    """Once the account is opened anew, so is the order."""
    first = controller.order()
    before = controller.state_path.read_bytes()
    controller.lab.pebble.restart()
    lost = controller.run("acme_order")
    assert "The CA knows no account for this account key" in lost.error and "acme_account" in lost.error
    assert f"the CA does not know its account {first['account_uri']} any more" in lost.warnings
    assert controller.state_path.read_bytes() == before
    opened, again, same = controller.run_all([("acme_account", {}), ("acme_order", {}), ("acme_order", {})])
    assert opened.ok["created"] and again.ok["changed"] and not same.ok["changed"]
    assert again["account_uri"] == opened["account_uri"]
    assert not set(entries(again)) & set(entries(first))


def test_other_names_or_another_profile_are_another_order(start: t.Callable[..., Controller]) -> None:
    profiles = {name: {"description": name, "validityPeriod": 86400} for name in ("long", "short")}
    controller = start(pebble={"profiles": profiles})
    _account, first, turned, other_names, other_profile = controller.run_all(
        [
            ("acme_account", {}),
            ("acme_order", {"profile": "long"}),
            ("acme_order", {"profile": "long", "identifiers": ["corp.example.com", "*.CORP.example.com."]}),
            ("acme_order", {"profile": "long", "identifiers": ["*.corp.example.com"]}),
            ("acme_order", {"profile": "short", "identifiers": ["*.corp.example.com"]}),
        ]
    )
    assert turned.ok["order_uri"] == first.ok["order_uri"]
    assert [r.ok["changed"] for r in (other_names, other_profile)] == [True, True]
    both = "*.corp.example.com, corp.example.com with the profile long"
    assert f"the order {first['order_uri']} was for {both}" in other_names.warnings
    assert (
        f"the order {other_names['order_uri']} was for *.corp.example.com with the profile long"
        in other_profile.warnings
    )


def test_a_finished_order_asks_for_nothing_and_renew_places_the_next(controller: Controller) -> None:
    first = controller.order()
    controller.paste(first)
    finished, idle, renewed, again = controller.run_all(
        [("acme_finalize", {}), ("acme_order", {}), ("acme_order", {"renew": True}), ("acme_order", {"renew": True})]
    )
    assert finished.ok["status"] == "valid"
    assert (idle.ok["changed"], idle["status"], idle["dns_records"], idle["action_required"]) == (
        False,
        "valid",
        [],
        False,
    )
    assert renewed.ok["changed"] and renewed["order_uri"] != first["order_uri"]
    assert not again.ok["changed"] and again["order_uri"] == renewed["order_uri"]


def test_r11_names_that_the_ca_knows_already_ask_for_no_record(start: t.Callable[..., Controller]) -> None:
    controller = start(pebble={"authz_reuse": 100})
    controller.paste(controller.order())
    first, renewed, finished = controller.run_all(
        [("acme_finalize", {}), ("acme_order", {"renew": True}), ("acme_finalize", {"verify_dns": "authoritative"})]
    )
    assert first.ok["phase"] == "issued" and renewed.ok["changed"]
    assert (renewed["dns_records"], renewed["instructions"], renewed["action_required"]) == ([], [], False)
    assert finished.ok["phase"] == "issued"
    assert made(controller.lab)["certificates"] == 2


def test_the_zone_is_the_given_one_or_unknown_where_dns_is_not_reachable(controller: Controller) -> None:
    """With the records nevertheless; a person knows the zone."""
    nowhere = f"127.0.0.1:{LEASES.lease()}"
    _account, given, unknown = controller.run_all(
        [
            ("acme_account", {}),
            ("acme_order", {"zone": "corp.example.com"}),
            ("acme_order", {"resolvers": [nowhere], "verify_dns": "none"}),
        ]
    )
    assert [(r["zone"], r["record"]) for r in given.ok["dns_records"]] == [("corp.example.com", "_acme-challenge")]
    assert [(r["zone"], r["record"]) for r in unknown.ok["dns_records"]] == [(None, None)]
    assert entries(unknown) == entries(given)
    assert "_acme-challenge.corp.example.com is not known: no answer" in unknown.warnings
    assert nowhere in unknown.warnings


def test_a_lost_answer_to_new_order_places_no_second_order(behind_proxy: Controller) -> None:
    """R2. Pebble lists an account's orders, so the lost one is found there."""
    lab = behind_proxy.lab
    assert lab.proxy is not None
    lab.proxy.lose_answer("newOrder")
    _account, first, again = behind_proxy.run_all([("acme_account", {}), ("acme_order", {}), ("acme_order", {})])
    assert first.ok["changed"] and entries(again.ok) == entries(first)
    assert made(lab)["orders"] == 1


def test_r7_a_rate_limit_fails_at_once_is_remembered_and_said(behind_proxy: Controller) -> None:
    proxy = behind_proxy.lab.proxy
    assert proxy is not None
    body = b'{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many new orders"}'
    proxy.respond(
        "newOrder", 429, headers={"Retry-After": "3600", "Content-Type": "application/problem+json"}, body=body
    )
    _account, limited = behind_proxy.run_all([("acme_account", {}), ("acme_order", {})])
    mark = proxy.mark()
    later = behind_proxy.run("acme_order")
    assert "rateLimited, 'too many new orders' (not before " in limited.error
    assert limited["retry_after"] in later.error and "too many new orders" in later.error
    assert proxy.requests(mark) == []
    assert proxy.resources().count("newOrder") == 1
    assert json.loads(behind_proxy.state_path.read_text())["limited_until"] == limited["retry_after"]


def test_r43_check_mode_places_no_order_and_writes_nothing(controller: Controller) -> None:
    lab = controller.lab
    _account, would = controller.run_all([("acme_account", {}), ("acme_order", {"check": True})])
    assert would.ok["changed"]
    assert (would["order_uri"], would["dns_records"], would["action_required"]) == (None, [], False)
    assert not controller.state_path.exists() and made(lab)["orders"] == 0

    first = controller.run("acme_order").ok
    before = tree(controller.home)
    same, new = controller.play_all([("acme_order", {}), ("acme_order", {"reuse_min_remaining": 7200})], "--check")
    assert not same.ok["changed"] and entries(same) == entries(first)
    assert new.ok["changed"] and new["dns_records"] == []
    assert tree(controller.home) == before
    assert made(lab)["orders"] == 1


def test_r1_four_of_ten_nonces_refused_do_not_show(start: t.Callable[..., Controller]) -> None:
    controller = start(pebble={"nonce_reject": 40})
    controller.paste(controller.order())
    done = controller.run("acme_finalize").ok
    assert done["phase"] == "issued"
    served = resources(controller.lab)
    assert len(served) > 14, "so many are needed where no nonce is refused"
    assert made(controller.lab) == {"accounts": 1, "orders": 1, "certificates": 1}


def test_an_internationalised_name_is_sent_as_a_label_and_shown_as_both(controller: Controller) -> None:
    order = controller.order(identifiers=[IDN])
    assert order["authorizations"][0]["identifier"] == "*.xn--bcher-kva.example.com"
    assert order["dns_records"][0]["name"] == "_acme-challenge.xn--bcher-kva.example.com."
    shown = "\n".join(order["instructions"])
    assert IDN in shown and "*.xn--bcher-kva.example.com" in shown
    controller.paste(order)
    assert controller.run("acme_finalize").ok["names"] == ["*.xn--bcher-kva.example.com"]
