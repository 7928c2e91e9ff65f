# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_account and acme_account_info: an account is opened once, for one key, and looking opens none.

The other states are in test_acme_account_key.py, account_file in test_acme_account_file.py.
"""

from __future__ import annotations

import base64
import typing as t

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, made, tree
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key

EAB = {
    "kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
    "kid-2": base64.urlsafe_b64encode(bytes(range(190, 254))).decode().rstrip("="),
}
MAILTO = ["mailto:ops@example.com", "mailto:dev@example.com"]


def in_four_ways(**options: t.Any) -> list[tuple[str, dict[str, t.Any]]]:
    """Predict it, do it, predict it again, do it again, with the diffs."""
    does = ("acme_account", {**options, "diff": True})
    would = ("acme_account", {**options, "diff": True, "check": True})
    return [would, does, would, does]


def test_an_account_is_opened_once_and_its_key_is_made_for_us_alone(controller: Controller) -> None:
    before, first, second, after = controller.play_all(
        [
            (
                "acme_account_info",
                {"account_key_path": None, "account_key_content": key_pem(new_key("ec-256")).decode()},
            ),
            ("acme_account", {}),
            ("acme_account", {}),
            ("acme_account_info", {}),
        ]
    )
    assert (before.ok["exists"], before["account_uri"], before["account"]) == (False, None, None)
    assert (first.ok["changed"], first["created"]) == (True, True)
    assert (second.ok["changed"], second["created"]) == (False, False)
    assert (after.ok["changed"], after["exists"]) == (False, True)
    assert first["account_uri"] == second["account_uri"] == after["account_uri"]
    assert first["account"]["status"] == "valid"
    assert controller.lab.account_key_path.stat().st_mode & 0o7777 == 0o600
    assert made(controller.lab)["accounts"] == 1


def test_present_changed_and_absent_each_predicted_done_once_and_seen_in_the_diff(controller: Controller) -> None:
    """Nine of the twelve cases; those of changed_key are with the keys."""
    done = controller.run_all(
        [
            *in_four_ways(contact=MAILTO),
            *in_four_ways(contact=MAILTO[:1]),
            *in_four_ways(state="absent"),
            ("acme_account_info", {}),
            ("acme_account", {}),
        ]
    )
    present, changed, absent = done[:4], done[4:8], done[8:12]
    assert [[one.ok["changed"] for one in four] for four in (present, changed, absent)] == [
        [True, True, False, False]
    ] * 3
    assert [one["created"] for one in done[:12]] == [True, True] + [False] * 10
    assert (present[0]["account_uri"], present[0]["account"]) == (None, None)
    assert len({one["account_uri"] for one in done[1:10]}) == 1 and present[1]["account_uri"]

    valid = {"status": "valid", "contact": MAILTO, "key_type": "ec-256"}
    thumbprint = present[1]["diff"]["after"].pop("key_thumbprint")
    assert present[0]["diff"] == present[1]["diff"] == {"before": {}, "after": valid}, "a key that is not made yet"
    valid["key_thumbprint"] = thumbprint
    fewer = {**valid, "contact": MAILTO[:1]}
    assert changed[0]["diff"] == changed[1]["diff"] == {"before": valid, "after": fewer}
    assert absent[0]["diff"] == absent[1]["diff"] == {"before": fewer, "after": {**fewer, "status": "deactivated"}}
    for same in (*present[2:], *changed[2:], *absent[2:]):
        assert same["diff"]["before"] == same["diff"]["after"]

    info, refused = done[12:]
    assert (absent[1]["account"]["status"], absent[0]["account"]["status"]) == ("deactivated", "valid")
    assert (info.ok["exists"], info["account"]["status"], info["account_uri"]) == (False, "deactivated", None)
    assert refused.error == "The account is deactivated. Use another account key; it cannot be revived."
    assert made(controller.lab)["accounts"] == 1


def test_an_account_that_the_ca_does_not_know_is_absent_already_and_one_without_key_is_an_error(
    controller: Controller,
) -> None:
    path = controller.home / "unknown.pem"
    path.write_bytes(key_pem(new_key("ec-256")))
    unknown, would, no_key = controller.run_all(
        [
            ("acme_account", {"state": "absent", "account_key_path": str(path)}),
            ("acme_account", {"state": "absent", "account_key_path": str(path), "check": True}),
            ("acme_account", {"state": "absent"}),
        ]
    )
    assert not unknown.ok["changed"] and not would.ok["changed"]
    assert (unknown["account_uri"], unknown["account"]) == (None, None)
    assert f"account_key_path '{controller.lab.account_key_path}': there is no account key" in no_key.error
    assert made(controller.lab)["accounts"] == 0


def test_contacts_are_updated_only_where_they_differ(controller: Controller) -> None:
    opened, same, turned, dropped = controller.run_all(
        [
            ("acme_account", {"contact": MAILTO}),
            ("acme_account", {}),
            ("acme_account", {"contact": MAILTO[::-1]}),
            ("acme_account", {"contact": []}),
        ]
    )
    assert opened.ok["account"]["contact"] == MAILTO
    assert not same.ok["changed"] and not turned.ok["changed"]
    assert turned["account"]["contact"] == MAILTO
    assert dropped.ok["changed"] and dropped["account"]["contact"] == []


def test_r34_external_account_binding_is_needed_once_in_every_form(start: t.Callable[..., Controller]) -> None:
    """HS256, 384, 512; base64url or base64, padded or not. Where it is missing, that is said before a key is made."""
    controller = start(pebble={"eab_keys": EAB, "eab_required": True})
    text = base64.b64encode(base64.urlsafe_b64decode(EAB["kid-2"] + "==")).decode()
    assert text.endswith("==") and {"+", "/"} & set(text), "base64 that is not base64url"
    bindings = [
        {"kid": "kid-1", "key": EAB["kid-1"]},
        {"kid": "kid-1", "key": EAB["kid-1"], "alg": "HS384"},
        {"kid": "kid-2", "key": EAB["kid-2"], "alg": "HS512"},
        {"kid": "kid-2", "key": f"{EAB['kid-2']}==", "alg": "HS512"},
        {"kid": "kid-2", "key": text, "alg": "HS512"},
    ]
    paths = [str(controller.home / f"account-{number}.pem") for number in range(len(bindings))]
    bound = [{"account_key_path": p, "external_account_binding": b} for p, b in zip(paths, bindings)]
    missing, *opened = controller.run_all([("acme_account", {}), *(("acme_account", options) for options in bound)])
    assert "external_account_binding" in missing.error and "kid and key" in missing.error
    assert not controller.lab.account_key_path.exists()
    assert [done.ok["created"] for done in opened] == [True] * 5

    spent = {"kid": "kid-9", "key": "AAAA"}
    again = controller.run_all(
        [
            ("acme_account", {"account_key_path": paths[0]}),
            ("acme_account", {"account_key_path": paths[1], "external_account_binding": spent, "contact": MAILTO}),
            ("acme_account", {"external_account_binding": spent}),
        ]
    )
    assert [done.ok["changed"] for done in again[:2]] == [False, True], "found without binding, updated at its URL"
    assert "unauthorized" in again[2].error and "Check kid, key and alg of external_account_binding" in again[2].error
    assert made(controller.lab)["accounts"] == 5


def test_without_allow_creation_a_missing_account_is_an_error_and_nothing_is_written(controller: Controller) -> None:
    no_key, no_account = controller.run_all(
        [
            ("acme_account", {"allow_creation": False}),
            (
                "acme_account",
                {
                    "allow_creation": False,
                    "account_key_path": None,
                    "account_key_content": key_pem(new_key("ec-256")).decode(),
                },
            ),
        ]
    )
    assert "there is no account key" in no_key.error
    assert "The CA knows no account for this account key" in no_account.error
    assert made(controller.lab)["accounts"] == 0
    assert not controller.lab.account_key_path.exists()


def test_r43_check_mode_opens_no_account_and_writes_no_key(controller: Controller) -> None:
    lab, path = controller.lab, controller.home / "other.pem"
    path.write_bytes(key_pem(new_key("ec-256")))
    before = tree(controller.home)
    new, with_key, info = controller.play_all(
        [
            ("acme_account", {}),
            ("acme_account", {"account_key_path": str(path)}),
            ("acme_account_info", {"account_key_path": str(path)}),
        ],
        "--check",
    )
    assert new.ok["changed"] and new["created"] and new["account_uri"] is None
    assert with_key.ok["changed"] and with_key["created"] and not info.ok["exists"]
    assert made(lab)["accounts"] == 0
    assert tree(controller.home) == before


def test_a_lost_answer_to_new_account_opens_no_second_account(behind_proxy: Controller) -> None:
    lab = behind_proxy.lab
    assert lab.proxy is not None
    lab.proxy.lose_answer("newAccount", method="POST")
    opened, found = behind_proxy.run_all([("acme_account", {}), ("acme_account_info", {})])
    assert opened.ok["created"] and found.ok["exists"]
    assert opened["account_uri"] == found["account_uri"]
    assert made(lab)["accounts"] == 1


def test_r33_an_account_that_the_ca_has_forgotten_is_said_and_may_be_opened_anew(controller: Controller) -> None:
    uri = controller.run("acme_account").ok["account_uri"]
    controller.lab.pebble.restart()
    gone, gone_by_url, opened = controller.run_all(
        [("acme_account_info", {}), ("acme_account_info", {"account_uri": uri}), ("acme_account", {})]
    )
    assert (gone.ok["exists"], gone_by_url.ok["exists"]) == (False, False)
    assert opened.ok["created"]


def test_r33_an_account_url_that_the_ca_has_forgotten_is_an_error_and_opens_no_other(controller: Controller) -> None:
    uri = controller.run("acme_account").ok["account_uri"]
    controller.lab.pebble.restart()
    forgotten, opened = controller.run_all([("acme_account", {"account_uri": uri}), ("acme_account", {})])
    assert "The CA does not know the account" in forgotten.error and uri in forgotten.error
    assert "leave it out" in forgotten.error
    assert opened.ok["created"] and opened["account_uri"] != uri


def test_the_account_s_orders_are_told_as_urls_or_whole_over_all_pages(controller: Controller) -> None:
    """Pebble gives three on a page."""
    names = [f"host-{number}.example.com" for number in range(7)]
    controller.run_all(
        [("acme_account", {}), *(("acme_order", {"identifiers": [name], "state_path": None}) for name in names)]
    )
    none, urls, whole = controller.run_all(
        [("acme_account_info", {"retrieve_orders": kind}) for kind in ("ignore", "url_list", "object_list")]
    )
    assert (none.ok["order_uris"], none["orders"], urls.ok["orders"]) == ([], [], [])
    assert len(set(urls["order_uris"])) == 7 and whole.ok["order_uris"] == urls["order_uris"]
    found = [order["identifiers"][0]["value"] for order in whole["orders"]]
    assert sorted(found) == names
    assert {order["status"] for order in whole["orders"]} == {"pending"}
