# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait for a condition with a deadline: the lab never sleeps for a fixed time and hopes."""

from __future__ import annotations

import time
import typing as t

POLL_SECONDS = 0.02


class DeadlinePassed(AssertionError):
    """A condition that a test or the lab waited for did not come true in time."""


def until(condition: t.Callable[[], t.Any], *, what: str, within: float = 10.0) -> t.Any:
    """Return the first true value of `condition`; an OSError of it counts as not yet.

    Raises DeadlinePassed, which says `what` was waited for and what was seen last.
    """
    end = time.monotonic() + within
    while True:
        try:
            seen: t.Any = condition()
            last: object = seen
        except OSError as error:
            seen, last = None, error
        if seen:
            return seen
        if time.monotonic() >= end:
            raise DeadlinePassed(f"waited {within:g} s for {what}; last seen: {last!r}")
        time.sleep(POLL_SECONDS)
