# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which publishers there are, the option `publisher` with the sub-options of all, and the file it may come from.

Private to this collection.
"""

from __future__ import annotations

import typing as t

from ..._errors import BadInput
from ..._option_file import complete_from_file
from .. import publisher as common
from ..publisher import Publisher
from .acme_dns import AcmeDns
from .exec import Exec
from .lexicon import Lexicon
from .rfc2136 import Rfc2136

TYPES: dict[str, type[Publisher]] = {"acme_dns": AcmeDns, "exec": Exec, "lexicon": Lexicon, "rfc2136": Rfc2136}

_SUBOPTIONS: dict[str, t.Any] = {"type": {"type": "str", "choices": list(TYPES), "required": True}, **common.OPTIONS}
for _kind in TYPES.values():
    _SUBOPTIONS.update(_kind.OPTIONS)

PUBLISHER: dict[str, t.Any] = {
    "publisher": {
        "type": "dict",
        "options": _SUBOPTIONS,
        "required_if": [["type", name, list(kind.REQUIRED)] for name, kind in TYPES.items()],
        "required_together": [["key_name", "key_secret"]],
    },
    "publisher_file": {"type": "path"},
}
"""Options of a module that publishes."""

_TEXT = ("options", "secrets", "environment")
"""Sub-options that may be YAML text, as a credential of AWX has them: taken apart before validation, so that each value
of `secrets` is masked for itself."""


def complete_publisher(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """Complete `publisher` by what `publisher_file` holds; what the task gives is stronger.

    Raises BadInput that quotes nothing of it.
    """
    given = params.get("publisher")
    if given is not None and not isinstance(given, dict):
        return params  # for the validation to refuse
    if "publisher_file" in params:
        file = {"publisher_file": params["publisher_file"]}
        given = complete_from_file({**(given or {}), **file}, option="publisher_file", options=_SUBOPTIONS)
        del given["publisher_file"]
    if not given:
        return params
    return {**params, "publisher": {key: _dictionary(key, value) for key, value in given.items()}}


def _dictionary(key: str, value: t.Any) -> t.Any:
    if key not in _TEXT or not isinstance(value, str):
        return value
    import yaml

    try:
        found = yaml.safe_load(value)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise BadInput(
            f"publisher.{key}", None, "is text that is no YAML dictionary", remedy="Write lines 'name: value'."
        )
    return found


def choose_publisher(params: t.Mapping[str, t.Any]) -> Publisher | None:
    """Make the publisher that the options name; None where they name none. Raises BadInput for wrong sub-options."""
    options = params.get("publisher")
    return TYPES[options["type"]](options) if options else None
