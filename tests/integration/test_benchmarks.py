# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The benchmarks run, and what they count holds: round trips are no matter of speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.benchmarks import fleet
from ansible_collections.zerotrust.pomerium.tests.lab.machine import what_is_missing


@pytest.mark.skipif(what_is_missing() is not None, reason=f"machines need {what_is_missing()}")
def test_a_fleet_costs_one_round_trip_a_host_and_a_renewal_two(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    command = [sys.executable, fleet.__file__, "--hosts", "2", "--rounds", "0", "--output", str(output)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "| nothing to do: site |" in done.stdout
    found = json.loads(output.read_text())["2"]
    assert {name: one["executions_a_host"] for name, one in found.items() if "built-in" not in name} == {
        "ping": 1,
        "nothing to do: install": 1,
        "nothing to do: site": 1,
        "nothing to do: site, hosts as store": 1,
        "renewal: install": 2,
    }
    assert all(one["wall_s"] > 0 and one["cpu_s"] > 0 and one["bytes_a_host"] > 10_000 for one in found.values())
