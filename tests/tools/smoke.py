# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs what the documentation shows, and installs that go wrong, on the oldest or the newest Ansible that we promise,
and the newest's sanity.

Each has an environment of its own in .cache. An Ansible whose Python is not on this machine is skipped, and said.
Of the newest's sanity it is validate-modules, in seconds; all of it is a minute and more, and `make sanity` does it
with the Ansible of .venv. Usage: python tests/tools/smoke.py oldest|newest
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from run_ansible_test import COPY, find_path
from venvs import CACHE, can_make_venv, make_venv

ENDS = {"oldest": ("2.16", "3.10"), "newest": ("2.21", "3.13")}
"""ansible-core, and the Python that goes with it: of the oldest the oldest, of the newest a new one."""
FLEET = "tests/integration/test_fleet_store.py"
ROLLING = "tests/integration/test_playbooks_rolling.py"
WHAT = (
    "tests/integration/test_documented.py",
    f"{FLEET}::test_order_finish_and_idle_from_controllers_that_know_nothing",
    f"{ROLLING}::test_a_host_that_rolls_back_ends_the_roll_and_those_not_reached_are_named",
    f"{ROLLING}::test_a_host_that_is_down_ends_no_batch_turns_the_run_red_and_gets_it_the_next_time_without_an_order",
)


def list_needs(core: str) -> list[str]:
    """Return what a controller needs, and what the tests do."""
    lines = (COPY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    ours = [line for line in lines if line and not line.startswith("#")]
    return [f"ansible-core=={core}.*", *ours, "pytest>=8.3", "pytest-xdist>=3.6"]


def run(python: Path, *command: str) -> int:
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(CACHE), "ANSIBLE_COLLECTIONS_PATH": str(CACHE)}
    return subprocess.call([str(python), *command], cwd=COPY, env=environment)


def main(end: str) -> int:
    core, version = ENDS[end]
    found = shutil.which(f"python{version}", path=find_path())
    if not found or not can_make_venv(found):
        print(f"ansible-core {core}: skipped, this machine has no Python {version} with venv", flush=True)
        return 0
    python = make_venv(f"ansible-{core}", found, list_needs(core))
    print(f"ansible-core {core} on Python {version}:", flush=True)
    failed = run(python, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *WHAT)
    if end == "newest":
        sanity = ["sanity", "--color", "no", "--test", "validate-modules"]
        failed += run(python, "tests/tools/run_ansible_test.py", *sanity)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
