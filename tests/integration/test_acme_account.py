# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_account and acme_account_info: an account is opened once, for one key, and looking opens none."""

from __future__ import annotations

import typing as t

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, made, tree
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from cryptography.hazmat.primitives import serialization

EAB = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
MAILTO = ["mailto:ops@example.com", "mailto:dev@example.com"]


def test_an_account_is_opened_once_and_its_key_is_made_for_us_alone(controller: Controller) -> None:
    before, first, second, after = controller.run_all(
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


def test_contacts_are_updated_only_where_they_differ(controller: Controller) -> None:
    """R43 among it: check mode says that they would be, and updates none."""
    opened, same, would, turned, changed, dropped = controller.run_all(
        [
            ("acme_account", {"contact": MAILTO}),
            ("acme_account", {}),
            ("acme_account", {"contact": MAILTO[:1], "check": True}),
            ("acme_account", {"contact": MAILTO[::-1]}),
            ("acme_account", {"contact": MAILTO[:1]}),
            ("acme_account", {"contact": []}),
        ]
    )
    assert opened.ok["account"]["contact"] == MAILTO
    assert not same.ok["changed"] and would.ok["changed"] and not turned.ok["changed"]
    assert turned["account"]["contact"] == MAILTO
    assert changed.ok["changed"] and changed["account"]["contact"] == MAILTO[:1]
    assert dropped.ok["changed"] and dropped["account"]["contact"] == []


def test_account_keys_of_every_kind_are_taken_from_file_or_text(controller: Controller) -> None:
    passphrase = "correct horse"
    sealed = new_key("ec-384").private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    text = key_pem(new_key("rsa-2048")).decode()
    controller.lab.account_key_path.write_bytes(sealed)
    by_file, by_text, again = controller.run_all(
        [
            ("acme_account", {"account_key_passphrase": passphrase}),
            ("acme_account", {"account_key_path": None, "account_key_content": text}),
            ("acme_account_info", {"account_key_passphrase": passphrase}),
        ]
    )
    assert by_file.ok["created"] and by_text.ok["created"]
    assert again.ok["account_uri"] == by_file["account_uri"] != by_text["account_uri"]
    assert controller.lab.account_key_path.read_bytes() == sealed


def test_r34_external_account_binding_is_needed_once(start: t.Callable[..., Controller]) -> None:
    controller = start(pebble={"eab_keys": EAB, "eab_required": True})
    binding = {"kid": "kid-1", "key": EAB["kid-1"]}
    opened, again = controller.run_all([("acme_account", {"external_account_binding": binding}), ("acme_account", {})])
    assert opened.ok["created"] and not again.ok["changed"]
    assert made(controller.lab)["accounts"] == 1


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
    new, with_key, info = controller.run_all(
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
