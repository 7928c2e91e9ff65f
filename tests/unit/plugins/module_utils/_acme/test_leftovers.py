# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records that no order needs any more: remembered by value until somebody has removed them (R13, R14)."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme import leftovers
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.memory import Memory, Remembered, save_memory
from ansible_collections.zerotrust.pomerium.plugins.module_utils._store.lineage import Lineage

NAME = "_acme-challenge.a.example."


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    return Lineage(str(tmp_path), "pomerium")


def record(*entries: str, name: str = NAME) -> dict[str, t.Any]:
    return {"name": name, "type": "TXT", "ttl": 300, "entries": list(entries), "identifiers": ["a.example"]}


def order(lineage: Lineage, *entries: str) -> None:
    """Have an order pending that asks for these values."""
    asked = Remembered("https://ca/d", "https://ca/a/1", "https://ca/o/1", ("a.example",), None, "", None)
    placed = Remembered(**{**asked.__dict__, "records": (record(*entries),)})
    save_memory(lineage.order_path, Memory(order=placed))


def test_what_a_dropped_order_asked_for_is_to_be_removed(lineage: Lineage) -> None:
    order(lineage, "1", "2")
    assert leftovers.remaining(lineage) == []
    leftovers.drop_pending(lineage)
    assert leftovers.remaining(lineage) == [record("1", "2")]
    assert not Path(lineage.order_path).exists()


def test_leaving_twice_is_as_leaving_once_and_a_value_that_is_needed_again_stays(lineage: Lineage) -> None:
    """A run may be killed between the note and the end of the order; a CA may ask for the same value again."""
    order(lineage, "1", "2")
    leftovers.leave(lineage)
    leftovers.leave(lineage)
    assert leftovers.remaining(lineage) == []
    order(lineage, "2", "3")
    assert leftovers.remaining(lineage) == [record("1")]


def test_what_was_removed_is_forgotten_by_value(lineage: Lineage) -> None:
    order(lineage, "1", "2")
    leftovers.drop_pending(lineage)
    order(lineage, "3")
    leftovers.drop_pending(lineage)
    leftovers.forget(lineage, [record("1"), record("3", name="_acme-challenge.b.example.")])
    assert leftovers.remaining(lineage) == [record("2", "3")]
    leftovers.forget(lineage, leftovers.remaining(lineage))
    assert leftovers.remaining(lineage) == []
    assert "records_to_remove" not in lineage.state()


def test_what_nobody_removes_does_not_pile_up_for_ever(lineage: Lineage) -> None:
    for number in range(leftovers.MOST_REMEMBERED + 5):
        order(lineage, str(number))
        leftovers.drop_pending(lineage)
    (left,) = leftovers.remaining(lineage)
    assert len(left["entries"]) == leftovers.MOST_REMEMBERED and "0" not in left["entries"]
