# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is remembered of an order."""

from __future__ import annotations

import json
import os
import stat
import typing as t
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.memory import (
    Memory,
    Remembered,
    check_writable,
    load_memory,
    save_memory,
    save_records,
)
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError

ORDER = Remembered("https://ca/dir", "https://ca/a/1", "https://ca/o/1", ("*.a.example", "a.example"), None, "x", "y")


def test_an_order_is_remembered_as_it_was(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "state.json")
    save_memory(path, Memory(order=ORDER))
    record = {"name": "_acme-challenge.a.example.", "entries": ["v"]}
    save_records(path, [record], challenge="dns-01", option="state_path")
    loaded = load_memory(path, option="state_path").order
    assert loaded is not None
    assert (loaded.order_uri, loaded.identifiers, len(loaded.records)) == (ORDER.order_uri, ORDER.identifiers, 1)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_what_is_remembered_is_json_without_a_secret(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save_memory(str(path), Memory(order=ORDER))
    document = json.loads(path.read_text())
    assert set(document) == {"order", "limited_until", "limited_why"}
    assert set(document["order"]) == {
        "directory", "account_uri", "order_uri", "identifiers", "profile", "created", "expires", "challenge",
        "records", "key_sha256",
    }  # fmt: skip


def test_the_records_are_remembered_with_an_order_and_older_values_are_kept_for_removal(tmp_path: Path) -> None:
    """R32: after the account key was rolled over the values are others, and the old ones may be in DNS."""
    path = str(tmp_path / "state.json")
    old, new = ({"name": "a.", "ttl": 300, "entries": [value], "identifiers": ["a"]} for value in ("1", "2"))
    how: dict[str, t.Any] = {"challenge": "dns-01", "option": "state_path"}
    assert save_records(path, [old], **how) == ()
    assert load_memory(path, option="state_path") == Memory()
    save_memory(path, Memory(order=ORDER))
    assert [save_records(path, [one], **how) for one in (old, old, new)] == [(), (old,), (old,)]
    loaded = load_memory(path, option="state_path").order
    assert loaded is not None
    assert loaded.records == ({**old, "entries": ["1", "2"]},)


def test_a_state_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(UserError, match=f"cannot be written for {tmp_path}"):
        save_memory(str(tmp_path / "state.json"), Memory())


def test_nothing_remembered_is_no_error(tmp_path: Path) -> None:
    assert load_memory(str(tmp_path / "state.json"), option="state_path") == Memory()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"order": {"directory": "x"}}', '{"order": 3}', '{"unknown": 1}'])
def test_a_damaged_state_is_named_and_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=f"state_path '{path}': the state file is damaged") as error:
        load_memory(str(path), option="state_path")
    assert error.value.remedy
    assert path.read_text() == text


def test_names_in_another_order_are_the_same_order() -> None:
    assert ORDER.is_for(("a.example", "*.a.example"), "")
    assert not ORDER.is_for(("a.example",), None)
    assert not ORDER.is_for(ORDER.identifiers, "shortlived")


def test_a_limit_holds_until_its_time(tmp_path: Path) -> None:
    """R7: remembered, so that a run before that time sends nothing."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    memory = Memory().limited(now + timedelta(hours=1), "too many")
    save_memory(str(tmp_path / "state.json"), memory)
    again = load_memory(str(tmp_path / "state.json"), option="state_path")
    with pytest.raises(UserError, match="limits requests until .*: too many"):
        again.check_limit(now=now)
    again.check_limit(now=now + timedelta(hours=1))


def test_a_place_that_cannot_be_written_is_found_out_before(tmp_path: Path) -> None:
    """R39."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        check_writable(str(tmp_path / "file" / "state.json"), option="state_path")
