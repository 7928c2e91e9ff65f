# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that stand in a JSON file, so that secrets travel by file: as if the task had given them, but weaker.

They are merged before AnsibleModule validates, so they go through the same validation and their secrets through the
same masking. No error quotes the file. Standard library only. Private to this collection.
"""

from __future__ import annotations

import json
import os
import typing as t

from ._errors import BadInput
from ._given import without_empty


def complete_from_file(
    params: dict[str, t.Any],
    *,
    option: str,
    options: dict[str, t.Any],
    exclusive: t.Sequence[t.Sequence[str]] = (),
) -> dict[str, t.Any]:
    """Add to what a task gives what only the file named by `option` gives.

    `options` are those that may stand in the file, as an argument spec. What the task gives also beats what excludes
    it in the file, by the groups in `exclusive`. Raises BadInput where the file cannot be read or has an unknown key.
    """
    if option not in params:
        return params
    canonical = {alias: name for name, one in options.items() for alias in (name, *one.get("aliases", ()))}
    document = _read(option, str(params[option]))
    _check_keys(document, option, params[option], known=canonical)
    found = {canonical[key]: value for key, value in document.items()}
    for name, value in found.items():
        if isinstance(value, dict) and "options" in options[name]:
            _check_keys(value, option, params[option], known=options[name]["options"], within=f" in {name}")
    given = {canonical.get(key, key) for key in params}
    beaten = given.union(*(group for group in exclusive if given.intersection(group)))
    added = {key: value for key, value in without_empty(found, options).items() if key not in beaten}
    return {**params, **added}


def _check_keys(
    document: dict[str, t.Any], option: str, path: object, *, known: t.Collection[str], within: str = ""
) -> None:
    """Refuse unknown keys here: AnsibleModule would show what stands there, since only what it knows can be masked."""
    for key in document:
        if key not in known:
            raise BadInput(
                option, path, f"it has an unknown key {key!r}{within}", remedy=f"There may be: {', '.join(known)}."
            )


def _read(option: str, path: str) -> dict[str, t.Any]:
    try:
        with open(os.path.expanduser(os.path.expandvars(path)), encoding="utf-8") as file:
            document = json.load(file)
    except FileNotFoundError:
        raise BadInput(option, path, "no such file", remedy="Correct the path.") from None
    except OSError as error:
        raise BadInput(option, path, f"cannot be read ({error.strerror})", remedy="Mend its rights.") from None
    except ValueError as error:
        place = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise BadInput(
            option, path, f"is not JSON{place}", remedy="Write one JSON object; Vault is not read."
        ) from None
    if not isinstance(document, dict):
        raise BadInput(option, path, "holds no JSON object", remedy="Write one object whose keys are options.")
    return document
