# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting, in no time: clock and sleep are a parameter."""

from __future__ import annotations

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils import _wait


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0, "time.sleep would raise"
        self.pauses.append(seconds)
        self.now += seconds


def wait(clock: Clock, looks: list[str], *, within: float, asked: float | None = None) -> _wait.Waited[str]:
    seen = iter(looks)
    return _wait.until(
        lambda: next(seen),
        reached=lambda last: last == "done",
        within=within,
        pause=lambda last: asked,
        clock=lambda: clock.now,
        sleep=clock.sleep,
    )


def test_the_first_look_is_quick_and_later_ones_obey() -> None:
    clock = Clock()
    waited = wait(clock, ["no", "no", "done"], within=60, asked=5)
    assert (waited.reached, waited.last, waited.elapsed) == (True, "done", 10.5)
    assert clock.pauses == [0.5, 5, 5]


def test_the_last_look_is_at_the_deadline() -> None:
    clock = Clock()
    waited = wait(clock, ["no", "no", "no"], within=7, asked=5)
    assert (waited.reached, waited.last, waited.elapsed) == (False, "no", 7)
    assert clock.pauses == [0.5, 5, 1.5]


def test_a_pause_of_a_day_is_capped() -> None:
    """R5: ZeroSSL asks for 86400 seconds."""
    clock = Clock()
    wait(clock, ["no", "done"], within=10**6, asked=86400)
    assert clock.pauses == [0.5, _wait.LONGEST_PAUSE_SECONDS]


@pytest.mark.parametrize("asked", [0.0, -1.0])
def test_no_pause_is_no_hot_loop(asked: float) -> None:
    clock = Clock()
    wait(clock, ["no", "no", "done"], within=60, asked=asked)
    assert min(clock.pauses) >= 0.2


@pytest.mark.parametrize("within", [0, -5])
def test_a_deadline_in_the_past_still_looks_once(within: float) -> None:
    assert wait(Clock(), ["done"], within=within).reached
    assert not wait(Clock(), ["no"], within=within).reached


def test_where_no_pause_is_asked_for_it_looks_every_so_often() -> None:
    clock = Clock()
    wait(clock, ["no", "no", "done"], within=60)
    assert clock.pauses == [0.5, 2, 2]
