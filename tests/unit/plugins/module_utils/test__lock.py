# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time: who holds the lock is named, and a killed holder holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils import _lock
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._lock import hold_lock

HOLDER = (
    f"import sys; from {hold_lock.__module__} import *\nwith hold_lock(sys.argv[1], within=1): input(print('held'))"
)


def test_a_second_run_waits_and_then_names_the_first(tmp_path: Path) -> None:
    path = str(tmp_path / "not there yet/lock")
    with hold_lock(path, within=1), pytest.raises(UserError, match=rf"process {os.getpid()}\)"):  # noqa: SIM117
        with hold_lock(path, within=0.3):
            raise AssertionError("two hold it")
    with hold_lock(path, within=0):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], env=environment, text=True, **pipes) as holder:  # type: ignore[call-overload]
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"process {holder.pid}\)"), hold_lock(path, within=0):
            raise AssertionError("two hold it")
        holder.kill()
    with hold_lock(path, within=0):
        pass


def test_a_lock_is_never_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="The lock file cannot be written"), hold_lock(str(tmp_path / "lock"), within=0):
        raise AssertionError("it followed")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_without_locks_is_told_from_a_lock_that_is_held(tmp_path: Path) -> None:
    """Else a run would wait for its time-out for a run that there is not."""
    descriptor = os.open(tmp_path, os.O_PATH)  # of the kind that takes no lock
    with pytest.raises(UserError, match="The lock cannot be taken"):
        _lock._take(descriptor, "lock")
    os.close(descriptor)
