# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hold: an operator's word that this host stays at the version before.

The hold is written before `current` goes back, and put aside before `current` goes forward. So a run that is killed
in between leaves either a hold whose version is not the current one, which the next run finishes, or no hold, and the
next run installs, as it was asked to.
Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .. import _files
from .record import FORMAT, read_record, write_record

NAME = "held.json"
LIFTED = f".{NAME}.lifted"
"""Where a hold is until the install that lifts it is proven."""


def read_hold(home: str) -> dict[str, t.Any] | None:
    """Read the hold: `version` (that is held), `left`, `since` and `by`; None where there is none."""
    return read_record(home, NAME)


class Hold:
    """What one install does about it: take a hold (`wanted`), lift the one that is there, or respect it."""

    def __init__(
        self, home: str, *, wanted: t.Mapping[str, t.Any] | None, is_lifted: bool, current: str | None
    ) -> None:
        self._home = home
        self._path = os.path.join(home, NAME)
        self._aside = os.path.join(home, LIFTED)
        self._wanted = None if wanted is None else {"format": FORMAT, **wanted}
        self._is_lifted = is_lifted
        self._current = current
        self._found = read_hold(home)

    @property
    def is_as_seen(self) -> bool:
        """Tell whether the decision still stands: nobody else has taken, lifted or followed a hold meanwhile."""
        if self._wanted is None:
            return self._found is None or self._is_lifted
        return self._found == self._wanted or (self._found is None and self._current == self._wanted["left"])

    @property
    def is_changed(self) -> bool:
        """Tell whether there is a hold afterwards where there was none, or the other way round."""
        return self._found is None if self._wanted is not None else self._is_put_aside

    @property
    def _is_put_aside(self) -> bool:
        return self._is_lifted and self._found is not None

    def begin(self) -> None:
        """Take or lift it; called before the switch."""
        if self._wanted is not None:
            write_record(self._home, self._wanted, NAME)
        elif self._is_put_aside:
            self._rename(self._path, self._aside)

    def undo(self) -> None:
        """Put back what was there, after `current` was; a hold that was followed already stays."""
        is_followed = self._found is not None and self._found["version"] == self._current
        with contextlib.suppress(FileNotFoundError):  # it failed before it was taken or lifted
            if self._is_put_aside:
                self._rename(self._aside, self._path)
            elif self._wanted is not None and not is_followed:
                os.unlink(self._path)

    def finish(self) -> None:
        """Forget what was lifted."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._aside)

    def _rename(self, path: str, other: str) -> None:
        os.rename(path, other)
        _files.sync_directory(self._home)
