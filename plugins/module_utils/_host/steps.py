# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's half, step by step: what `pomerium_bundle` does for its action plugins.

Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import typing as t

from .._errors import UserError
from .look import look, read
from .pending import fetch, stage
from .transaction import apply


def take_step(params: dict[str, t.Any], *, check: bool, warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Take one step: look (everything, no secret), read (the configuration's text), apply (install and prove),
    stage (keep what is pending), fetch (give the keys that the controller lacks)."""
    try:
        if params["step"] == "look":
            return {"changed": False, "look": look(params)}
        if params["step"] == "read":
            return {"changed": False, "read": read(params)}
        if params["step"] == "fetch":
            return {"changed": False, "fetched": fetch(params)}
        if check:
            raise UserError(f"Check mode changes nothing, so there is no step {params['step']} in it")
        if params["step"] == "stage":
            return stage(params)
        return {"applied": apply(params, warn)}
    except OSError as error:
        raise UserError("The host refused", name=error.filename, answer=error.strerror or str(error)) from error
