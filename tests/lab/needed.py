# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a test needs of the machine that it runs on: skipped where that is missing, and failed where CI installs it."""

from __future__ import annotations

import os

import pytest


def need(missing: str | None) -> None:
    """Skip the test, saying what is `missing` (None: nothing is). In CI as root, which could install it, fail."""
    if missing is None:
        return
    if os.environ.get("CI") and os.geteuid() == 0:
        pytest.fail(f"CI has to have it: {missing}")
    pytest.skip(missing)


def need_root(what_for: str) -> None:
    """Skip the test where it is not run by root."""
    need(None if os.geteuid() == 0 else f"root, for {what_for}")
