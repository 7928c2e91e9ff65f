# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Other challenges than dns-01: one with a name of the account's own, one whose record is made once and stays."""

from __future__ import annotations

import base64
import hashlib
import json
import time

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, entries, is_pair, made

ACCOUNT = {"challenge": "dns-account-01"}
PERSIST = {"challenge": "dns-persist-01"}


def record_name(account_uri: str) -> str:
    """What draft-ietf-acme-dns-account-label-02 section 3 says."""
    label = base64.b32encode(hashlib.sha256(account_uri.encode()).digest()[:10]).decode().lower()
    return f"_{label}._acme-challenge.corp.example.com."


def test_by_steps_the_state_knows_the_challenge(controller: Controller) -> None:
    order = controller.order(**ACCOUNT)
    assert [record["name"] for record in order["dns_records"]] == [record_name(order["account_uri"])]
    assert len(entries(order)) == 2, "wildcard and apex share it"
    controller.paste(order)
    done = controller.run("acme_finalize").ok
    assert done["phase"] == "issued" and is_pair(controller.fullchain_path, controller.key_path)
    assert [record["name"] for record in done["records_to_remove"]] == [record_name(order["account_uri"])]


def test_in_one_task_too_and_changing_the_challenge_keeps_the_order(controller: Controller) -> None:
    """Only the records are others; both are to be removed in the end."""
    first, other, without_state = controller.run_all(
        [("acme_certificate", {}), ("acme_certificate", ACCOUNT), ("acme_certificate", {"challenge": "http-01"})]
    )
    assert "value of challenge must be one of: dns-01, dns-account-01, dns-persist-01" in without_state.error
    assert other.ok["order_uri"] == first.ok["order_uri"] and other["reused"]
    controller.paste(other)
    done = controller.run("acme_certificate", **ACCOUNT).ok
    assert done["phase"] == "issued" and made(controller.lab)["orders"] == 1
    names = {record["name"] for record in done["records_to_remove"]}
    assert names == {"_acme-challenge.corp.example.com.", record_name(done["account_uri"])}


def test_an_order_by_its_url_is_finalized_with_the_challenge_that_is_given(controller: Controller) -> None:
    order = controller.order(state_path=None, **ACCOUNT)
    controller.paste(order)
    by_uri = {"state_path": None, "order_uri": order["order_uri"]}
    wrong, right = controller.run_all([("acme_finalize", by_uri), ("acme_finalize", {**by_uri, **ACCOUNT})])
    assert "is missing at _acme-challenge.corp.example.com" in wrong.error
    assert right.ok["phase"] == "issued"


def test_records_to_remove_stay_until_they_are_said_to_be_removed(controller: Controller) -> None:
    """Also those of an order that was replaced; by value, so that nobody else's are meant."""
    first = controller.run("acme_certificate").ok
    more = {"identifiers": ["*.corp.example.com", "corp.example.com", "app.example.com"]}
    second = controller.run("acme_certificate", **more).ok
    assert second["records_to_remove"] == [
        {**first["dns_records"][0], "entries": entries(first)},
    ]
    controller.paste(second)
    done, kept = controller.run_all([("acme_certificate", more)] * 2)
    assert done.ok["renewed"] and kept.ok["phase"] == "idle"
    left = {record["name"]: record["entries"] for record in kept["records_to_remove"]}
    assert sorted(sum(left.values(), [])) == sorted([*entries(first), *entries(second)])
    assert left == {record["name"]: record["entries"] for record in done["records_to_remove"]}

    own = [record for record in kept["records_to_remove"] if record["name"] == "_acme-challenge.app.example.com."]
    some, rest, none = controller.run_all(
        [
            ("acme_certificate", {**more, "records_removed": own}),
            ("acme_certificate", {**more, "records_removed": kept["records_to_remove"]}),
            ("acme_certificate", more),
        ]
    )
    assert [record["name"] for record in some.ok["records_to_remove"]] == ["_acme-challenge.corp.example.com."]
    assert rest.ok["records_to_remove"] == none.ok["records_to_remove"] == []
    assert "records_to_remove" not in json.loads((controller.lineage / "state.json").read_text())


def test_r47_a_record_that_stays_is_made_once_for_all_orders(controller: Controller) -> None:
    first = controller.order(**PERSIST)
    (record,) = first["dns_records"]
    assert record["name"] == "_validation-persist.corp.example.com."
    assert record["entries"] == [f"pebble.letsencrypt.org; accounturi={first['account_uri']}; policy=wildcard"]
    assert first["action_required"]
    controller.paste(first)
    issued, second, again = controller.run_all(
        [("acme_finalize", {}), ("acme_order", {**PERSIST, "renew": True}), ("acme_finalize", {})]
    )
    assert issued.ok["phase"] == again.ok["phase"] == "issued" and issued["serial"] != again["serial"]
    assert not second.ok["action_required"] and second["instructions"] == []
    assert second["dns_records"] == first["dns_records"] and second["order_uri"] != first["order_uri"]


def test_r47_a_record_that_somebody_else_made_counts_until_it_has_run_out(controller: Controller) -> None:
    order = controller.order(**PERSIST)
    name, account = "_validation-persist.corp.example.com.", order["account_uri"]
    stated = f"pebble.letsencrypt.org;AccountURI={account};Policy=WILDCARD;persistUntil="
    controller.lab.paste(f'{name} 300 IN TXT "{stated}1700000000"')
    refused = controller.run("acme_finalize")
    assert (
        "(its persistUntil was 2023-11-14 22:13 UTC)" in refused.error and "Nothing was sent to the CA" in refused.error
    )
    controller.lab.paste(f'{name} 300 IN TXT "{stated}{int(time.time()) + 3600}"')
    done = controller.run("acme_finalize").ok
    assert done["phase"] == "issued" and is_pair(controller.fullchain_path, controller.key_path)
