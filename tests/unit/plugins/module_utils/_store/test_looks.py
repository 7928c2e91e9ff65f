# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks as files: one a host, whatever its name, taken once."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.zerotrust.pomerium.plugins.module_utils._store import looks

ODD = "pom1/../../etc"


def test_looks_are_read_sorted_and_taken_once(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    assert looks.read_looks(store, "pomerium") == [] and looks.names_with_looks(store) == []
    looks.write_look(store, "pomerium", "pom2", {"kept": {}}, limit=None)
    looks.write_look(store, "pomerium", ODD, None, limit="pom1")
    found = looks.read_looks(store, "pomerium")
    assert [(look["host"], look["limit"]) for look in found] == [(ODD, "pom1"), ("pom2", None)]
    assert looks.names_with_looks(store) == ["pomerium"]
    folder = tmp_path / "store/lineages/pomerium/looks"
    assert {path.parent for path in tmp_path.rglob("*.json")} == {folder}, "a host's name is no path"

    taken = looks.take_look(store, "pomerium", "pom2")
    assert taken is not None and taken["answer"] == {"kept": {}}
    assert looks.take_look(store, "pomerium", "pom2") is None


def test_a_look_that_is_changed_keeps_its_id_and_a_new_one_has_another(tmp_path: Path) -> None:
    store = str(tmp_path)
    looks.write_look(store, "pomerium", "pom1", {"kept": 1})
    first = looks.read_look(store, "pomerium", "pom1")
    looks.change_look(store, "pomerium", "pom1", lambda look: look.update(answer={"kept": 2}))
    changed = looks.read_look(store, "pomerium", "pom1")
    looks.write_look(store, "pomerium", "pom1", {"kept": 2})
    second = looks.read_look(store, "pomerium", "pom1")
    assert first is not None and changed is not None and second is not None
    assert (changed["id"], changed["answer"]) == (first["id"], {"kept": 2})
    assert second["id"] != first["id"]
    looks.change_look(store, "pomerium", "nobody", lambda look: look.update(answer=1))
    assert looks.read_look(store, "pomerium", "nobody") is None


def test_a_damaged_look_is_none(tmp_path: Path) -> None:
    looks.write_look(str(tmp_path), "pomerium", "pom1", {})
    (path,) = (tmp_path / "lineages/pomerium/looks").iterdir()
    for damaged in (b"", b"[]", b"{}", b"\xff"):
        path.write_bytes(damaged)
        assert looks.read_looks(str(tmp_path), "pomerium") == []
