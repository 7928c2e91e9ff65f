# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes collections of others, which tests use (`community.general`), into .cache/collections, out of PyPI's `ansible`.

Once: what is there stays. Where the package cannot be had, that is said and is no error: the tests that need one are
skipped then. Run from the root of the checkout; names are the arguments.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CACHE = Path(".cache").absolute()
COLLECTIONS = CACHE / "collections"


def folder(name: str) -> str:
    return "/".join(["ansible_collections", *name.split(".")])


def main() -> None:
    missing = [name for name in sys.argv[1:] if not (COLLECTIONS / folder(name)).is_dir()]
    if not missing:
        return
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        asked = ["--no-deps", "--only-binary", ":all:", "--dest", scratch, "ansible"]
        if subprocess.run([*pip, *asked], check=False).returncode != 0:
            print(f"{', '.join(missing)} cannot be had, so the tests that need it will be skipped", file=sys.stderr)
            return
        (wheel,) = Path(scratch).glob("ansible-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for name in missing:
                archive.extractall(
                    scratch, [path for path in archive.namelist() if path.startswith(folder(name) + "/")]
                )
                (COLLECTIONS / folder(name)).parent.mkdir(parents=True, exist_ok=True)
                (Path(scratch) / folder(name)).rename(COLLECTIONS / folder(name))


if __name__ == "__main__":
    main()
