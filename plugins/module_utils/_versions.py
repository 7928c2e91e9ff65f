# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Versions of a set of files that change together: `versions/<id>/` holds them, the link `current` names one.

The same tree lies in the controller's store and on every host. A version is complete before it has its name, and one
rename of `current` changes certificate, key and CA together: there is no instant with a mismatched pair. `current` is
relative, so that it resolves alike for a process that sees the directory elsewhere (a container).
Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t
from dataclasses import dataclass

from . import _files


@dataclass(frozen=True)
class Content:
    """What one file of a version holds, and the mode it has from the start."""

    data: bytes
    mode: int = 0o600


class Versions:
    """The versions below one directory; `owner` and `directory_mode` are those of what is made here.

    Directories stay with whoever makes them, and get the group only: the owner of the files must not be able to put
    something else where we write or remove next.
    """

    def __init__(self, root: str, *, owner: _files.Owner | None = None, directory_mode: int = 0o700) -> None:
        self.root = root
        self.owner = owner
        self._directory_owner = None if owner is None else (-1, owner[1])
        self.directory_mode = directory_mode
        self.link = os.path.join(root, "current")
        self.folder = os.path.join(root, "versions")
        self._way_back = os.path.join(root, ".current.back")

    def path(self, version: str) -> str:
        """Name the directory of a version."""
        return os.path.join(self.folder, version)

    def names(self) -> list[str]:
        """List the complete versions, oldest first (their names begin with their time)."""
        try:
            return sorted(name for name in os.listdir(self.folder) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def current(self) -> str | None:
        """Name the version in use, or None where there is none (or it is gone)."""
        try:
            version = os.path.basename(os.readlink(self.link))
        except OSError:
            return None
        return version if os.path.isdir(self.path(version)) else None

    def holds(self, version: str, files: t.Mapping[str, Content]) -> bool:
        """Tell whether a version has just these contents, modes and owner."""
        directory = self.path(version)
        try:
            return sorted(os.listdir(directory)) == sorted(files) and all(
                _files.read_bytes(os.path.join(directory, name)) == content.data
                and _files.has_mode(os.path.join(directory, name), content.mode, self.owner)
                for name, content in files.items()
            )
        except OSError:
            return False

    def add(self, version: str, files: t.Mapping[str, Content]) -> str:
        """Write a version, fsynced, and return its name: one with these contents is used again, a damaged one is
        left alone and the new one gets the next free suffix (`.1`, `.2`), since `current` may point at it."""
        _files.make_directory(self.folder, mode=self.directory_mode, owner=self._directory_owner)
        free, suffix = version, 0
        while os.path.lexists(self.path(free)):
            if self.holds(free, files):
                return free
            suffix += 1
            free = f"{version}.{suffix}"
        temporary = tempfile.mkdtemp(dir=self.folder, prefix=".new-")
        try:
            self._fill(temporary, files)
            os.rename(temporary, self.path(free))
        except BaseException:
            _files.remove_tree(temporary)
            raise
        _files.sync_directory(self.folder)
        return free

    def _fill(self, directory: str, files: t.Mapping[str, Content]) -> None:
        for name, content in files.items():
            path = os.path.join(directory, name)
            _files.write_file(path, content.data, mode=content.mode, owner=self.owner)
        if self._directory_owner is not None:
            os.chown(directory, *self._directory_owner)
        os.chmod(directory, self.directory_mode)

    def switch(self, version: str) -> None:
        """Make a version the current one, with one rename."""
        _files.point_link(self.link, os.path.join("versions", version))

    def keep_way_back(self) -> None:
        """Have the link ready that `switch_back` renames, so that going back needs no space on the disk."""
        if os.path.lexists(self.link):
            _files.make_link(self._way_back, os.readlink(self.link))

    def switch_back(self) -> None:
        """Make `current` what it was at `keep_way_back`, with one rename."""
        try:
            os.rename(self._way_back, self.link)
        except FileNotFoundError:  # there was none then
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.link)
        _files.sync_directory(self.root)

    def prune(self, keep: int, order: t.Sequence[str] | None = None) -> list[str]:
        """Remove all but the last `keep` versions (in `order`, or of their names) and the current one, and what a
        killed run left; name them."""
        names = self.names() if order is None else order
        gone = [name for name in names[: max(0, len(names) - keep)] if name != self.current()]
        for name in gone:
            _files.remove_tree(self.path(name))
        if names:
            self.sweep()
        return gone

    def leftovers(self) -> list[str]:
        """Find what a run that was killed has left here."""
        found = []
        for directory, start in ((self.folder, ".new-"), (self.root, ".current.")):
            with contextlib.suppress(FileNotFoundError):
                names = sorted(os.listdir(directory))
                found += [os.path.join(directory, name) for name in names if name.startswith(start)]
        return found

    def sweep(self) -> None:
        """Remove it."""
        for path in self.leftovers():
            _files.remove_any(path)
