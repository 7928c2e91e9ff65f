# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Imports a built tarball as Galaxy and Automation Hub do; whatever the importer warns of is an error here.

galaxy-importer has an environment of its own in .cache, since it pins libraries that the checkers want newer.
Usage: python tests/tools/import_package.py TARBALL
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from venvs import CACHE, make_venv

STRICT = ("CHECK_REQUIRED_TAGS", "REQUIRE_V1_OR_GREATER")
"""What Automation Hub asks for beyond Galaxy."""


def main() -> None:
    tarball = Path(sys.argv[1]).absolute()
    python = make_venv("galaxy-importer", sys.executable, ["galaxy-importer>=0.4.31"])
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "PYTHONPATH"))}
    environment.update({f"GALAXY_IMPORTER_{name}": "true" for name in STRICT})
    environment.update(HOME=str(CACHE / "home"), PATH=f"{python.parent}{os.pathsep}{os.environ['PATH']}")
    command = [str(python), "-m", "galaxy_importer.main", str(tarball)]
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment, cwd=tarball.parent,
    )  # fmt: skip
    if done.returncode or re.search(r"^(WARNING|ERROR|CRITICAL)", done.stdout, re.MULTILINE):
        sys.exit(f"{done.stdout}Galaxy would not take {tarball.name} as it is.")
    print(f"{tarball.name}: galaxy-importer finds nothing")


if __name__ == "__main__":
    main()
