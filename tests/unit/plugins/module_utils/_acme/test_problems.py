# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the CA said, in words."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.problems import AcmeProblem, describe_problem

PREFIX = "urn:ietf:params:acme:error:"


def test_every_subproblem_is_told_with_its_name() -> None:
    problem = {
        "type": f"{PREFIX}rejectedIdentifier",
        "detail": "some names are refused",
        "subproblems": [
            {"type": f"{PREFIX}caa", "detail": "forbidden", "identifier": {"type": "dns", "value": "a.example"}},
            {"type": f"{PREFIX}dns", "detail": "SERVFAIL", "identifier": {"type": "dns", "value": "b.example"}},
        ],
    }
    assert describe_problem(problem) == (
        "rejectedIdentifier, 'some names are refused'; a.example: caa, 'forbidden'; b.example: dns, 'SERVFAIL'"
    )


@pytest.mark.parametrize("nothing", [None, {}])
def test_an_error_without_content_is_survived(nothing: dict[str, str] | None) -> None:
    """`error: {}` was seen in the wild (R42)."""
    assert describe_problem(nothing) == "no reason given"


@pytest.mark.parametrize("odd", [["text"], {"a": 1}, "text", 5, [{"identifier": "a.example"}]])
def test_subproblems_that_are_none_do_no_harm(odd: object) -> None:
    assert describe_problem({"detail": "refused", "subproblems": odd}).startswith("about:blank, 'refused'")


def test_a_limit_is_told_with_its_time_and_returned() -> None:
    moment = datetime(2026, 12, 1, 10, tzinfo=timezone.utc)
    problem = AcmeProblem("take the order", {"type": f"{PREFIX}rateLimited", "detail": "too many"}, retry_at=moment)
    assert str(problem) == (
        "The CA refused to take the order: rateLimited, 'too many' (not before 2026-12-01T10:00:00Z). "
        "Nothing is wrong with this host; run again after the time given."
    )
    assert problem.facts["retry_after"] == "2026-12-01T10:00:00Z"


def test_types_that_the_library_does_not_know_are_compared_by_their_name() -> None:
    """T17: Error.code is None for alreadyReplaced and others."""
    assert AcmeProblem("take the order", {"type": f"{PREFIX}alreadyReplaced"}, status=409).type == "alreadyReplaced"


@pytest.mark.parametrize(
    ("status", "kind", "is_gone"), [(404, None, True), (403, "unauthorized", True), (400, "malformed", True)]
)
def test_an_object_that_is_gone_is_told_from_one_that_is_refused(status: int, kind: str | None, is_gone: bool) -> None:
    assert AcmeProblem("show the order", {"type": kind and PREFIX + kind}, status=status).is_gone is is_gone
    assert not AcmeProblem("show the order", {"type": f"{PREFIX}serverInternal"}, status=500).is_gone
