# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host keeps, taken apart: somebody else may be root there, and must not get further than to be seen."""

from __future__ import annotations

import base64
import json
import typing as t
from datetime import datetime, timezone

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme import kept
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.memory import Remembered

DIRECTORY = "https://ca.example/directory"
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=timezone.utc)
PROOF = "Yz0B1Uf2xjyUI7Cr9-k96P2PQnw3RIK32dMViuvT58s"
RECORD = {
    "name": "_acme-challenge.corp.example.com.",
    "zone": "example.com",
    "record": "_acme-challenge.corp",
    "type": "TXT",
    "ttl": 300,
    "entries": [PROOF],
    "identifiers": ["corp.example.com"],
    "challenge_names": ["_acme-challenge.corp.example.com."],
}
ORDER: dict[str, t.Any] = {
    "directory": DIRECTORY,
    "account_uri": "https://ca.example/account/1",
    "order_uri": "https://ca.example/order/1",
    "identifiers": ["corp.example.com"],
    "profile": None,
    "created": "2026-11-28T10:00:00Z",
    "expires": None,
    "records": [RECORD],
}
DEEP = b"[" * 100_000


def read_order(**changed: t.Any) -> Remembered | None:
    order = kept.read_order_text(json.dumps({"order": {**ORDER, **changed}}).encode())
    return kept.usable_order(order, directory=DIRECTORY)


def read_state(**values: t.Any) -> dict[str, t.Any] | None:
    state = {"directory": DIRECTORY, "saved_at": "2026-11-28T11:00:00Z", **values}
    return kept.usable_state(json.dumps(state).encode(), directory=DIRECTORY, now=NOW)


def test_an_order_that_we_wrote_is_read_as_it_is() -> None:
    found = read_order()
    assert found is not None and found.records == (RECORD,) and found.identifiers == ("corp.example.com",)


@pytest.mark.parametrize(
    "changed",
    [
        {"directory": "https://staging/dir"},
        {"order_uri": "https://mallory.example/order/1"},
        {"order_uri": "http://ca.example/order/1"},
        {"order_uri": "https://ca.example:444/order/1"},
        {"account_uri": "https://ca.example.mallory/account"},
        {"order_uri": ["https://ca.example/order/1"]},
        {"identifiers": [["corp.example.com"]]},
        {"key_sha256": {"a": 1}},
        {"records": [{"name": "corp.example.com."}]},
        {"records": 1},
        {"unheard": "of"},
    ],
)
def test_an_order_that_is_not_to_be_followed_is_none(changed: dict[str, t.Any]) -> None:
    assert read_order(**changed) is None


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", DEEP, b'{"order": 1}'])
def test_a_text_that_is_damaged_is_none_at_all(text: bytes) -> None:
    assert kept.read_order_text(text) is None
    assert kept.usable_state(text, directory=DIRECTORY, now=NOW) is None
    assert kept.read_object(text) in ({}, {"order": 1})


def test_records_are_proofs_of_control_or_they_are_not_ours() -> None:
    spf = {**RECORD, "name": "corp.example.com.", "entries": ["v=spf1 -all", PROOF[:-1], f"{PROOF}="]}
    both = {**RECORD, "entries": [PROOF, "v=spf1 -all"], "ttl": 60, "mallory": {"a": 1}}
    found = read_state(records_to_remove=[spf, both])
    assert found is not None and found["records_to_remove"] == [{**RECORD, "ttl": 60}]
    assert read_state(records_to_remove="everything") is None


def test_a_limit_holds_for_a_week_at_most_and_an_account_is_of_the_directory() -> None:
    far = read_state(limited_until="2026-12-24T00:00:00Z", limited_why="because", account_uri="https://mallory/1")
    assert far == {"directory": DIRECTORY, "saved_at": "2026-11-28T11:00:00Z"}
    near = read_state(limited_until="2026-11-29T00:00:00Z", account_uri="https://ca.example/account/1")
    assert near is not None and near["limited_until"] and near["account_uri"]


def test_what_was_learned_elsewhere_or_in_the_future_does_not_count() -> None:
    assert read_state(directory="https://staging/dir") is None
    assert read_state(saved_at="2026-11-28T12:06:00Z") is None
    assert read_state(saved_at=7) is None


@pytest.mark.parametrize(
    "answer",
    [None, "nonsense", {}, {"kept": {}}, {"kept": {"bundles": 1}, "problem": None, "hold": None}],
)
def test_a_host_that_talks_nonsense_counts_as_one_that_did_not_answer(answer: t.Any) -> None:
    found = kept.parse_look({"host": "pom1", "id": "1", "answer": answer})
    assert (found.host, found.has_answered, found.bundles) == ("pom1", False, ())


def test_a_place_with_a_problem_is_none_to_write_to() -> None:
    told = {"bundles": [], "order": None, "has_key": False, "state": None, "is_writable": True}
    for problem, is_writable in ((None, True), ("a symbolic link", False)):
        look = {"host": "pom1", "id": "1", "answer": {"kept": told, "problem": problem, "hold": None}}
        assert kept.parse_look(look).is_writable is is_writable


def test_what_is_not_base64_is_nonsense() -> None:
    told = {"bundles": [], "order": "%%%", "has_key": True, "state": base64.b64encode(b"{}").decode(), "is_writable": 1}
    look = {"host": "pom1", "id": "1", "answer": {"kept": told, "problem": None, "hold": None}}
    assert kept.parse_look(look).remembered is None
