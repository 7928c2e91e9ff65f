# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which name is really written, where a CNAME that was made once leads from a challenge name into another zone.

The user's own map comes first. CNAMEs are followed only where that is asked for: a wildcard CNAME for the services of
a zone is one at its challenge names too (go-acme/lego#1816). Private to this collection.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import BadInput, UserError
from .lookup import Resolvers
from .records import absolute, bare
from .trail import Trail
from .txt import ASK_SECONDS, Answer

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")


def parse_delegation(given: t.Mapping[str, t.Any] | None) -> dict[str, str]:
    """Read the user's map, in the form of `records.absolute`. Raises BadInput where it leads to what is no DNS name."""
    return {absolute(str(name)): _target(name, target) for name, target in (given or {}).items()}


def written_names(
    names: t.Iterable[str],
    *,
    delegation: t.Mapping[str, t.Any],
    resolvers: Resolvers,
    follow: bool,
    verify: str = "authoritative",
    known: t.Mapping[str, str] | None = None,
    of_order: t.Collection[str] = (),
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Give for each challenge name the name to write, both in the form of `records.absolute`, and warnings to show.

    What the user's map has for other names is warned of, save `of_order`, whose records may not be needed just now;
    `known` is a weaker map of any names. To `follow` CNAMEs, those are asked that will be asked for the records: the
    resolvers, or name servers where `verify` is `authoritative` (resolvers would remember that there is no record yet).
    Raises BadInput where the map leads to what is no DNS name, and UserError where CNAMEs lead nowhere.
    """
    todo = sorted({absolute(name) for name in names})
    mapped = parse_delegation(delegation)
    warnings = []
    strange = sorted(mapped.keys() - {*todo, *of_order})
    mapped = {**{absolute(name): absolute(target) for name, target in (known or {}).items()}, **mapped}
    if strange and todo:
        warnings.append(
            f"delegation names {', '.join(map(bare, strange))}, where no record is needed: the challenge names are "
            f"{', '.join(map(bare, todo))}."
        )
    written = {name: mapped.get(name, name) for name in todo}
    unmapped = [name for name in todo if name not in mapped]
    if follow and unmapped:
        trail = Trail(resolvers, timeout=ASK_SECONDS)
        if verify == "authoritative":
            trail.ask_authoritative(dict.fromkeys(unmapped))
        else:
            trail.ask_resolvers(unmapped)
        for name in unmapped:
            written[name], unknown = _end(name, trail.ends(name))
            if unknown:
                warnings.append(
                    f"Whether a CNAME leads on from {bare(written[name])} is not known: {unknown}. The record of "
                    f"{bare(name)} is meant to be written there."
                )
    return written, tuple(warnings)


def _end(name: str, ends: t.Sequence[tuple[str, Answer]]) -> tuple[str, str]:
    """Give the end of the CNAMEs at a name, and why it may not be the end; the longest of several ways is the newest.

    Raises UserError where one of them has no end.
    """
    for _server, answer in ends:
        if answer.kind == "endless":
            raise UserError(
                "The CNAMEs lead nowhere",
                name=bare(name),
                answer=answer.said,
                remedy="Mend them in DNS, or say in delegation which name is to be written.",
            )
    told = [(len(answer.chain), answer.chain, "") for _server, answer in ends if answer.kind == "told"]
    failed = [(len(answer.chain), answer.chain, f"{answer.said} from {server}") for server, answer in ends]
    _length, chain, unknown = max(told or failed or [(0, (), "no resolver is configured on this machine")])
    return chain[-1] if chain else name, unknown


def _target(name: str, given: t.Any) -> str:
    """Check the name that the user's map gives for a challenge name."""
    target = absolute(str(given).strip())
    labels = bare(target).split(".")
    if len(target) > 254 or len(labels) < 2 or not all(map(_LABEL.match, labels)):
        raise BadInput(
            "delegation",
            given,
            f"no DNS name that could be written in the place of {name}",
            remedy="Write the whole name that the CNAME leads to, like corp.acme.example.net.",
        )
    return target
