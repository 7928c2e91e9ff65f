# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What changes between the runs of one order: the account, its key and binding, the list of orders, authorizations."""

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.step_account import converge_account
from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import Keeper
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import QUICK, Controller
from ansible_collections.zerotrust.pomerium.tests.integration.modules_in_process import close_connections
from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy
from ansible_collections.zerotrust.pomerium.tests.lab.lab import IDENTIFIERS, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import ALWAYS, resource_of
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_acme import editing

MAC = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG4"


def test_r2_where_a_ca_keeps_no_list_a_lost_answer_costs_one_further_order_at_most(keeper: Keeper) -> None:
    """Let's Encrypt keeps none, and gives the same order again; Pebble makes another one."""
    without = editing(lambda document: {name: value for name, value in document.items() if name != "orders"})
    keeper.proxy.rewrite("account", without, times=ALWAYS)
    keeper.proxy.inject("newOrder:lost")
    keeper.order()
    assert keeper.run()["phase"] == "issued"
    assert keeper.made() == {"accounts": 1, "orders": 2, "certificates": 1}


def change_key(keeper: Keeper, old: Path, new: Path) -> None:
    """Do what acme_account does with `state: changed_key`."""
    access = {"acme_directory": keeper.proxy.directory_url, "ca_path": str(keeper.proxy.ca_path)}
    change = {"state": "changed_key", "new_account_key_type": "ec-384", "new_account_key_path": str(new)}
    how = {"account_key_path": str(old), "validate_certs": True, "request_timeout": 10}
    assert converge_account({**access, **change, **how}, check=False, warn=print)["changed"]
    close_connections()


def entries(result: t.Mapping[str, t.Any], key: str = "dns_records") -> set[str]:
    return {entry for record in result[key] for entry in record["entries"]}


def test_r32_with_the_accounts_key_changed_the_same_order_asks_for_other_records(
    keeper: Keeper, tmp_path: Path
) -> None:
    """The old ones do not count as published, no challenge is burnt, and all are to be removed in the end."""
    old, new = tmp_path / "account.pem", tmp_path / "new.pem"
    ordered = keeper.order()
    change_key(keeper, old, new)
    again = keeper.run(account_key_path=str(new))
    assert (again["phase"], again["order_uri"]) == ("waiting_for_dns", ordered["order_uri"])
    assert len(entries(again)) == 2 and not entries(again) & entries(ordered)
    assert {missing["entry"] for missing in again["missing_records"]} == entries(again)
    assert "challenge" not in keeper.proxy.resources()
    assert "The CA refused to show the order" in keeper.fail()  # with the key that is the account's no more
    keeper.publish(again)
    issued = keeper.run(account_key_path=str(new))
    assert issued["phase"] == "issued"
    assert entries(issued, "records_to_remove") == entries(ordered) | entries(again)
    assert keeper.made() == {"accounts": 1, "orders": 1, "certificates": 1}


def test_r34_a_binding_is_asked_for_before_anything_and_never_spent_on_an_account_that_exists(tmp_path: Path) -> None:
    """Some CAs take a binding once only: a schedule gives it at every run."""
    pebble = {**QUICK, "nonce_reject": 0, "eab_keys": {"kid-1": MAC}, "eab_required": True}
    with Lab(hosts=(), pebble=pebble) as lab, FaultProxy(lab.pebble, tmp_path / "proxy") as proxy:
        keeper = Keeper(lab, proxy, tmp_path, *IDENTIFIERS)
        assert "opens an account only with external account binding" in keeper.fail()
        assert not {"newAccount", "newOrder"} & set(proxy.resources()) and not (tmp_path / "account.pem").exists()

        wrong = {"kid": "kid-1", "key": "A" + MAC[1:]}
        elsewhere = {"account_key_path": str(tmp_path / "other.pem")}
        refused = keeper.fail(external_account_binding=wrong, **elsewhere)
        assert "unauthorized" in refused and "external_account_binding" in refused
        assert "newOrder" not in proxy.resources()

        assert keeper.order(external_account_binding={"kid": "kid-1", "key": MAC})["changed"]
        mark = proxy.mark()
        other = Keeper(lab, proxy, tmp_path / "second", "*.other.example.com")
        same = {"account_key_path": str(tmp_path / "account.pem")}
        assert other.order(external_account_binding=wrong, **same)["changed"]
        assert other.run(external_account_binding=wrong, **same)["phase"] == "issued"
        assert not [payload for payload in payloads(proxy, "newAccount", mark) if "externalAccountBinding" in payload]
        assert other.made()["accounts"] == 0


def payloads(proxy: FaultProxy, resource: str, since: int = 0) -> list[dict[str, t.Any]]:
    """What was sent to a resource, without the requests that only read."""
    asked = [request for request in proxy.requests(since) if resource_of(request.path) == resource and request.body]
    texts = [base64.urlsafe_b64decode(json.loads(request.body)["payload"] + "==") for request in asked]
    return [json.loads(text) for text in texts if text]


def test_t6_r15_an_authorization_that_is_lost_on_the_way_ends_the_order_and_what_is_pending_is_given_up(
    keeper: Keeper,
) -> None:
    """The library's poll_authorizations returns as if all were well, and a later step fails for no reason."""
    first = keeper.order()
    rules = [
        keeper.proxy.inject("order:status:ready=pending,times=always"),
        keeper.proxy.inject("authorization:status:valid=deactivated"),
        keeper.proxy.inject("authorization:status:valid=pending"),
    ]
    message = keeper.fail(validation_timeout=1)
    assert "The order has failed and cannot be used any more: " in message and "is deactivated" in message
    assert "finalize" not in keeper.proxy.resources()
    assert payloads(keeper.proxy, "authorization") == [{"status": "deactivated"}]
    rules[0].lift()
    second = keeper.order()
    assert second["order_uri"] != first["order_uri"]
    assert keeper.run()["phase"] == "issued"
    assert keeper.made() == {"accounts": 1, "orders": 2, "certificates": 1}


def test_r33_acme_finalize_at_a_ca_that_has_forgotten_the_account_says_so_and_keeps_the_state(
    controller: Controller,
) -> None:
    account = controller.order()["account_uri"]
    before = controller.state_path.read_bytes()
    controller.lab.pebble.restart()
    lost, opened, of_another, anew = controller.run_all(
        [("acme_finalize", {}), ("acme_account", {}), ("acme_finalize", {}), ("acme_order", {})]
    )
    assert f"The CA does not know the account of this order (any more) for {account}" in lost.error
    assert "open the account anew with acme_account" in lost.error
    assert opened.ok["created"] and f"belongs to another account, {account}" in of_another.error
    assert "place another one (acme_order)" in of_another.error
    assert not controller.fullchain_path.exists() and controller.state_path.read_bytes() != before
    assert anew.ok["changed"] and anew["account_uri"] == opened["account_uri"]
