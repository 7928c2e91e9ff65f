# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The summary of an install: one harmless line a host, whatever the host said."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._summary import LONGEST_LINE, summarize

SERVED = {"names": ["*.corp.example.com"], "not_after": "2027-01-22T09:59:59Z"}


@pytest.mark.parametrize(
    ("result", "kind", "line"),
    [
        ({"msg": "installed, served: a until b (x)", "failed": False}, None, "installed, served: a until b (x)"),
        ({"msg": "ssh: no route\nto host\n", "unreachable": True}, "unreachable", "unreachable: ssh: no route to host"),
        ({"msg": "config_path: no file", "failed": True}, "failed", "failed: config_path: no file"),
        (
            {"msg": "put back", "failed": True, "rolled_back": True, "served": SERVED},
            "failed",
            "rolled back: put back (serves *.corp.example.com until 2027-01-22T09:59:59Z)",
        ),
        ({"msg": "put back", "failed": True, "rolled_back": True, "served": None}, "failed", "rolled back: put back"),
        ({"skipped": True, "skip_reason": "x"}, None, "nothing to install yet"),
        (None, "left", "not reached: the install ended before its turn"),
        ({"msg": "\x1b[2Jgone\u202e", "unreachable": True}, "unreachable", r"unreachable: \x1b[2Jgone\u202e"),
    ],
)
def test_each_outcome_is_one_line_and_goes_to_whom_it_concerns(result: t.Any, kind: str | None, line: str) -> None:
    found = summarize(["pom1"], {"pom1": {} if result is None else {"pomerium_result": result}})
    assert found["lines"] == [f"pom1: {line}"]
    assert {name: hosts for name, hosts in found.items() if name != "lines" and hosts} == (
        {kind: ["pom1"]} if kind else {}
    )


def test_hosts_stay_in_the_order_that_was_given_and_no_line_is_longer_than_one_reads() -> None:
    results = {"b": {"pomerium_result": {"msg": "x" * 5000, "failed": True}}, "a": {"pomerium_result": {"msg": "y"}}}
    lines = summarize(["b", "a"], results)["lines"]
    assert lines[1] == "a: y"
    assert len(lines[0]) < LONGEST_LINE + 10
