# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests search for is really what a secret looks like where it leaks."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.zerotrust.pomerium.tests.lab.secret_forms import forms_in_base64

SECRET = "MHcCAQEEIBuC2m0sT1u7cQ"


@pytest.mark.parametrize("before", ["", "-", "--", "---"])
@pytest.mark.parametrize("after", ["", "-", "--"])
def test_a_secret_is_seen_in_base64_wherever_it_begins_and_ends(before: str, after: str) -> None:
    leaked = base64.b64encode(f"{before}{SECRET}{after}".encode()).decode()
    assert [form in leaked for form in forms_in_base64(SECRET)].count(True) == 1
