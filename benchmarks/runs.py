# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run of ansible-playbook over machines, measured: time, CPU and memory of the controller, traffic, round trips.

Each run begins without a connection to any host, as one on a schedule does.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
import typing as t
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.process import descendants, leashed

if t.TYPE_CHECKING:
    from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine
    from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import Ansible

TICKS = os.sysconf("SC_CLK_TCK")
ON_CONTROLLER = ("acme_certificate",)
Seen = t.TypeVar("Seen")
MODULE = re.compile(r"Using module file \S*/(\w+)\.py")


@dataclass(frozen=True)
class Cost:
    """What a run cost: wall time and CPU of the controller in seconds (SSH's clients included), and the bytes that
    went over the wires of all hosts, both ways."""

    wall: float
    cpu: float
    traffic: int


@dataclass(frozen=True)
class Count:
    """What was counted in a run of its own: how often each module was executed on hosts, how many commands went over
    SSH, the largest memory (PSS of all its processes) in bytes; and what it cost, with being counted."""

    modules: Counter[str]
    commands: int
    memory: int
    cost: Cost


class Runner:
    """Runs playbooks over these machines. The environment says how, `ANSIBLE_FORKS` for one."""

    def __init__(self, ansible: Ansible, machines: t.Sequence[Machine], environment: t.Mapping[str, str]) -> None:
        self._ansible, self._machines = ansible, machines
        self._environment = {**ansible.environment, **environment}

    def run(self, playbook: str, *arguments: str) -> Cost:
        """Run it and measure; raises RuntimeError with its output where it fails."""
        return self._measure(lambda _process: None, playbook, *arguments)[0]

    def count(self, playbook: str, *arguments: str) -> Count:
        """Run it once more to count, at a verbosity that tells of each execution."""
        cost, memory, output = self._measure(_largest_memory, playbook, *arguments, "-vvv")
        modules = Counter(name for name in MODULE.findall(output) if name not in ON_CONTROLLER)
        return Count(modules, output.count("> SSH: EXEC "), memory, cost)

    def _measure(
        self, watch: t.Callable[[subprocess.Popen[bytes]], Seen], playbook: str, *arguments: str
    ) -> tuple[Cost, Seen, str]:
        """Run it, watched from its start to its end; what it cost, what was seen, and what it printed."""
        for machine in self._machines:
            machine.hang_up()
        before = self._traffic()
        started = time.monotonic()
        process, log = self._begin(playbook, *arguments)
        seen = watch(process)
        _pid, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output = self._check(process, log)
        masters = sum(_cpu(pid) for machine in self._machines for pid in machine.connections())
        return Cost(wall, used.ru_utime + used.ru_stime + masters, self._traffic() - before), seen, output

    def _begin(self, playbook: str, *arguments: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = self._ansible.home / "benchmark.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                leashed(self._ansible.command(playbook, *arguments)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._ansible.home,
                start_new_session=True,
            )
        return process, log

    def _check(self, process: subprocess.Popen[bytes], log: Path) -> str:
        output = log.read_text(errors="replace")
        if process.returncode != 0:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}\n{output[-5000:]}")
        return output

    def _traffic(self) -> int:
        return sum(machine.traffic for machine in self._machines)


def _cpu(pid: int) -> float:
    """CPU time of one process in seconds, without its children's."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _largest_memory(process: subprocess.Popen[bytes]) -> int:
    """Look four times a second until the end, and give the largest sum of PSS that was seen."""
    largest = 0
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        largest = max(largest, sum(_memory(pid) for pid in [process.pid, *descendants(process.pid)]))
        time.sleep(0.25)
    return largest


def _memory(pid: int) -> int:
    try:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:  # it has ended
        return 0
    return int(found.group(1)) * 1024 if found else 0
