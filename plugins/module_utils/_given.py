# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which options were given: `''` and null count as not given.

AWX passes every input of a credential, also the empty ones, and with core >= 2.19 turns `''` into null. Core < 2.19
turns JSON text that comes out of a template (an account key as JWK) into a dictionary; where text is meant it is text
again before its parts would be masked one by one.
Standard library only. Private to this collection.
"""

from __future__ import annotations

import json
import typing as t


def without_empty(params: dict[str, t.Any], spec: dict[str, t.Any]) -> dict[str, t.Any]:
    """Drop empty options, also those of typed sub-options; free dictionaries and Ansible's own keys are left alone.

    A dictionary where text is meant becomes its JSON.
    """
    kept = {}
    for key, value in params.items():
        if key.startswith("_"):
            kept[key] = value
            continue
        option = spec.get(key, {})
        if isinstance(value, dict) and option.get("options"):
            value = without_empty(value, option["options"]) or None
        elif isinstance(value, dict) and option.get("type") == "str":
            value = json.dumps(value)
        if value is not None and value != "":
            kept[key] = value
    return kept
