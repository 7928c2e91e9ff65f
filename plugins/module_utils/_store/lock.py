# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One lock per lineage: whoever holds it is named, and nobody waits for ever.

After getting it, look again: the other run may have done the work (R22). Private to this collection.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t

from .. import _files, _wait
from .._errors import UserError


@contextlib.contextmanager
def hold_lock(path: str, *, within: float) -> t.Iterator[None]:
    """Hold an exclusive lock on `path`. Raises UserError naming the holder's process after `within` seconds, and where
    the lock cannot be made."""
    try:
        _files.make_directory(os.path.dirname(path))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UserError(
            "The store cannot be written",
            name=path,
            answer=error.strerror,
            remedy="Mend its rights, or give another path.",
        ) from error
    try:
        if not _take(descriptor):
            waited = _wait.until(lambda: _take(descriptor), reached=bool, within=within, first=0.1, every=0.5)
            if not waited.reached:
                holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                raise UserError(
                    f"Another run works on this (process {holder}); {within:.0f} s were waited",
                    name=path,
                    remedy="Run again when it has ended.",
                )
        with contextlib.suppress(OSError):  # a full disk is found out by who writes more than a name
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            "The store cannot be locked",
            answer=error.strerror,
            remedy="Put it on a file system that has locks; some network file systems have none.",
        ) from error
    return True
