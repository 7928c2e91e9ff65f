# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kill the host's half at a system call of our choice, from outside: what the kill tests share.

A first run under strace lists the calls that change something. Then, for each of them, strace kills the process with
SIGKILL as it enters that call (a call that is entered so is not carried out), so at the n-th point the first n - 1
changes are there and no other. The product knows nothing of it. The controller's half is the one of the action plugin;
only the way to the host is shorter than SSH.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import subprocess
import typing as t
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.options import CERTIFICATE
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._action import PomeriumAction
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._back import Back
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._bundle import Sources, make_bundle
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._install import Install
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._remote import Host
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Issued
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine

CALLS = (
    *("openat", "write", "pwrite64", "ftruncate", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "rename", "renameat", "renameat2"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "lchown"),
    *("kill", "fork", "vfork", "clone", "clone3", "wait4", "exit_group"),
)
"""What changes files, or signals or starts a process; `wait4` and the end are there to kill after such a start."""

TRACE = "/run/kill-trace"
RUNNER = """
import runpy, sys
from ansible.module_utils import basic
basic._ANSIBLE_PROFILE, basic._ANSIBLE_ARGS = "legacy", sys.stdin.buffer.read()
runpy.run_module("ansible_collections.zerotrust.pomerium.plugins.modules.pomerium_bundle", run_name="__main__")
"""
"""Runs the module as AnsiballZ does, without unpacking it each time."""

HOST_PATH = "/etc/pomerium"
LINE = re.compile(r"(\w+)\((.*)")
OPENS_TO_READ = re.compile(r"openat\((?!.*O_CREAT)")
WRITES_ANSWER = re.compile(r"write\([12],")


class Killed(Exception):
    """The host's half was killed, as it was meant to be."""


@dataclass(frozen=True)
class Point:
    """The `number`-th `call` of its kind in the process; `line` is what strace says of it, without what varies."""

    call: str
    number: int
    line: str


class Route:
    """What `Host` needs of an action plugin: each step runs on a machine, `apply` under strace where that is asked."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._connection = SimpleNamespace(_play_context=SimpleNamespace(no_log=False))
        self._discovered_interpreter_key: str | None = None
        self._discovered_interpreter = None
        self.strace: list[str] = []

    def _execute_module(self, *, module_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
        before = self.strace if module_args["step"] == "apply" else []
        environment = ["env", "PYTHONPATH=/opt/lab/collections:/opt/lab/packages", "LC_ALL=C.UTF-8"]
        answer = self._machine.run(
            *environment, *before, self._machine.python, "-B", "-c", RUNNER,
            stdin=json.dumps({"ANSIBLE_MODULE_ARGS": module_args}).encode(), check=False,
        )  # fmt: skip
        found = re.search(r"^\{.*\}$", answer, re.MULTILINE)
        if found is None and before:
            raise Killed(answer)
        assert found is not None, answer
        return t.cast("dict[str, t.Any]", json.loads(found.group()))


class Installer:
    """Installs on one machine, as pomerium_certificate does, and can be killed while it does so."""

    def __init__(self, machine: Machine, **options: t.Any) -> None:
        self.machine = machine
        self._options = options
        self._route = Route(machine)

    def install(self, issued: Issued, **options: t.Any) -> dict[str, t.Any]:
        """Install; raises UserError where that fails."""
        given = self._validated(**options)
        host = Host(self._route, {}, PomeriumAction.host_arguments(given))
        sources = Sources(issued.fullchain_pem, issued.key_pem, None, None, None)
        bundle = make_bundle(sources, expect_names=[], now=issued.certificate.not_valid_before_utc)
        back = Back(given, host, by="test")
        return Install(given, host, bundle, back).run(check=False).returns(diff=False)

    def go_back(self, **options: t.Any) -> dict[str, t.Any]:
        """Go back to the version before, and hold it."""
        given = self._validated(version="previous", **options)
        host = Host(self._route, {}, PomeriumAction.host_arguments(given))
        return Back(given, host, by="test").run(check=False).returns(diff=False)

    def points(self, work: t.Callable[[], t.Any]) -> list[Point]:
        """Do it once under strace, and list where it can be killed: before each change, and after the last one."""
        self._route.strace = ["strace", "-qq", "-o", TRACE, "-e", f"trace={','.join(known_calls())}"]
        try:
            _end(work)
        finally:
            self._route.strace = []
        counts: Counter[str] = Counter()
        found = []
        for line in self._trace():
            match = LINE.match(line)
            if match is None:
                continue
            counts[match.group(1)] += 1
            is_change = not OPENS_TO_READ.match(line) and not WRITES_ANSWER.match(line)
            if is_change and (found or HOST_PATH in line):  # what Ansible does before touches nothing of the host
                found.append(Point(match.group(1), counts[match.group(1)], _without_what_varies(line)))
        return found

    def kill(self, point: Point, work: t.Callable[[], t.Any]) -> None:
        """Do it and kill it as it enters this call. Raises AssertionError where that was another than was meant."""
        self._route.strace = [
            "strace", "-qq", "-o", TRACE, "-e", f"trace={point.call}",
            "-e", f"inject={point.call}:signal=KILL:when={point.number}",
        ]  # fmt: skip
        try:
            _end(work)
        finally:
            self._route.strace = []
        *_before, last, end = self._trace()
        assert "killed by SIGKILL" in end, (point, end)
        assert _without_what_varies(last) == point.line, f"killed at {last}, not at {point.line}"

    def _trace(self) -> list[str]:
        lines = self.machine.run("cat", TRACE).splitlines()
        return [line for line in lines if not line.startswith("---")]

    def _validated(self, **options: t.Any) -> dict[str, t.Any]:
        own = {"probe": {"timeout": 2}, **self._options, **options}
        validated = ArgumentSpecValidator(CERTIFICATE["argument_spec"]).validate(own)
        assert not validated.error_messages, validated.error_messages
        return t.cast("dict[str, t.Any]", validated.validated_parameters)


@functools.cache
def known_calls() -> list[str]:
    """The calls of this kind of processor; strace refuses a name that it does not have."""
    tried = {call: ["strace", "-o", "/dev/null", "-e", f"trace={call}", "true"] for call in CALLS}
    ran = {call: subprocess.run(command, capture_output=True, check=False) for call, command in tried.items()}
    return [call for call, done in ran.items() if done.returncode == 0]


def _end(work: t.Callable[[], t.Any]) -> None:
    """Do it to whatever end: a failed install is a result like another, and so is a kill."""
    with contextlib.suppress(Killed, UserError):
        work()


def _without_what_varies(line: str) -> str:
    """Take out of a line random names, times, process ids and results."""
    line = re.split(r"\)\s+= |\s*<unfinished", line)[0].rstrip(") ")
    for pattern, shown in VARYING:
        line = re.sub(pattern, shown, line)
    return line


VARYING = (
    (r"ansible-moduletmp-[^\"/]+", "ansible-moduletmp"),
    (r"\d{4}-\d\d-\d\dT\d{6}Z", "TIME"),
    (r"\d{8}T\d{6}Z-[0-9a-f]+", "VERSION"),
    (r"\.new-[a-z0-9_]{8}", ".new-RANDOM"),
    (r"\.current\.\d+", ".current.PID"),
    (r"\.[a-z0-9_]{8}\.zerotrust-new", ".RANDOM"),
    (r"^(wait4|kill|v?fork|clone3?|write|pwrite64)\(.*", r"\1("),
    (r"AT_FDCWD, |O_[A-Z|_]+, |, 0[0-7]+$", ""),
)
