# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One child process of the lab: logged to a file, ready or failed by a deadline, stopped by the id it started with."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.waiting import DeadlinePassed, until

LEASH = Path(__file__).with_name("leash.py")


class StartFailed(RuntimeError):
    """A part of the lab did not come up; the message ends with its log."""


class Child:
    """A process that is ours: it dies with us, and nothing else is ever signalled."""

    def __init__(
        self,
        name: str,
        command: t.Sequence[str | Path],
        *,
        log_path: Path,
        environment: t.Mapping[str, str],
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log_path = log_path
        self._environment = dict(environment)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id; the command keeps the id that the leash was started with."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return None if self._process is None else self._process.poll()

    @property
    def log(self) -> str:
        """All that the process has written so far, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self) -> None:
        """Start the command; the log is appended to. Ready or not is for `wait_until` to say."""
        if self.is_running:
            raise RuntimeError(f"{self.name} is running already, pid {self.pid}")
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                leashed(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._directory,
                start_new_session=True,  # Ctrl-C is for the lab, which then stops its parts in order
            )

    def wait_until(self, condition: t.Callable[[], t.Any], *, what: str = "it to be ready", within: float = 15) -> None:
        """Wait for `condition`; raises StartFailed with the log when the process ends before, or the time is over."""

        def ready_or_dead() -> bool:
            return not self.is_running or bool(condition())

        try:
            until(ready_or_dead, what=what, within=within)
        except DeadlinePassed as error:
            log = self.log
            self.stop()
            raise StartFailed(f"{self.name} ({' '.join(self.command)}): {error}\nIts log:\n{log}") from None
        if not self.is_running:
            raise StartFailed(
                f"{self.name} ({' '.join(self.command)}) ended with {self.exit_code} while waiting for {what}."
                f"\nIts log:\n{self.log}"
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process, and only while it is our child."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self, *, within: float = 5.0) -> None:
        """SIGTERM, then SIGKILL after `within` seconds; a process that is gone already is fine."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(within)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def leashed(command: t.Sequence[str]) -> list[str]:
    """The command that runs `command` under its own pid until we end, however we end."""
    return [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *command]


def kill_tree(process: subprocess.Popen[t.Any]) -> None:
    """SIGKILL a child of ours and all that it has started, sessions of their own included (Ansible's workers)."""
    process.send_signal(signal.SIGSTOP)  # so that it starts no more while we look
    for pid in [*descendants(process.pid), process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """All that a process has started, and what these have started."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    children = [int(child) for text in lists for child in text.split()]
    return [*children, *(one for child in children for one in descendants(child))]


def plain_environment(**extra: str) -> dict[str, str]:
    """What a part of the lab needs of our environment, so that a user's own settings do not leak into it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "TZ") if name in os.environ}
    return {"PATH": os.defpath, **kept, **extra}
