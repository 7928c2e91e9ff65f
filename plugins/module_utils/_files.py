# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are written whole or not at all, with their final owner and mode before they have a name.

A reader sees the old content or the new one; after a crash as well, since file and directory are fsynced. Links are
not followed when writing. `module_utils.basic`'s atomic_move is not used: ANSIBLE_UNSAFE_WRITES (set in AWX's
containers) turns it into a plain write. Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import typing as t

Owner = t.Tuple[int, int]
"""uid and gid; -1 leaves one as it is."""

LARGEST = 8 * 1024 * 1024

_NEW = ".zerotrust-new"
"""How the name of a file ends while it is written: a name that nobody else gives."""


def read_bytes(path: str) -> bytes:
    """Read a whole file."""
    with open(path, "rb") as file:
        return file.read()


def read_if_there(path: str) -> bytes | None:
    """Read a whole file; None where there is none, or it cannot be read."""
    try:
        return read_bytes(path)
    except OSError:
        return None


def read_plain(path: str, *, follow: bool = False) -> tuple[bytes, os.stat_result]:
    """Read a file where somebody else may put what he likes, and tell what it is: its descriptor does, not its name.

    Raises OSError for a link (ELOOP; with `follow` it is followed), a device, a pipe, or something enormous.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            raise OSError(errno.EINVAL, "no plain file of a sensible size", path)
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(LARGEST + 1), found
    finally:
        os.close(descriptor)


def sync_directory(path: str) -> None:
    """Make the names in a directory last: a rename is only on disk when its directory is."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: str, data: bytes, *, mode: int = 0o600, owner: Owner | None = None) -> None:
    """Replace `path` by `data` with one rename; what is there before that is 0600 and has another name."""
    write_together({path: (data, mode)}, owner=owner)


def write_together(files: t.Mapping[str, tuple[bytes, int]], *, owner: Owner | None = None) -> None:
    """Replace several files (path: data and mode): all are written beside first, then renamed back to back.

    What can fail (for want of space or rights, or since a directory is in the way) fails before the first rename,
    with every file as it was.
    """
    staged: dict[str, str] = {}
    try:
        for path, (data, mode) in files.items():
            staged[path] = _write_beside(path, data, mode, owner)
        for path, temporary in staged.items():
            os.rename(temporary, path)
    except BaseException:
        for temporary in staged.values():
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise
    for directory in {os.path.dirname(path) or "." for path in files}:
        sync_directory(directory)


def _write_beside(path: str, data: bytes, mode: int, owner: Owner | None) -> str:
    """Write a file with a name of its own in the same directory, fsynced, with its final owner and mode."""
    if os.path.isdir(path) and not os.path.islink(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    prefix = f".{os.path.basename(path)}."
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=prefix, suffix=_NEW)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return temporary


def find_leftovers(path: str, *, suffix: str = "") -> list[str]:
    """Find what a run that was killed while it wrote `path` has left beside it: plain files, by their name, that are
    ours or have the owner of `path` already.

    `suffix` is a pattern of what may follow `path` in the name that was written.
    """
    directory, base = os.path.split(path)
    pattern, found = re.compile(rf"\.{re.escape(base)}{suffix}\.[a-z0-9_]{{8}}{re.escape(_NEW)}\Z"), []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        for name in filter(pattern.match, sorted(os.listdir(directory or "."))):
            owners, seen = {os.geteuid()}, os.lstat(os.path.join(directory, name))
            if os.path.lexists(path):
                owners.add(os.lstat(path).st_uid)
            if stat.S_ISREG(seen.st_mode) and seen.st_uid in owners:
                found.append(os.path.join(directory, name))
    return found


def make_directory(path: str, *, mode: int = 0o700, owner: Owner | None = None) -> None:
    """Make a directory and its parents where they are missing; one that exists keeps its owner and mode."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path.rstrip("/")) or "."
    make_directory(parent, mode=mode, owner=owner)
    umask = os.umask(0) if mode & 0o077 else None  # it has its mode from the start: one killed here leaves no other
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return
    finally:
        if umask is not None:
            os.umask(umask)
    if owner is not None:
        os.chown(path, *owner)
    sync_directory(parent)


def point_link(link: str, target: str) -> None:
    """Make `link` a symbolic link to `target` (relative to its directory) with one rename."""
    directory = os.path.dirname(link)
    temporary = os.path.join(directory, f".{os.path.basename(link)}.{os.getpid()}")
    make_link(temporary, target)
    os.rename(temporary, link)
    sync_directory(directory)


def make_link(link: str, target: str) -> None:
    """Make a symbolic link, in place of one that a killed run left."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(link)
    os.symlink(target, link)


def remove_tree(path: str) -> None:
    """Remove a directory and what is in it; missing is fine. No link is followed, also none that is put there just
    now: shutil goes by descriptors."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def remove_any(path: str) -> None:
    """Remove a file, a link or a whole directory; missing is fine."""
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def has_mode(path: str, mode: int, owner: Owner | None = None) -> bool:
    """Tell whether a file (or directory) has just this mode and, where given, this owner."""
    found = os.stat(path)
    if stat.S_IMODE(found.st_mode) != mode:
        return False
    if owner is None:
        return True
    return all(wanted in (-1, actual) for wanted, actual in zip(owner, (found.st_uid, found.st_gid)))
