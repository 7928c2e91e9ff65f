# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a bundle may lie on a host, and whose it is.

Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import typing as t

from .. import _files
from .._errors import BadInput, UserError
from .process import Process


def check_directory(directory: str) -> None:
    """Refuse a directory that somebody else could replace under our hands: every directory above it (and it, where it
    exists) belongs to root or to us and is not writable by others, save with the sticky bit; itself is no link."""
    if not os.path.isabs(directory) or os.path.normpath(directory) != directory.rstrip("/"):
        raise BadInput("directory", directory, "not an absolute, plain path")
    if os.path.islink(directory.rstrip("/")):
        raise BadInput("directory", directory, "a symbolic link, and links are not followed", remedy=_ELSEWHERE)
    paths = set(_prefixes(directory)) | set(_prefixes(os.path.realpath(directory)))
    for path in sorted(paths):
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(path)
            if not stat.S_ISLNK(found.st_mode) and not stat.S_ISDIR(found.st_mode):
                raise BadInput("directory", directory, f"{path} is not a directory", remedy=_ELSEWHERE)
            why = _weakness(found)
            if why:
                raise BadInput("directory", directory, f"{path} {why}", remedy=_ELSEWHERE)


_ELSEWHERE = "Choose one below root's own directories, like /etc/pomerium-tls (/etc/pomerium belongs to Pomerium)."


def _prefixes(path: str) -> t.Iterator[str]:
    while True:
        yield path
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent


def _weakness(found: os.stat_result) -> str | None:
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to {_user_name(found.st_uid)}, who could replace what root writes there"
    if stat.S_ISLNK(found.st_mode) or found.st_mode & stat.S_ISVTX:
        return None
    if found.st_mode & stat.S_IWOTH:
        return "is writable by everybody"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getegid()):
        return f"is writable by the group {found.st_gid}"
    return None


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def choose_owner(owner: str | None, group: str | None, process: Process) -> _files.Owner:
    """Choose uid and gid of what is installed: root (or whoever installs), and the group that Pomerium runs with."""
    uid = _id("owner", owner, lambda name: pwd.getpwnam(name).pw_uid) if owner else os.geteuid()
    if group:
        return uid, _id("group", group, lambda name: grp.getgrnam(name).gr_gid)
    gid = process.gid
    if gid is None:
        with contextlib.suppress(KeyError):
            gid = grp.getgrnam("pomerium").gr_gid
    is_ours = os.geteuid() == 0 or gid in (os.getegid(), *os.getgroups())
    return uid, gid if gid is not None and is_ours else os.getegid()


def _id(option: str, name: str, look_up: t.Callable[[str], int]) -> int:
    if name.isdigit():
        return int(name)
    try:
        return look_up(name)
    except KeyError:
        raise BadInput(option, name, "does not exist on this host", remedy="Create it, or name another.") from None


def make_home(directory: str, name: str, owner: _files.Owner) -> str:
    """Make `directory` (open to see, root's own) and our part of it (open to Pomerium's group only)."""
    check_directory(directory)
    _files.make_directory(directory, mode=0o755)
    home = os.path.join(directory, name)
    ours = (os.geteuid(), owner[1])  # also where the files are somebody else's, who could turn a path under our hands
    for path in (home, os.path.join(home, "versions")):
        _refuse_other(path, stat.S_ISDIR, "no directory of ours (a symbolic link is not followed)")
        _files.make_directory(path, mode=0o750, owner=ours)
        if not _files.has_mode(path, 0o750, ours):
            os.chown(path, *ours)
            os.chmod(path, 0o750)
    _refuse_other(os.path.join(home, "current"), stat.S_ISLNK, "no link of ours")
    return home


def _refuse_other(path: str, is_right: t.Callable[[int], bool], what: str) -> None:
    if os.path.lexists(path) and not is_right(os.lstat(path).st_mode):
        raise UserError("Something else is in the way", name=path, answer=what, remedy="Move it away, and run again.")
