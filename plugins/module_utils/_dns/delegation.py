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
from .lookup import Followed, Resolvers, bare, in_parallel
from .records import absolute

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")


def written_names(
    names: t.Iterable[str], *, delegation: t.Mapping[str, t.Any], resolvers: Resolvers, follow: bool
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Give for each challenge name the name to write, both in the form of `records.absolute`, and warnings to show.

    Raises BadInput where the map leads to what is no DNS name, and UserError where CNAMEs lead nowhere.
    """
    todo = sorted({absolute(name) for name in names})
    mapped = {absolute(str(name)): _target(name, given) for name, given in delegation.items()}
    warnings = []
    strange = sorted(mapped.keys() - {*todo})
    if strange and todo:
        warnings.append(
            f"delegation names {', '.join(map(bare, strange))}, where no record is needed: the challenge names are "
            f"{', '.join(map(bare, todo))}."
        )
    written = {name: mapped.get(name, name) for name in todo}
    if follow:
        unmapped = [name for name in todo if name not in mapped]
        for name, followed in zip(unmapped, in_parallel(resolvers.follow, items=unmapped)):
            written[name] = _end(name, followed)
            if followed.reason:
                warnings.append(
                    f"Whether a CNAME leads on from {bare(written[name])} is not known: {followed.reason}. The record "
                    f"of {bare(name)} is meant to be written there."
                )
    return written, tuple(warnings)


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


def _end(name: str, followed: Followed) -> str:
    if followed.target is None:
        raise UserError(
            "The CNAMEs lead nowhere",
            name=bare(name),
            answer=followed.reason,
            remedy="Mend them in DNS, or say in delegation which name is to be written.",
        )
    return followed.target
