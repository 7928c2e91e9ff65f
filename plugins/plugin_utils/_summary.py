# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How an install went over a fleet: one line a host, and which hosts are to be looked after.

Pure functions over what the role `pomerium` has registered of each host. Private to this collection.
"""

from __future__ import annotations

import typing as t

from ._remote import harmless

REGISTERED = "pomerium_result"
LONGEST_LINE = 1000


def summarize(hosts: t.Iterable[str], variables: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Say of each host what became of it; `variables` has the variables of each by its name.

    Gives `lines`, one a host, in the order of `hosts`; and the names of those that `failed`, that were `unreachable`,
    and that were `left`: whose turn never came.
    """
    found: dict[str, list[str]] = {"lines": [], "failed": [], "unreachable": [], "left": []}
    for host in hosts:
        result = variables[host].get(REGISTERED)
        kind, words = _outcome(result)
        found["lines"].append(f"{host}: {_one_line(words)}")
        if kind in found:
            found[kind].append(str(host))
    return found


def _outcome(result: t.Any) -> tuple[str, str]:
    if not result:
        return "left", "not reached: the install ended before its turn"
    said = str(result.get("msg") or "").strip()
    if result.get("unreachable"):
        return "unreachable", f"unreachable: {said}"
    if result.get("skipped"):
        return "skipped", "nothing to install yet"
    if result.get("failed"):
        word = "rolled back" if result.get("rolled_back") else "failed"
        return "failed", f"{word}: {said}{_still_served(result.get('served'))}"
    return "done", said


def _still_served(served: t.Any) -> str:
    """Say of a host that failed what its users see."""
    if not served or not served.get("not_after"):
        return ""
    return f" (serves {', '.join(served['names'])} until {served['not_after']})"


def _one_line(text: str) -> str:
    shown = " ".join(str(harmless(text)).split())
    return shown if len(shown) <= LONGEST_LINE else f"{shown[:LONGEST_LINE]} ..."
