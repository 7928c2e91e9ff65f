# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The version that CAs and hosts are told is the collection's."""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible_collections.zerotrust.pomerium.plugins.module_utils._version import VERSION


def test_the_version_is_that_of_galaxy_yml() -> None:
    galaxy = yaml.safe_load((Path(__file__).parents[4] / "galaxy.yml").read_text())
    assert galaxy["version"] == VERSION
