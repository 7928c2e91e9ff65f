# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make Pomerium serve what is installed, and prove it: watch, then SIGHUP, then restart, as far as is allowed.

Pomerium >= 0.13 picks files up by itself within 200 ms, so most often watching is all. A restart comes last and never
before the pair is verified: Pomerium is fatal at a start with a bad one.
Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import typing as t
from dataclasses import dataclass, replace

from .._wait import until
from .probe import Served, Target, probe
from .process import Process, run_command

WATCH_SECONDS = 3.0
"""How long a change is given before the next measure is taken."""

RESTART_SECONDS = 30.0
"""How long a start is given at least: Pomerium unpacks its Envoy and is ready after 1 to 2 s on an idle machine."""

FIRST_WITH_SIGHUP = (0, 29)
"""Older ones have no handler: the signal would end them."""


Measure = t.Callable[[], str]
"""Does it, and says why where it could not; '' where it was done."""


@dataclass(frozen=True)
class Proof:
    """How it ended: what was served last, the measure that was taken last, what the unit's journal says of it, and
    which measures could not be taken, with the reason."""

    served: Served
    reloaded: str
    journal: str = ""
    untried: tuple[str, ...] = ()


class Prover:
    """Proves leaves at one target. `reload` is auto, signal, restart or none."""

    def __init__(self, process: Process, target: Target, *, reload: str, within: float) -> None:
        self._process = process
        self._target = target
        self._reload = reload
        self._within = within
        self._asked_at = 0.0

    def look(self) -> Served:
        """See what is served now."""
        return probe(self._target, within=min(self._within, 5.0))

    def prove(self, sha256: str | None, before: Served) -> Proof:
        """Wait for this leaf, taking one measure after the other; the caller judges what was seen last."""
        measures, untried = self._measures(before)
        proof = Proof(before, "none")
        if self._process.state == "running" or before.state != "not_listening":
            proof = Proof(self._watch(sha256, last=not measures), "none")
        for number, (name, measure) in enumerate(measures):
            if sha256 is not None and proof.served.sha256 == sha256:
                break
            obstacle = measure()
            if obstacle:
                untried.append(f"{name}: {obstacle}")
                continue
            is_start = name in ("restart", "start")
            within = max(self._within, RESTART_SECONDS) if is_start else None
            served = self._watch(sha256, last=number == len(measures) - 1, within=within)
            proof = Proof(served, name, self._journal() if is_start and served.sha256 != sha256 else "")
        if measures and proof.reloaded == "none" and proof.served.sha256 != sha256:  # none of them could be taken
            proof = Proof(self._watch(sha256, last=True), "none")
        return replace(proof, untried=tuple(untried))

    def apply_unproven(self, before: Served) -> Proof:
        """Take the one measure that was asked for, where nobody wants a proof."""
        wanted: dict[str, Measure] = {"signal": self._hang_up, "restart": self._restart}
        name, measure = self._reload, wanted.get(self._reload)
        if self._process.is_startable and self._reload in ("auto", "restart"):
            name, measure = "start", self._start
        if measure is None:
            return Proof(before, "none")
        obstacle = measure()
        return Proof(before, "none", untried=(f"{name}: {obstacle}",)) if obstacle else Proof(before, name)

    def _measures(self, before: Served) -> tuple[list[tuple[str, Measure]], list[str]]:
        """List the measures, and those that are out of the question, with the reason.

        A unit that is down through no operator's wish is started. A running one that listened nowhere is not
        restarted: it may be served at an address that we do not know.
        """
        is_out = f"reload is {self._reload}"
        may_signal, may_restart = self._reload in ("auto", "signal"), self._reload in ("auto", "restart")
        if self._process.is_startable:
            return ([("start", self._start)], []) if may_restart else ([], [f"start: {is_out}"])
        if self._process.pid is None:
            return [], []
        no_unit = "" if self._process.unit else f"no unit runs process {self._process.pid}"
        was_silent = "nothing listened before" if before.state == "not_listening" else ""
        found: list[tuple[str, Measure, str]] = [
            ("signal", self._hang_up, "" if may_signal else is_out),
            ("restart", self._restart, (no_unit or was_silent) if may_restart else is_out),
        ]
        possible = [(name, measure) for name, measure, obstacle in found if not obstacle]
        return possible, [f"{name}: {obstacle}" for name, _measure, obstacle in found if obstacle]

    def _watch(self, sha256: str | None, *, last: bool, within: float | None = None) -> Served:
        """Shake hands until the leaf is there, the time is over, or a unit that we started has failed."""
        seconds = within if within is not None else (self._within if last else min(self._within, WATCH_SECONDS))
        has_failed = self._has_failed if within is not None else lambda: False
        waited = until(
            lambda: (self.look(), has_failed()),
            reached=lambda last: (sha256 is not None and last[0].sha256 == sha256) or last[1],
            within=seconds,
            first=0.0,
            every=0.1,
        )
        return waited.last[0]

    def _hang_up(self) -> str:
        """Send SIGHUP, which ends a Pomerium that is too old: one that does not tell its version gets it only where
        the user asked for it."""
        pid = self._current_pid()
        if pid is None:
            return "it has ended"
        version = self._version(pid)
        if version is None and self._reload == "auto":
            return "this Pomerium does not tell its version, and one before 0.29 would end by it"
        if version is not None and version < FIRST_WITH_SIGHUP:
            return f"Pomerium {version[0]}.{version[1]} would end by it; since 0.29 it reloads"
        try:
            os.kill(pid, signal.SIGHUP)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _current_pid(self) -> int | None:
        """Give the process as it is now: a restart in between made it another one."""
        if self._process.unit is None:
            return self._process.pid
        _status, output = run_command("systemctl", "show", "--property", "MainPID", "--", self._process.unit)
        shown = output.partition("=")[2].strip()
        return int(shown) if shown.isdigit() and shown != "0" else None

    def _version(self, pid: int) -> tuple[int, int] | None:
        """Ask the running binary for its version, as the user it runs as; None where it does not tell."""
        uid, gid = self._process.uid, self._process.gid
        if uid is None or gid is None:
            return None

        def become() -> None:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(gid)
                os.setuid(uid)

        try:
            done = subprocess.run(  # pylint: disable=ansible-bad-function  # no AnsibleModule in this layer
                [f"/proc/{pid}/exe", "--version"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=10,
                check=False,
                cwd="/",
                env={},
                preexec_fn=become,  # noqa: PLW1509 (one thread; `user=` needs Python 3.9)
            )
        except (OSError, subprocess.SubprocessError):
            return None
        found = re.search(rb"pomerium\D{0,20}?(\d+)\.(\d+)", done.stdout)
        return None if found is None else (int(found.group(1)), int(found.group(2)))

    def _restart(self) -> str:
        return self._ask("systemctl", "restart", "--no-block", "--", self._process.unit or "")

    def _start(self) -> str:
        """Start it, also where systemd has given up on it. One shell does both, and outlives us: a unit that is no
        longer failed and not yet started is as one that an operator stopped, and the next run would leave it down."""
        script = 'systemctl reset-failed -- "$1"; exec systemctl start --no-block -- "$1"'
        return self._ask("sh", "-c", script, "sh", self._process.unit or "")

    def _ask(self, *command: str) -> str:
        """Have systemd queue a job and return: the deadline is ours, a unit of type notify would block to its own."""
        self._asked_at = time.time()
        status, output = run_command(*command)
        return "" if status == 0 else output.strip() or f"{command[0]} ended with {status}"

    def undo_start(self) -> None:
        """Make a unit that we started failed again, as it was: a start that leads to nothing may go on for long.
        Not by a stop, which is an operator's word, and would keep the next run from starting it."""
        run_command("systemctl", "kill", "--signal=KILL", "--", self._process.unit or "")

    def _has_failed(self) -> bool:
        """Tell whether the unit gave up; while it is being restarted by systemd it has failed as well."""
        _status, output = run_command(
            "systemctl", "show", "--property", "ActiveState,SubState", "--", self._process.unit or ""
        )
        return "ActiveState=failed" in output or "SubState=auto-restart" in output

    def _journal(self) -> str:
        """Quote the end of the unit's journal since we started it: why it died."""
        since = f"@{int(self._asked_at)}"
        status, output = run_command(
            "journalctl", "--unit", self._process.unit or "", "--since", since,
            "--lines", "8", "--output", "cat", "--no-pager", "--quiet",
        )  # fmt: skip
        return " | ".join(line[:300] for line in output.splitlines()) if status == 0 else ""
