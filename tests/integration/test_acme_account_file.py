# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""account_file: a whole account in one file, as an AWX credential writes it; the task's own options are stronger."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, made
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key

EAB = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
BY_FILE: dict[str, t.Any] = {"acme_directory": None, "account_key_path": None, "ca_path": None}
"""The task itself says nothing of the account."""


def write(controller: Controller, name: str, content: t.Any) -> dict[str, t.Any]:
    """Write a file; the options of a task that names it and leaves the account to it."""
    path = controller.home / name
    path.touch(mode=0o600)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return {**BY_FILE, "account_file": str(path)}


@pytest.fixture
def bound(start: t.Callable[..., Controller]) -> Controller:
    """At a CA that wants external account binding."""
    return start(pebble={"eab_keys": EAB, "eab_required": True})


def test_a_credential_s_whole_account_stands_in_one_file_for_every_module(bound: Controller) -> None:
    """As AWX writes it: what is empty was not given. Aliases are taken too, and numbers and booleans as text."""
    lab = bound.lab
    account: dict[str, t.Any] = {
        "acme_directory": lab.directory_url,
        "account_key_content": key_pem(new_key("ec-256")).decode(),
        "account_key_passphrase": "",
        "account_uri": "",
        "external_account_binding": {"kid": "kid-1", "key": EAB["kid-1"]},
        "ca_content": lab.pebble.ca_path.read_text(),
        "validate_certs": "true",
        "request_timeout": "30",
    }
    by_file = write(bound, "account.json", account)
    nothing = {"kid": "", "key": ""}
    empty = {**account, "external_account_binding": nothing, "ca_path": None, "account_key_path": ""}
    by_empty = write(bound, "empty.json", empty)
    path = bound.home / "key.pem"
    path.write_text(account["account_key_content"])
    by_alias = write(bound, "alias.json", {**empty, "account_key_content": None, "account_key_src": str(path)})
    opened, found, order, finalize, certificate, info = bound.play_all(
        [
            ("acme_account", by_file),
            ("acme_account", by_empty),
            ("acme_order", by_file),
            ("acme_finalize", {**by_file, "on_pending": "return"}),
            ("acme_certificate", by_empty),
            ("acme_account_info", by_alias),
        ]
    )
    assert opened.ok["created"] and not found.ok["changed"]
    assert order.ok["action_required"] and finalize.ok["pending"] and certificate.ok["phase"] == "waiting_for_dns"
    uris = {done["account_uri"] for done in (opened, found, order, certificate, info.ok)}
    assert uris == {opened["account_uri"]}
    assert made(lab)["accounts"] == 1


def test_an_option_of_the_task_beats_the_file_also_where_they_exclude_each_other(controller: Controller) -> None:
    lab = controller.lab
    controller.lab.account_key_path.write_bytes(key_pem(new_key("ec-256")))
    theirs = key_pem(new_key("ec-256")).decode()
    own = write(
        controller,
        "other.json",
        {
            "acme_directory": "https://127.0.0.1:1/dir",
            "account_key_content": theirs,
            "ca_content": "no certificate",
            "request_timeout": -1,
        },
    )
    by_task, by_file, expected = controller.run_all(
        [
            ("acme_account", {"account_file": own["account_file"], "request_timeout": 45}),
            ("acme_account", {"account_file": own["account_file"]}),
            ("acme_account", {}),
        ]
    )
    assert by_task.ok["created"] and not expected.ok["changed"]
    assert by_task["account_uri"] == expected["account_uri"]
    assert "request_timeout '-1'" in by_file.error
    mixed = write(controller, "mixed.json", {"account_key_path": "/nowhere.pem", "ca_path": "/nowhere.pem"})
    text: dict[str, t.Any] = {
        "acme_directory": lab.directory_url,
        "account_key_content": theirs,
        "ca_content": lab.pebble.ca_path.read_text(),
    }
    assert controller.run("acme_account", **{**mixed, **text}).ok["created"]
    assert made(lab)["accounts"] == 2


def test_a_file_that_is_of_no_use_is_named_with_its_key_and_not_quoted(controller: Controller) -> None:
    """Also not with the options of the task, which nothing has masked yet."""
    secret = "do-not-quote-this-s3cret"
    cases = [
        (f'{{"account_key_content": "{secret}', "is not JSON (line 1"),
        (f'"{secret}"', "holds no JSON object"),
        ({"account_key": secret}, "it has an unknown key 'account_key'. There may be: acme_directory"),
    ]
    given = [write(controller, f"{number}.json", content) for number, (content, _why) in enumerate(cases)]
    gone = {**BY_FILE, "account_file": "/nowhere/account.json"}
    tasks = [("acme_account", {**options, "account_key_content": secret}) for options in [*given, gone]]
    results = controller.play_all(tasks, "-vvv")
    assert secret not in results[0].run.output and secret not in str([done.values for done in results])
    for (_content, why), (_module, options), done in zip([*cases, ("", "no such file")], tasks, results):
        assert f"account_file '{options['account_file']}': {why}" in done.error
    assert controller.lab.pebble.requests() == []


def test_the_account_of_a_file_is_complete_with_the_other_half_of_the_task(controller: Controller) -> None:
    """The file may have only the secrets, as a credential for a key that many directories use."""
    half = write(controller, "half.json", {"account_key_content": key_pem(new_key("ec-256")).decode()})
    opened, neither = controller.run_all(
        [
            (
                "acme_account",
                {
                    **half,
                    "acme_directory": controller.lab.directory_url,
                    "ca_path": str(controller.lab.pebble.ca_path),
                },
            ),
            ("acme_account", write(controller, "none.json", {"acme_directory": controller.lab.directory_url})),
        ]
    )
    assert opened.ok["created"]
    assert "account_key_path, account_key_content" in neither.error
