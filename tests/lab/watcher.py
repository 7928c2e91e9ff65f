# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watchers: look again and again, as fast as they can, at what others of a machine may read."""

from __future__ import annotations

import abc
import contextlib
import threading
import typing as t
from pathlib import Path

W = t.TypeVar("W", bound="Watcher")


class Watcher(abc.ABC):
    """Looks on a thread of this process while in its `with` block."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=type(self).__name__, daemon=True)

    def __enter__(self: W) -> W:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        self._thread.join(timeout=10)

    def _watch(self) -> None:
        while not self._end.wait(0.002):
            self._look()

    @abc.abstractmethod
    def _look(self) -> None:
        """Look once."""


class ProcessWatcher(Watcher):
    """Looks at arguments and environment of all processes; `seen` is all that it has read.

    Processes that are there before are not looked at again, only what is started meanwhile.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()
        self._earlier = {*_processes()}

    def _look(self) -> None:
        for process in {*_processes()} - self._earlier:
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):  # it has ended, or is somebody else's
                    self.seen.add((process / name).read_bytes())


def _processes() -> t.Iterator[Path]:
    return Path("/proc").glob("[0-9]*")
