# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guide's two steps, acme_order and acme_finalize, at a CA that misbehaves: no order is lost, none doubled."""

from __future__ import annotations

import typing as t

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, is_pair, made
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_acme import PAUSED_URL, retry_after, shown_as


def test_r8_r48_acme_order_shows_what_the_ca_says_and_goes_on_with_its_order(
    start: t.Callable[..., Controller],
) -> None:
    controller = start(
        faults=["newOrder:paused", "authorization:challenges:http-02+carrier-pigeon-01,times=2"],
        pebble={"nonce_reject": 0},
    )
    account, paused, unknown, order = controller.run_all([("acme_account", {}), *[("acme_order", {})] * 3])
    assert account.ok and PAUSED_URL in paused.error
    assert "The CA offers no dns-01 challenge for " in unknown.error
    assert "offered are: carrier-pigeon-01, http-02" in unknown.error
    assert order.ok["reused"] and len(order["instructions"]) > 2
    assert made(controller.lab)["orders"] == 1


def test_r5_r7_r9_acme_finalize_defers_to_the_ca_and_its_order_is_finished_later(
    start: t.Callable[..., Controller],
) -> None:
    controller = start(faults=True, pebble={"nonce_reject": 0})
    proxy = controller.lab.proxy
    assert proxy is not None
    controller.paste(controller.order())
    proxy.rewrite("order", shown_as("pending", instead_of="ready"), retry_after("86400"))
    proxy.inject("finalize:503:3600")
    proxy.inject("finalize:429:date+3600")
    once = {"validation_timeout": 0, "on_pending": "return"}
    tomorrow, busy, limited, kept_to, ordering = controller.run_all(
        [("acme_finalize", once), *[("acme_finalize", {})] * 3, ("acme_order", {})]
    )
    assert (tomorrow.ok["phase"], tomorrow["pending"]) == ("validating", True)
    assert "the CA is busy" in busy.error and "(not before " in busy.error
    assert "too many certificates already issued" in limited.error
    for later in (kept_to, ordering):
        assert f"The CA limits requests until {limited['retry_after']}" in later.error
    assert proxy.resources().count("finalize") == 2 and proxy.resources()[-1] == "finalize"
    assert not controller.fullchain_path.exists()

    state = controller.state_path.read_text().replace(limited["retry_after"], "2020-01-01T00:00:00Z")
    controller.state_path.write_text(state)
    assert controller.run("acme_finalize").ok["phase"] == "issued"
    assert is_pair(controller.fullchain_path, controller.key_path)
    assert made(controller.lab) == {"accounts": 1, "orders": 1, "certificates": 1}
