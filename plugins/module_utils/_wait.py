# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one way to wait: look, obey the pause that the other side asks for, stop at a deadline.

Clock and sleep are parameters, so that tests wait in no time. The clock is monotonic: a step of the system's
clock or a time zone changes nothing. Standard library only. Private to this collection.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass

LONGEST_PAUSE_SECONDS = 1800.0
"""Some CAs ask for a day (ZeroSSL: Retry-After 86400): no single pause is longer than this (R5)."""

T = t.TypeVar("T")


@dataclass(frozen=True)
class Waited(t.Generic[T]):
    """How a wait ended: whether it was reached, the last object seen, and the seconds it took."""

    reached: bool
    last: T
    elapsed: float


def until(
    look: t.Callable[[], T],
    *,
    reached: t.Callable[[T], bool],
    within: float,
    first: float = 0.5,
    pause: t.Callable[[T], float | None] = lambda last: None,
    every: float = 2.0,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> Waited[T]:
    """Look until `reached(last)` or until `within` seconds have passed; the last look is at the deadline.

    The first look comes after `first` seconds (quick, since most answers are there by then), later ones after the
    seconds that `pause(last)` asks for (Retry-After), `every` where it asks for none, never more than
    LONGEST_PAUSE_SECONDS.
    """
    started = clock()
    end = started + within
    sleep(max(0.0, min(first, within)))
    while True:
        last = look()
        now = clock()
        if reached(last):
            return Waited(True, last, now - started)
        if now >= end:
            return Waited(False, last, now - started)
        asked = pause(last)
        seconds = min(every if asked is None else max(asked, 0.2), LONGEST_PAUSE_SECONDS)
        sleep(min(seconds, end - now))
