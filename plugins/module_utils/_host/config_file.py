# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pomerium's configuration on the host: read, replaced with a backup, and put back.

Its directory belongs to the user pomerium where the package made it, so root writes where a compromised Pomerium may
rename, link and replace at any time. So the directory is held open, and every name is looked up in it: whatever is
put in its place meanwhile, no file is written, renamed or removed elsewhere.
Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import typing as t

from .. import _files
from .backups import make_backup, prune_backups
from .look import read_config


class ConfigFile:
    """The configuration, from the moment it is read on in one directory; use it as a context manager."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.backup: str | None = None
        self._directory, self._name = os.path.split(path)
        self._descriptor: int | None = None
        self._before: tuple[bytes, os.stat_result] | None = None

    def __enter__(self) -> ConfigFile:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def is_still(self, sha256: str) -> bool:
        """Read it, and tell whether it has this digest; one that cannot be read has none."""
        self._before = None
        with contextlib.suppress(OSError):
            if self._descriptor is None:
                self._descriptor = os.open(self._directory or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._before = read_config(self._here(self._name))
        return self._before is not None and hashlib.sha256(self._before[0]).hexdigest() == sha256

    def replace(self, data: bytes) -> None:
        """Replace what was read last by `data`, with mode and owner of the very file that was read; keep a backup."""
        if self._before is None:
            return
        before, found = self._before
        how: dict[str, t.Any] = {"mode": found.st_mode & 0o777, "owner": (found.st_uid, found.st_gid)}
        with self._named():
            backup = make_backup(self._here(self._name), before, **how)
            self.backup = os.path.join(self._directory, os.path.basename(backup))
            _files.write_file(self._here(self._name), data, **how)

    def put_back(self) -> None:
        """Undo `replace` as far as it came, with one rename, since the disk may be full; no backup is left."""
        if self.backup is None or self._before is None:
            return
        backup = self._here(os.path.basename(self.backup))
        with self._named():
            if self._is_as_before():
                os.unlink(backup)
            else:
                os.rename(backup, self._here(self._name))
            _files.sync_directory(self._here(""))

    def prune(self) -> None:
        """Remove all but the last backups, where there is a new one."""
        if self.backup is not None:
            with self._named():
                prune_backups(self._here(self._name))

    def _is_as_before(self) -> bool:
        with contextlib.suppress(OSError):
            return self._before is not None and _files.read_plain(self._here(self._name))[0] == self._before[0]
        return False

    def _here(self, name: str) -> str:
        """Name a file in the directory that is held, no matter what has its path now."""
        return f"/proc/self/fd/{self._descriptor}/{name}"

    @contextlib.contextmanager
    def _named(self) -> t.Iterator[None]:
        """Let errors name the configuration, not our descriptor."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from error
