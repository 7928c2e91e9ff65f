# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the configuration was before us: a copy beside it for each edit, the last few of which are kept.

Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import os
import re
import stat
import time

from .. import _files

KEEP = 3
SUFFIX = r"\.\d{4}-\d{2}-\d{2}T\d{6}Z(\.\d+)?~"
"""What follows the name of the configuration in that of a backup, as a pattern."""


def make_backup(path: str, data: bytes, *, mode: int, owner: _files.Owner) -> str:
    """Write what `path` held to a name of its own beside it, and return that; none that is there is overwritten."""
    stamp = f"{path}.{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime())}"
    name, number = f"{stamp}~", 0
    while os.path.lexists(name):
        number += 1
        name = f"{stamp}.{number}~"
    _files.write_file(name, data, mode=mode, owner=owner)
    return name


def prune_backups(path: str) -> None:
    """Remove all backups of `path` but the last ones. Only names that are ours count, and only plain files."""
    directory, base = os.path.split(path)
    pattern = re.compile(rf"{re.escape(base)}{SUFFIX}\Z")
    names = sorted(filter(pattern.match, os.listdir(directory or ".")), key=_age)
    paths = [os.path.join(directory, name) for name in names]
    for path in [path for path in paths if stat.S_ISREG(os.lstat(path).st_mode)][:-KEEP]:
        os.unlink(path)


def _age(name: str) -> tuple[str, int]:
    """Sort by time, and by number within a second."""
    stamp, _dot, number = name[:-1].rpartition("Z")
    return stamp, int(number[1:] or 0)
