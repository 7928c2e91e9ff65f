# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records that no order of a lineage needs any more: remembered, by value, until somebody has removed them.

They lie in the lineage's state, so that also a run that was killed between issuance and clean-up loses none (R14).
Private to this collection.
"""

from __future__ import annotations

import typing as t

from .._dns.records import join_entries
from . import memory as memories

if t.TYPE_CHECKING:
    from .._store.lineage import Lineage

Record = t.Mapping[str, t.Any]

MOST_REMEMBERED = 50
"""Values that nobody ever says to have removed are forgotten at some time, the oldest first."""


def remaining(lineage: Lineage) -> list[dict[str, t.Any]]:
    """Give what is to be removed, less the values that the pending order needs (a CA may ask for the same again)."""
    needed = memories.load_memory(lineage.order_path, option="store_path").order
    return join_entries(_left(lineage), without=needed.records if needed else ())


def leave(lineage: Lineage) -> None:
    """Note that the pending order is over: from now on its records are to be removed."""
    order = memories.load_memory(lineage.order_path, option="store_path").order
    if order is not None and order.removable:
        kept = [record for record in _left(lineage) if record not in order.removable]
        lineage.learn(records_to_remove=[*kept, *order.removable][-MOST_REMEMBERED:])


def drop_pending(lineage: Lineage) -> None:
    """Forget the pending order, but not its records."""
    leave(lineage)
    lineage.drop_pending()


def forget(lineage: Lineage, removed: t.Sequence[Record]) -> None:
    """Note that these values have been removed."""
    left = [one for record in _left(lineage) for one in join_entries([record], without=removed)]
    lineage.learn(records_to_remove=left or None)


def _left(lineage: Lineage) -> list[Record]:
    left: list[Record] = lineage.state().get("records_to_remove") or []
    return left
