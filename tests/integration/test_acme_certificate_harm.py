# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_certificate when something goes wrong: lost answers, limits, a CA that is down or new, and sudden death."""

from __future__ import annotations

import json
import random
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import (
    Controller,
    entries,
    is_pair,
    made,
    tree,
)
from ansible_collections.zerotrust.pomerium.tests.integration.kill_rules import KillAfter, KillBefore, die
from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import WarmModules
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import Reply, path_of
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

ONE_OF_EACH = {"accounts": 1, "orders": 1, "certificates": 1}
RETURN = {"on_error": "return"}


def is_current_a_pair(controller: Controller) -> bool:
    current = controller.lineage / "current"
    return is_pair(current / "fullchain.pem", current / "privkey.pem")


@pytest.mark.parametrize("resource", ["newAccount", "newOrder", "challenge", "finalize", "certificate"])
def test_a_lost_answer_costs_no_second_order(behind_proxy: Controller, resource: str) -> None:
    """R2, R3. By the end of the second run it is issued, with the key that was staged before the CA signed."""
    lab = behind_proxy.lab
    assert lab.proxy is not None
    lab.proxy.lose_answer(resource)
    first = behind_proxy.run("acme_certificate").ok
    staged = (behind_proxy.lineage / "pending/privkey.pem").read_bytes()
    behind_proxy.paste(first)
    second = behind_proxy.run("acme_certificate").ok
    assert second["phase"] == "issued" and second["order_uri"] == first["order_uri"]
    assert (behind_proxy.lineage / "current/privkey.pem").read_bytes() == staged
    assert is_current_a_pair(behind_proxy)
    assert made(lab) == ONE_OF_EACH


def test_r3_a_certificate_that_could_not_be_fetched_is_not_lost_by_another_key_type(behind_proxy: Controller) -> None:
    """Its key is the only one that fits; what is wanted now is ordered after it."""
    lab = behind_proxy.lab
    assert lab.proxy is not None
    behind_proxy.paste(behind_proxy.run("acme_certificate").ok)
    lab.proxy.respond("certificate", 403, body=b'{"type": "about:blank", "detail": "not now"}')
    failed, would, fetched, due = behind_proxy.run_all(
        [
            ("acme_certificate", {}),
            ("acme_certificate", {"key_type": "ec-384", "check": True}),
            ("acme_certificate", {"key_type": "ec-384"}),
            ("acme_certificate", {"key_type": "ec-384"}),
        ]
    )
    assert "not now" in failed.error
    assert (would.ok["changed"], would["renewed"], would["names"]) == (True, False, [])
    assert fetched.ok["renewed"] and is_current_a_pair(behind_proxy)
    assert (due.ok["reasons"], due["phase"]) == (["key_type"], "waiting_for_dns")
    assert made(lab) == {"accounts": 1, "orders": 2, "certificates": 1}


def test_r7_a_rate_limit_fails_at_once_and_no_run_before_its_time_asks_again(behind_proxy: Controller) -> None:
    proxy = behind_proxy.lab.proxy
    assert proxy is not None
    assert behind_proxy.run("acme_account").ok["created"]
    body = b'{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates"}'
    headers = {"Retry-After": "86400", "Content-Type": "application/problem+json"}
    proxy.respond("newOrder", 429, headers=headers, body=body)
    limited = behind_proxy.run("acme_certificate", **RETURN).ok
    mark = proxy.mark()
    later, failing = behind_proxy.run_all([("acme_certificate", RETURN), ("acme_certificate", {})])
    for error in (limited["error"], later.ok["error"], failing.error):
        assert "too many certificates" in error
    assert (limited["done"], limited["changed"], limited["phase"]) == (True, False, "idle")
    until = json.loads((behind_proxy.lineage / "state.json").read_text())["limited_until"]
    assert until in limited["error"] and until in later["error"]
    assert proxy.requests(mark) == []
    assert proxy.resources().count("newOrder") == 1


def test_with_the_ca_down_an_error_is_returned_beside_the_certificate_in_use(controller: Controller) -> None:
    lab = controller.lab
    controller.paste(controller.run("acme_certificate").ok)
    issued = controller.run("acme_certificate").ok
    lab.pebble.stop()
    before = tree(controller.home)
    names = {"identifiers": ["*.corp.example.com"]}
    returned = controller.play("acme_certificate", **RETURN, **names).ok
    assert "The CA cannot be reached to give its directory" in returned["error"]
    assert lab.directory_url in returned["error"]
    assert (returned["done"], returned["changed"], returned["reasons"]) == (True, False, ["names"])
    assert returned["fullchain"] == issued["fullchain"] and returned["paths"] == issued["paths"]
    assert tree(controller.home) == before
    assert returned.run.seconds < 30, "a CA that refuses connections is not waited for"


def test_in_check_mode_too_an_error_is_returned_so_that_the_rest_of_a_play_can_be_seen(controller: Controller) -> None:
    controller.run("acme_certificate").ok["order_uri"]
    controller.lab.pebble.stop()
    would = controller.run("acme_certificate", check=True, **RETURN).ok
    assert "The CA cannot be reached" in would["error"] and not would["changed"]


def test_r22_two_runs_at_once_make_one_order_and_one_certificate(controller: Controller) -> None:
    def both() -> list[t.Any]:
        with ThreadPoolExecutor() as pool:
            runs = [pool.submit(controller.run, "acme_certificate") for _number in range(2)]
            return [run.result().ok for run in runs]

    first = both()
    assert entries(first[0]) == entries(first[1])
    assert sorted(done["changed"] for done in first) == [False, True]
    controller.paste(first[0])
    second = both()
    assert sorted(done["renewed"] for done in second) == [False, True]
    assert second[0]["serial"] == second[1]["serial"]
    assert made(controller.lab) == ONE_OF_EACH


