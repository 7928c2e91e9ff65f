# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_certificate at a CA that misbehaves as CAs were seen to: what it survives, where it stops, what it says then."""

from __future__ import annotations

import datetime as dt
import json
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import Keeper
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import QUICK, is_pair
from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy
from ansible_collections.zerotrust.pomerium.tests.lab.lab import IDENTIFIERS, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import ALWAYS, resource_of
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_acme import (
    PAUSED_URL,
    editing,
    retry_after,
    shown_as,
)

ONE_OF_EACH = {"accounts": 1, "orders": 1, "certificates": 1}
NOTHING_SIGNED = {"accounts": 1, "orders": 1, "certificates": 0}
UTC = dt.timezone.utc


def assert_issued(keeper: Keeper, result: t.Mapping[str, t.Any]) -> None:
    """A certificate is in use, the only one that the CA made, with its key."""
    assert (result["phase"], sorted(result["names"])) == ("issued", sorted(keeper.names))
    (fullchain,) = keeper.certificates()
    assert is_pair(fullchain, keeper.lineage / "current/privkey.pem")
    assert keeper.made()["certificates"] == 1


HARMLESS = {
    "R2: newOrder is answered with 500 although it was done": ["newOrder:lost:500"],
    "R2: newOrder is answered without Location": ["newOrder:header:Location"],
    "R3: finalize fails with 500 and was not done": ["finalize:500"],
    "R3: finalize is answered by a gateway and was done": ["finalize:lost:502"],
    "R3: finalize is reset before the CA sees it": ["finalize:refused"],
    "R9: a CA that is busy for a moment": ["newOrder:503:1", "finalize:503:date+1", "certificate:503"],
    "R42: no Retry-After": ["order:retry-after:,times=always"],
    "R42: no up link, and no other": ["challenge:header:Link,times=2", "certificate:header:Link"],
    "R42: empty errors": [
        "newOrder:empty-error",
        "order:empty-error,times=always",
        "authorization:empty-error,times=4",
    ],
    "no nonce in the answers": [
        "newAccount:header:Replay-Nonce",
        "newOrder:header:Replay-Nonce",
        "finalize:header:Replay-Nonce",
    ],
    "an order pending although all names are valid": ["order:status:ready=pending"],
    "finalize too early": ["finalize:problem:orderNotReady"],
    "wrong content types": [
        "directory:header:Content-Type=text/html",
        "newOrder:header:Content-Type",
        "order:header:Content-Type=text/html,times=always",
        "certificate:header:Content-Type=text/plain",
    ],
    "answers that break off": ["newOrder:broken", "order:broken", "finalize:broken", "certificate:broken"],
    "answers that stall": ["order:stall", "finalize:lost:silence", "certificate:stall"],
    "answers that drip": ["directory:drip:0.001", "newOrder:drip:0.001", "certificate:drip:0.001"],
    "connections that are reset": ["connection:tls:reset", "newNonce:refused", "certificate:refused"],
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_is_survived_costs_no_second_order(keeper: Keeper, what: str) -> None:
    for text in HARMLESS[what]:
        keeper.proxy.inject(text)
    ordered = keeper.order(request_timeout=1)
    issued = keeper.run(request_timeout=1)
    assert_issued(keeper, issued)
    assert issued["order_uri"] == ordered["order_uri"]
    assert keeper.made() == ONE_OF_EACH


def test_unknown_things_beside_the_known_do_no_harm(keeper: Keeper) -> None:
    """R42: challenges of unknown types, without an address; a directory without meta and with more than we know."""
    pigeon = {"type": "carrier-pigeon-01", "wingspan": 3}
    add = editing(lambda document: {**document, "challenges": [pigeon, *document["challenges"]]})
    keeper.proxy.rewrite("authorization", add, times=ALWAYS)
    keeper.proxy.rewrite(
        "directory",
        editing(lambda document: {**{name: document[name] for name in document if name != "meta"}, "newPigeon": [1]}),
        times=ALWAYS,
    )
    keeper.order()
    assert_issued(keeper, keeper.run())
    assert keeper.made() == ONE_OF_EACH


def test_an_order_that_is_ready_at_once_and_has_no_authorization_needs_no_record(tmp_path: Path) -> None:
    """Prevalidated names, as at InCommon or DigiCert."""
    with Lab(hosts=(), pebble={**QUICK, "nonce_reject": 0, "authz_reuse": 100}) as lab:
        assert lab.pebble
        with FaultProxy(lab.pebble, tmp_path / "proxy") as proxy:
            keeper = Keeper(lab, proxy, tmp_path, *IDENTIFIERS)
            keeper.order()
            keeper.run()
            proxy.inject("newOrder:no-authorizations")
            proxy.inject("order:no-authorizations,times=always")
            mark = proxy.mark()
            again = keeper.run(key_type="ec-384")
            assert (again["phase"], again["dns_records"], again["renewed"]) == ("issued", [], True)
            assert not {"authorization", "challenge"} & set(proxy.resources(mark))
            assert keeper.made() == {"accounts": 1, "orders": 2, "certificates": 2}


def test_r4_processing_beyond_the_deadline_is_finished_by_the_next_run(keeper: Keeper) -> None:
    ordered = keeper.order()
    staged = (keeper.lineage / "pending/privkey.pem").read_bytes()
    rule = keeper.proxy.inject("order:status:valid=processing,times=always")
    pending = keeper.run(issuance_timeout=1)
    assert (pending["phase"], pending["status"], pending["error"]) == ("issuing", "processing", None)
    assert f"{ordered['order_uri']} is not finished: the CA is still issuing" in "".join(keeper.warnings)
    assert keeper.certificates() == []
    rule.lift()
    assert_issued(keeper, keeper.run())
    assert (keeper.lineage / "current/privkey.pem").read_bytes() == staged
    assert keeper.made() == ONE_OF_EACH and keeper.proxy.resources().count("finalize") == 1


@pytest.mark.parametrize(
    ("real", "shown", "phase"), [("ready", "pending", "validating"), ("valid", "processing", "issuing")]
)
def test_r5_a_ca_that_says_to_come_again_tomorrow_is_left_within_the_time_set(
    keeper: Keeper, real: str, shown: str, phase: str
) -> None:
    keeper.order()
    rule = keeper.proxy.rewrite("order", shown_as(shown, instead_of=real), retry_after("86400"), times=ALWAYS)
    started = time.monotonic()
    assert keeper.run(validation_timeout=2, issuance_timeout=2)["phase"] == phase
    assert time.monotonic() - started < 10
    assert rule.fired <= 3
    rule.lift()
    assert_issued(keeper, keeper.run())
    assert keeper.made() == ONE_OF_EACH


@pytest.fixture(params=["America/New_York", "Europe/Berlin"])
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[str]:
    """Live in a zone whose clocks are hours away from UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        assert time.localtime().tm_hour != time.gmtime().tm_hour
        yield request.param
    time.tzset()


def test_r6_a_date_to_come_again_is_the_same_moment_in_every_time_zone(keeper: Keeper, time_zone: str) -> None:
    keeper.order()
    mark = keeper.proxy.mark()
    keeper.proxy.rewrite("order", shown_as("pending", instead_of="ready"), retry_after("date+3"))
    assert_issued(keeper, keeper.run(validation_timeout=60))
    asked = keeper.proxy.requests(mark)
    polls = [request for request in asked if resource_of(request.path) == "order"]
    pauses = [later.moment - earlier.moment for earlier, later in zip(polls, polls[1:])]
    assert len([pause for pause in pauses if 2 <= pause <= 10]) == 1, f"{pauses} in {time_zone}"
    assert len(polls) <= 7


def test_r7_a_limit_until_a_date_is_said_and_kept_to_in_every_time_zone(keeper: Keeper, time_zone: str) -> None:
    keeper.proxy.inject("newOrder:429:date+3600")
    until = dt.datetime.now(UTC) + dt.timedelta(seconds=3600)
    limited = keeper.fail()
    state = json.loads((keeper.lineage / "state.json").read_text())["limited_until"]
    said = dt.datetime.fromisoformat(state.replace("Z", "+00:00"))
    assert abs(said - until) < dt.timedelta(seconds=60)
    assert f"(not before {state})" in limited and "too many certificates already issued" in limited
    mark = keeper.proxy.mark()
    assert state in keeper.fail() and keeper.proxy.requests(mark) == []
    assert keeper.proxy.resources().count("newOrder") == 1


def test_r8_a_paused_account_is_shown_where_to_lift_it_and_nothing_is_tried_again(keeper: Keeper) -> None:
    keeper.proxy.inject("newOrder:paused")
    message = keeper.fail()
    assert PAUSED_URL in message and "open the address that it names" in message
    assert keeper.proxy.resources().count("newOrder") == 1
    keeper.order()
    assert keeper.made() == {"accounts": 1, "orders": 1, "certificates": 0}


@pytest.mark.parametrize("fault", ["503:3600", "503:date+3600"])
@pytest.mark.parametrize("resource", ["newOrder", "finalize"])
def test_r9_a_ca_that_is_busy_for_an_hour_is_asked_once_and_the_next_run_goes_on(
    keeper: Keeper, resource: str, fault: str
) -> None:
    if resource == "finalize":
        keeper.order()
    keeper.proxy.inject(f"{resource}:{fault}")
    started = time.monotonic()
    assert "the CA is busy" in keeper.fail()
    assert time.monotonic() - started < 8
    assert keeper.proxy.resources().count(resource) == 1
    if resource == "newOrder":
        keeper.order()
    assert_issued(keeper, keeper.run())
    assert keeper.made() == ONE_OF_EACH


@pytest.mark.parametrize("resource", ["newOrder", "finalize"])
def test_r9_a_ca_that_fails_and_says_to_come_in_an_hour_is_asked_to_do_it_once(keeper: Keeper, resource: str) -> None:
    """It may have been done: that is looked up, and then left to a later run."""
    if resource == "finalize":
        keeper.order()
    keeper.proxy.inject(f"{resource}:500:3600")
    assert "The CA failed while asked to " in keeper.fail()
    assert keeper.proxy.resources().count(resource) == 1
    if resource == "newOrder":
        keeper.order()
    assert_issued(keeper, keeper.run())
    assert keeper.made() == ONE_OF_EACH


def test_a_ca_that_fails_at_each_request_for_a_certificate_is_not_stormed(keeper: Keeper) -> None:
    keeper.order()
    rule = keeper.proxy.inject("finalize:500,times=always")
    waiting = keeper.run(issuance_timeout=20)
    assert waiting["phase"] == "issuing" and "is not finished" in "".join(keeper.warnings)
    assert 1 < rule.fired <= 5
    rule.lift()
    assert_issued(keeper, keeper.run())


def test_an_answer_that_drips_for_ever_is_given_up_when_the_time_of_one_request_is_over(keeper: Keeper) -> None:
    """Each byte comes within the time-out, the whole would take the best part of an hour."""
    keeper.order()
    keeper.proxy.inject("order:drip:0.9")
    keeper.proxy.inject("finalize:drip:0.9")
    assert_issued(keeper, keeper.run(request_timeout=2))
    assert keeper.made() == ONE_OF_EACH


def test_r35_a_ca_that_strips_the_star_gets_no_answer_and_no_certificate_comes_of_it(keeper: Keeper) -> None:
    keeper.proxy.inject("newOrder:starless")
    refused = keeper.fail()
    wildcard, plain = keeper.names
    assert "The CA made an order for other names than asked" in refused
    assert f"asked were {wildcard}, {plain}; it has {plain}, {plain}" in refused
    keeper.proxy.inject("order:starless")
    mark = keeper.proxy.mark()
    ordered = keeper.order()
    assert "the CA made the order" in "".join(keeper.warnings) and ordered["changed"]
    assert not {"challenge", "finalize"} & set(keeper.proxy.resources(mark))
    assert_issued(keeper, keeper.run())
    assert keeper.made() == {"accounts": 1, "orders": 2, "certificates": 1}


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("authorization:status:expired", "is not usable any more"),
        ("authorization:status:forgotten", "is not usable any more"),
        ("order:status:expired", "has become expired"),
        ("order:status:forgotten", "has become forgotten"),
        ("order:problem:malformed/404", "does not know the order"),
    ],
)
def test_r42_an_order_of_no_use_any_more_is_replaced_and_that_is_said(keeper: Keeper, fault: str, why: str) -> None:
    first = keeper.order()
    keeper.proxy.inject(fault)
    second = keeper.order()
    assert why in "".join(keeper.warnings)
    assert second["order_uri"] != first["order_uri"]
    assert_issued(keeper, keeper.run())


def test_r48_where_only_unknown_challenges_are_offered_they_are_listed_and_the_order_is_kept(keeper: Keeper) -> None:
    keeper.proxy.inject("authorization:challenges:http-02+carrier-pigeon-01,times=2")
    message = keeper.fail()
    assert "The CA offers no dns-01 challenge for " in message
    assert "offered are: carrier-pigeon-01, http-02" in message
    assert [name for name in keeper.names if f"for {name}:" in message]
    keeper.order()
    assert_issued(keeper, keeper.run())
    assert keeper.made() == ONE_OF_EACH


def test_a_token_that_is_none_is_refused_before_it_gets_into_a_zone(keeper: Keeper) -> None:
    keeper.proxy.inject("authorization:token:a/../b,times=2")
    assert "The CA sent a malformed challenge token" in keeper.fail()
    assert keeper.made() == NOTHING_SIGNED


def test_an_order_that_fails_while_it_is_issued_is_given_up_and_the_next_run_orders_anew(keeper: Keeper) -> None:
    first = keeper.order()
    keeper.proxy.inject("order:status:valid=processing")
    keeper.proxy.inject("order:status:valid=invalid")
    message = keeper.fail()
    assert "The order has failed and cannot be used any more" in message and "places a new order" in message
    assert keeper.certificates() == []
    second = keeper.order()
    assert second["order_uri"] != first["order_uri"]
    issued = keeper.run()
    assert issued["renewed"] and len(keeper.certificates()) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("newOrder:409", "The CA refused to take the order: about:blank, 'HTTP 409'"),
        ("newAccount:problem:externalAccountRequired", "Give external_account_binding (kid and key)"),
    ],
)
def test_a_refusal_without_a_word_or_without_notice_is_told_and_the_next_run_goes_on(
    keeper: Keeper, fault: str, message: str
) -> None:
    """A conflict with an empty body; external account binding that the directory does not announce."""
    keeper.proxy.inject(fault)
    assert message in keeper.fail()
    keeper.order()
    assert keeper.made() == NOTHING_SIGNED


def test_one_token_for_both_names_is_one_value_at_one_name(keeper: Keeper) -> None:
    keeper.proxy.inject("authorization:token:c2FtZQ,times=2")
    ordered = keeper.run()
    (record,) = ordered["dns_records"]
    assert len(record["entries"]) == 1 and record["identifiers"] == list(keeper.names)
    assert len([line for line in ordered["instructions"] if "  IN  TXT  " in line]) == 1


@pytest.mark.parametrize(
    ("how", "why", "remedy"),
    [
        ("untrusted", "certificate", "root certificate in ca_path"),
        ("expired", "certificate has expired", "Check the clock"),
        ("misnamed", "IP address mismatch", "Use the name in acme_directory"),
    ],
)
def test_r44_a_server_that_is_not_to_be_trusted_is_told_and_sent_nothing(
    keeper: Keeper, how: str, why: str, remedy: str
) -> None:
    keeper.proxy.inject(f"connection:tls:{how}")
    message = keeper.fail()
    assert f"The TLS certificate of the CA's server is not trusted for {keeper.proxy.directory_url}: " in message
    assert why in message and remedy in message
    assert keeper.proxy.requests() == []
