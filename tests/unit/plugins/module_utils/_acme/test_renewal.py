# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a certificate is due, and why."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.order import Wish
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.renewal import decide, renew_at
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.names import parse_identifiers

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
CA = "https://ca.example/directory"


def wish(*names: str, profile: str | None = None) -> Wish:
    return Wish(tuple(parse_identifiers(names or ("*.a.example", "a.example"))), profile)


def bundle(*, days: float = 90, directory: str = CA, profile: str | None = None) -> t.Any:
    facts = SimpleNamespace(
        names=("a.example", "*.a.example"),
        not_before=BEGIN,
        not_after=BEGIN + timedelta(days=days),
        key_type="ec-256",
    )
    return SimpleNamespace(version="v1", facts=facts, meta={"directory": directory, "profile": profile})


def reasons(found: t.Any, wanted: Wish, *, after_days: float = 0, key_type: str = "ec-256") -> tuple[str, ...]:
    now = BEGIN + timedelta(days=after_days)
    return decide(found, wanted, directory=CA, key_type=key_type, now=now).reasons


@pytest.mark.parametrize(("lifetime", "due"), [(90, 60), (64, 64 * 2 / 3), (45, 30), (10, 10 * 2 / 3), (6, 3)])
def test_a_third_must_be_left_and_half_of_a_short_life(lifetime: float, due: float) -> None:
    """R28."""
    assert renew_at(BEGIN, BEGIN + timedelta(days=lifetime)) == BEGIN + timedelta(days=due)
    second = 1 / 86400
    assert reasons(bundle(days=lifetime), wish(), after_days=due - second) == ()
    assert reasons(bundle(days=lifetime), wish(), after_days=due) == ("expiring",)
    assert reasons(bundle(days=lifetime), wish(), after_days=lifetime) == ("expired",)


def test_nothing_there_is_a_reason() -> None:
    assert reasons(None, wish()) == ("missing",)


def test_the_order_of_names_does_not_matter() -> None:
    assert reasons(bundle(), wish("a.example", "*.a.example")) == ()


@pytest.mark.parametrize("names", [["a.example"], ["*.a.example", "a.example", "b.example"]])
def test_other_names_are_a_reason(names: list[str]) -> None:
    """R27."""
    assert reasons(bundle(), wish(*names)) == ("names",)


def test_a_version_that_is_not_wanted_any_more_is_a_reason_whatever_its_age() -> None:
    due = [decide(bundle(), wish(), directory=CA, key_type="ec-256", now=BEGIN, unwanted=one) for one in ("v1", "v0")]
    assert [decision.reasons for decision in due] == [("revoked",), ()]


def test_another_ca_key_type_or_profile_is_a_reason() -> None:
    assert reasons(bundle(directory="https://staging.example/directory"), wish()) == ("directory",)
    assert reasons(bundle(), wish(), key_type="rsa-2048") == ("key_type",)
    assert reasons(bundle(profile="classic"), wish()) == ("profile",)
    assert reasons(bundle(), wish(profile="shortlived")) == ("profile",)


def test_every_reason_is_told() -> None:
    assert reasons(bundle(directory="x"), wish("b.example"), after_days=61) == ("directory", "names", "expiring")
