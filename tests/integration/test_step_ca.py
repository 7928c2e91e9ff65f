# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A CA that is not Pebble: step-ca, which people run themselves, issues wildcards to the modules and to a fleet.

Its root is private, it offers no ARI, no profiles and no terms, never says when to ask again, computes the status of
an order when that is read, and lists orders in a form of its own.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import (
    Controller,
    entries,
    is_pair,
    resources,
    tree,
)
from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import WarmModules
from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy
from ansible_collections.zerotrust.pomerium.tests.lab.lab import IDENTIFIERS, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.step_ca import why_missing
from cryptography import x509
from cryptography.x509 import verification

pytestmark = pytest.mark.skipif(why_missing() is not None, reason=str(why_missing()))

SITE = "zerotrust.pomerium.site"
FINISHING = [
    *("directory", "newNonce", "order", "authorization", "authorization"),  # as they stand
    *("challenge", "challenge", "order"),  # validated while it is answered: the first look sees `ready`
    *("finalize", "certificate"),  # issued while it is finalized: the answer says `valid`
]


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    with Lab(hosts=(), ca="step-ca") as up:
        yield up


@pytest.fixture
def controller(lab: Lab, warm_modules: WarmModules) -> Controller:
    return Controller(lab, warm_modules)


def verified(fullchain_pem: bytes, root_pem: bytes, name: str) -> list[x509.Certificate]:
    """The path from leaf to root, found as a TLS client does. Raises VerificationError where there is none."""
    leaf, *chain = x509.load_pem_x509_certificates(fullchain_pem)
    store = verification.Store(x509.load_pem_x509_certificates(root_pem))
    return verification.PolicyBuilder().store(store).build_server_verifier(x509.DNSName(name)).verify(leaf, chain)


def test_by_hand_a_wildcard_with_its_apex_is_issued_and_verified_with_the_private_root(controller: Controller) -> None:
    order = controller.order()
    assert order["status"] == "pending" and len(order["dns_records"]) == 1 and len(entries(order)) == 2
    controller.paste(order)
    mark = controller.lab.ca.mark()
    issued = controller.run("acme_finalize").ok
    assert issued["phase"] == "issued" and sorted(issued["names"]) == sorted(IDENTIFIERS)
    assert resources(controller.lab, mark) == FINISHING
    assert is_pair(controller.fullchain_path, controller.key_path)
    for name in ("app.corp.example.com", "corp.example.com"):
        path = verified(controller.fullchain_path.read_bytes(), controller.lab.ca.root_pem(), name)
        assert len(path) == 3


def test_without_its_root_nothing_is_sent_and_what_to_give_is_said(controller: Controller) -> None:
    refused = controller.run("acme_account", ca_path=None)
    assert "is not trusted" in refused.error and "give its root certificate in ca_path" in refused.error
    assert resources(controller.lab) == []


def test_acme_certificate_comes_to_its_end_and_is_idle_then_although_a_certificate_lives_for_a_day(
    controller: Controller,
) -> None:
    first = controller.run("acme_certificate").ok
    assert (first["phase"], first["changed"]) == ("waiting_for_dns", True)
    controller.paste(first)
    mark = controller.lab.ca.mark()
    second = controller.run("acme_certificate").ok
    assert (second["phase"], second["renewed"]) == ("issued", True)
    assert resources(controller.lab, mark) == FINISHING
    before, mark = tree(controller.lineage), controller.lab.ca.mark()
    third = controller.run("acme_certificate").ok
    assert (third["changed"], third["phase"], third["reasons"]) == (False, "idle", [])
    assert first["renew_at"] is None and third["renew_at"] < third["not_after"]
    assert tree(controller.lineage) == before
    assert resources(controller.lab, mark) == []


def test_a_profile_is_refused_before_an_order_since_none_is_offered(controller: Controller) -> None:
    refused = controller.run("acme_certificate", profile="classic")
    assert "this CA offers: none" in refused.error
    assert "newOrder" not in resources(controller.lab)


def test_without_retry_after_a_validation_that_does_not_end_is_looked_at_every_two_seconds_and_goes_on_next_time(
    controller: Controller,
) -> None:
    """Where step-ca finds no record it leaves the challenge pending: it is answered again by the next run."""
    order = controller.order()
    mark = controller.lab.ca.mark()
    waiting = controller.run("acme_finalize", verify_dns="none", validation_timeout=5)
    assert "The order is not finished" in waiting.error and waiting["status"] == "pending"
    assert "corp.example.com: dns, " in waiting.error, "what the CA says of it"
    seen = resources(controller.lab, mark)
    assert seen.count("challenge") == 2 and 3 <= seen.count("order") <= 5, seen
    controller.paste(order)
    mark = controller.lab.ca.mark()
    issued = controller.run("acme_finalize").ok
    assert issued["phase"] == "issued" and issued["order_uri"] == order["order_uri"]
    assert resources(controller.lab, mark) == FINISHING


def test_an_order_goes_on_where_the_ca_was_restarted_in_between(controller: Controller) -> None:
    order = controller.order()
    controller.lab.ca.restart()
    controller.paste(order)
    assert controller.run("acme_finalize").ok["order_uri"] == order["order_uri"]


def test_a_lost_answer_to_new_order_costs_no_second_order(controller: Controller, tmp_path: Path) -> None:
    """R2: it is found in the account's list of orders, whose form is step-ca's own."""
    lab = controller.lab
    with FaultProxy(lab.ca, tmp_path / "proxy") as proxy:
        url = lab.ca.directory_url.replace(str(lab.ca.port), str(proxy.port))
        proxy.lose_answer("/acme/lab/new-order")
        order = controller.run_all([(name, {"acme_directory": url}) for name in ("acme_account", "acme_order")])[1]
    assert order.ok["status"] == "pending"
    assert [name for name in resources(lab) if name in ("newOrder", "orders")] == ["newOrder", "orders"]


def test_orders_are_listed_though_its_list_is_a_bare_array(controller: Controller) -> None:
    order = controller.order()
    listed = controller.run("acme_account_info", retrieve_orders="url_list").ok
    assert listed["order_uris"] == [order["order_uri"]]


def test_a_ca_that_lost_its_database_gets_a_new_account_and_a_new_order(controller: Controller) -> None:
    """R33."""
    lab = controller.lab
    first = controller.run("acme_certificate").ok
    lab.ca.stop()
    (lab.ca.directory / "step-ca.db").unlink()
    lab.ca.start()
    second = controller.run("acme_certificate").ok
    assert "does not know its account" in second.warnings
    assert second["order_uri"] != first["order_uri"] and second["account_uri"] != first["account_uri"]
    lab.clear_records()
    controller.paste(second)
    assert controller.run("acme_certificate").ok["phase"] == "issued"


def test_the_guide_ends_with_a_host_that_serves_its_certificate_to_clients_of_the_private_root() -> None:
    with Lab(hosts=("pom1",), ca="step-ca") as lab:
        first = lab.playbook(SITE)
        assert first.rc == 0, first.output
        assert len(first.record_lines) == 2
        lab.paste(first.record_lines)
        second = lab.playbook(SITE)
        assert second.rc == 0, second.output
        assert lab.host("pom1").visit("app.corp.example.com", root_pem=lab.ca.root_pem()).status == 200
        mark = lab.ca.mark()
        third = lab.playbook(SITE)
        assert third.rc == 0, third.output
        assert third.stats("pom1")["changed"] == 0
        assert resources(lab, mark) == []
        assert lab.leaked(first.output + second.output + third.output) == []
