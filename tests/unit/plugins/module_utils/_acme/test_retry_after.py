# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Retry-After in both forms means the same seconds in every time zone (R6, T2)."""

from __future__ import annotations

import time
import typing as t
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
import requests
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.transport import retry_after_seconds


def answer(**headers: str) -> requests.Response:
    response = requests.Response()
    response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return response


@pytest.fixture(params=["UTC", "America/New_York", "Europe/Berlin", "Pacific/Kiritimati", "Pacific/Niue"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
def test_a_date_is_as_many_seconds_away_in_every_time_zone() -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=120), usegmt=True)
    assert retry_after_seconds(answer(Retry_After=soon)) == pytest.approx(120, abs=3)


@pytest.mark.usefixtures("zone")
def test_a_server_whose_clock_is_wrong_still_means_its_own_seconds() -> None:
    wrong = datetime.now(timezone.utc) - timedelta(days=3)
    late = wrong + timedelta(seconds=30)
    response = answer(Retry_After=format_datetime(late, usegmt=True), Date=format_datetime(wrong, usegmt=True))
    assert retry_after_seconds(response) == 30


def test_seconds_are_seconds() -> None:
    assert retry_after_seconds(answer(Retry_After="86400")) == 86400


def test_a_date_in_the_past_is_now() -> None:
    assert retry_after_seconds(answer(Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")) == 0


@pytest.mark.parametrize("text", ["9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_time_beyond_all_reason_is_a_year(text: str) -> None:
    assert retry_after_seconds(answer(Retry_After=text)) == 366 * 86400


@pytest.mark.parametrize("text", ["soon", "", "-5", "1.5e3", "5, 6", "\u00b2", "Fri, 31 Dec 9999 23:59:59 -1200"])
def test_what_is_neither_is_as_if_it_were_missing(text: str) -> None:
    assert retry_after_seconds(answer(Retry_After=text)) is None
    assert retry_after_seconds(answer()) is None
