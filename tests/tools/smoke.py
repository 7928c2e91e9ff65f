# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs what the documentation shows on the oldest and the newest Ansible that we promise, and the newest's sanity.

Each has a virtual environment of its own in .cache, made once. An Ansible whose Python is not on this machine is
skipped, and said; CI then shows less, and passes. Run from anywhere, with the tree copied.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from run_ansible_test import CACHE, COPY, find_path

OLDEST, NEWEST = ("2.16", "3.10"), ("2.21", "3.13")
"""ansible-core, and the oldest Python that we promise for it, or the newest."""


def find_python(version: str) -> str | None:
    """Return a Python of this version that can make virtual environments."""
    found = shutil.which(f"python{version}", path=find_path())
    if found and subprocess.call([found, "-c", "import ensurepip, venv"], stderr=subprocess.DEVNULL) == 0:
        return found
    return None


def make_venv(core: str, python: str) -> Path:
    """Return the Python of an environment with that Ansible and what tests/requirements.txt names of our own needs."""
    where = CACHE / f"ansible-{core}"
    wanted = [f"ansible-core=={core}.*", "pytest>=8.3", "pytest-xdist>=3.6"]
    needs = (COPY / "requirements.txt").read_text(encoding="utf-8")
    stamp, own = where / "complete", where / "bin" / "python"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != needs + str(wanted):
        subprocess.run([python, "-m", "venv", "--clear", str(where)], check=True)
        install = [str(own), "-m", "pip", "install", "--quiet", "--requirement", str(COPY / "requirements.txt")]
        subprocess.run([*install, *wanted], check=True)
        stamp.write_text(needs + str(wanted), encoding="utf-8")
    return own


def run(python: Path, *command: str) -> None:
    path = os.pathsep.join([str(python.parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(CACHE), "ANSIBLE_COLLECTIONS_PATH": str(CACHE)}
    ended = subprocess.call([str(python), *command], cwd=COPY, env=environment)
    if ended:
        sys.exit(ended)


def main() -> None:
    for core, version in (OLDEST, NEWEST):
        found = find_python(version)
        if found is None:
            print(f"ansible-core {core}: skipped, there is no Python {version} with venv on this machine", flush=True)
            continue
        python = make_venv(core, found)
        print(f"ansible-core {core} on Python {version}:", flush=True)
        run(python, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "tests/integration/test_documented.py")
        if (core, version) == NEWEST:
            run(python, "tests/tools/run_ansible_test.py", "sanity", "--color", "no", "--test", "validate-modules")


if __name__ == "__main__":
    main()