def test_an_order_that_failed_is_forgotten_and_the_next_run_orders_anew(controller: Controller) -> None:
    first, failed, again = controller.run_all(
        [
            ("acme_certificate", {}),
            ("acme_certificate", {"verify_dns": "none", **RETURN}),
            ("acme_certificate", {}),
        ]
    )
    assert "The order has failed" in failed.ok["error"] and "unauthorized" in failed["error"]
    assert {problem["identifier"]["value"] for problem in failed["problems"]} <= {
        "*.corp.example.com",
        "corp.example.com",
    }
    assert failed["problems"] and failed["done"]
    assert again.ok["changed"] and not set(entries(again)) & set(entries(first.ok))


def test_a_certificate_that_ran_out_before_it_was_fetched_is_ordered_anew(start: t.Callable[..., Controller]) -> None:
    """A laptop that was closed in between: the order stays valid, and no run could ever store what it gives."""
    short = {"default": {"description": "gone at once", "validityPeriod": 2}}
    controller = start(faults=["certificate:problem:unauthorized"], pebble={"profiles": short})
    controller.paste(controller.run("acme_certificate").ok)
    assert "refused to give the certificate" in controller.run("acme_certificate").error
    issued = time.monotonic()
    until(lambda: time.monotonic() > issued + 3, what="the certificate to run out")
    late, again = controller.run_all([("acme_certificate", {})] * 2)
    assert "The certificate expired at" in late.error and "It ran out before it was fetched: order anew" in late.error
    assert again.ok["changed"] and not again["reused"]


def test_r29_an_order_that_is_of_no_use_is_replaced_or_said_where_none_may_be(behind_proxy: Controller) -> None:
    def end_soon(reply: Reply) -> Reply:
        document = {**json.loads(reply.body), "expires": "2020-01-01T00:00:00Z"}
        return replace(reply, body=json.dumps(document).encode())

    proxy = behind_proxy.lab.proxy
    assert proxy is not None
    first = behind_proxy.run("acme_certificate").ok
    proxy.rewrite("authorization", end_soon, times=4)
    never, again = behind_proxy.run_all([("acme_certificate", {"order": "never"}), ("acme_certificate", {})])
    assert "The pending order cannot be finished" in never.error
    assert "is valid only until 2020-01-01T00:00:00Z" in never.error
    assert again.ok["changed"] and not set(entries(again)) & set(entries(first))
    assert "is valid only until 2020-01-01T00:00:00Z. A new one is placed" in again.warnings


def test_r33_after_a_restart_of_the_ca_one_account_and_one_order_are_made_anew(controller: Controller) -> None:
    """While an order is pending, and while none is."""
    controller.paste(controller.run("acme_certificate").ok)
    old = controller.run("acme_certificate").ok
    controller.lab.pebble.restart()
    names = {"identifiers": ["*.corp.example.com"]}
    unagreed, first, again = controller.run_all(
        [("acme_certificate", {**names, "terms_agreed": False}), *[("acme_certificate", names)] * 2]
    )
    assert "terms_agreed" in unagreed.error
    assert f"The CA does not know the account {old['account_uri']} any more" in first.warnings
    assert first.ok["changed"] and first["account_uri"] != old["account_uri"]
    assert not again.ok["changed"] and again["account_uri"] == first["account_uri"]

    controller.lab.pebble.restart()
    after = controller.run("acme_certificate", **names).ok
    assert f"the CA does not know its account {first['account_uri']} any more" in after.warnings
    assert not set(entries(after)) & set(entries(first))
    controller.paste(after)
    assert controller.run("acme_certificate", **names).ok["names"] == names["identifiers"]
    assert made(controller.lab) == {"accounts": 3, "orders": 3, "certificates": 2}


def test_killed_once_at_every_step_it_ends_with_one_certificate(
    behind_proxy: Controller, warm_modules: WarmModules
) -> None:
    lab = behind_proxy.lab
    die(behind_proxy, KillAfter(warm_modules, path_of("newAccount")))
    die(behind_proxy, KillAfter(warm_modules, path_of("authorization")))
    first = behind_proxy.run("acme_certificate").ok
    assert first["reused"] and made(lab) == {"accounts": 1, "orders": 1, "certificates": 0}
    behind_proxy.paste(first)
    die(behind_proxy, KillAfter(warm_modules, path_of("challenge")))
    die(behind_proxy, KillBefore(warm_modules, path_of("finalize")))
    die(behind_proxy, KillAfter(warm_modules, path_of("finalize")))
    die(behind_proxy, KillAfter(warm_modules, path_of("certificate")))
    done, idle = behind_proxy.run_all([("acme_certificate", {})] * 2)
    assert done.ok["renewed"] and is_current_a_pair(behind_proxy)
    assert idle.ok["phase"] == "idle"
    assert made(lab) == ONE_OF_EACH


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_killed_at_random_moments_it_ends_with_one_certificate(
    start: t.Callable[..., Controller], warm_modules: WarmModules, seed: int
) -> None:
    """Between order and store: two sudden deaths, each before or after one of the requests of a run."""
    controller = start(faults=True, pebble={"nonce_reject": 0})
    chance = random.Random(seed)
    controller.paste(controller.run("acme_certificate").ok)
    for longest in (11, 4):  # requests of a run that does all the rest; of one that has only to fetch the certificate
        kind = chance.choice([KillBefore, KillAfter])
        die(controller, kind(warm_modules, "/", nth=chance.randint(1, longest)))
    assert controller.run("acme_certificate").ok["renewed"] and is_current_a_pair(controller)
    assert made(controller.lab) == ONE_OF_EACH
