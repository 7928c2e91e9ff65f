# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes `.cache/ansible_collections/zerotrust/pomerium` equal to the working tree; unchanged files are not touched.

Ansible and its checkers want a collection at such a path, and ansible-test wants it to be a git repository of its own
(below a git-ignored folder it would find nothing to test, and pass). Tracked and new files count, ignored ones do
not; a file that was deleted vanishes here too. Run from the root of the checkout.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

CACHE = Path(".cache").absolute()
COPY = CACHE / "ansible_collections" / "zerotrust" / "pomerium"


def list_files(where: Path, *kinds: str) -> set[str]:
    command = ["git", "-C", str(where), "ls-files", "-z", "--exclude-standard", *kinds]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return {os.fsdecode(name) for name in listed.split(b"\0") if name and os.path.lexists(where / os.fsdecode(name))}


def is_same(source: Path, target: Path) -> bool:
    if source.is_symlink() or target.is_symlink() or not target.is_file():
        return False
    ours, theirs = source.stat(), target.stat()
    return (ours.st_mtime_ns, ours.st_size, ours.st_mode) == (theirs.st_mtime_ns, theirs.st_size, theirs.st_mode)


def copy(source: Path, target: Path) -> None:
    """Copy by a rename, so that whoever reads the copy at this moment sees the old file or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = CACHE / f"copy.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
        shutil.copy2(source, scratch, follow_symlinks=False)
        scratch.replace(target)


def remove(path: Path) -> None:
    path.unlink()
    with contextlib.suppress(OSError):  # not empty
        shutil.rmtree(path.parent / "__pycache__", ignore_errors=True)
        os.removedirs(path.parent)


def main() -> None:
    COPY.mkdir(parents=True, exist_ok=True)
    if not (COPY / ".git").is_dir():
        subprocess.run(["git", "init", "-q", str(COPY)], check=True)
    here = Path.cwd()
    wanted = list_files(here, "--cached", "--others")
    for name in sorted(list_files(COPY, "--others") - wanted):
        remove(COPY / name)
    for name in sorted(wanted):
        if not is_same(here / name, COPY / name):
            copy(here / name, COPY / name)


if __name__ == "__main__":
    main()
