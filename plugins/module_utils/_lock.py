# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time, by a lock file that says who holds it. The kernel frees the lock when its holder dies.

Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t

from . import _files, _wait
from ._errors import UserError


@contextlib.contextmanager
def hold_lock(path: str, *, within: float) -> t.Iterator[None]:
    """Hold an exclusive lock on the file `path` (made, and its directory too, where it is missing; never a link).

    Raises UserError naming the holder's process after `within` seconds, and where no lock can be made there.
    """
    try:
        _files.make_directory(os.path.dirname(path))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(
            "The lock file cannot be written",
            name=path,
            answer=error.strerror,
            remedy="Mend the rights of its directory, or give another path.",
        ) from error
    try:
        waited = _wait.until(lambda: _take(descriptor, path), reached=bool, within=within, first=0.0, every=0.3)
        if not waited.reached:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise UserError(
                f"Another run works on this (process {holder}) and did not end within {within:g} s",
                name=os.path.dirname(path),
                remedy="Wait for it, then run again.",
            )
        with contextlib.suppress(OSError):  # a full disk is found out by who writes more than a name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: str) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            "The lock cannot be taken",
            name=path,
            answer=error.strerror,
            remedy="Use a file system that has locks; some network file systems have none.",
        ) from error
    return True
