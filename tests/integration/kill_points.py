# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kill the host's half between any two system calls that change something, from outside: what the kill tests share.

A first run under strace lists the calls that change something. Then, for each of them, the host's half does the same
again, and strace kills it with SIGKILL as it enters that call (a call that is entered so is not carried out). The
product knows nothing of it. The controller's half is that of the action plugin, the way to the host shorter than SSH.

The n-th call of a kind must be the same one in every run, so none is counted that a look at what is served makes, of
which there are more or fewer. Among these is openat: before one that makes a file, the process is killed as it leaves
the change before, by SIGUSR1, which nobody handles: it ends a process as SIGKILL does, but once its call is done.
"""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
import typing as t
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.options import CERTIFICATE
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._action import PomeriumAction
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._back import Back
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._bundle import Sources, make_bundle
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._install import Install
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._remote import Host
from ansible_collections.zerotrust.pomerium.tests.integration import warm_modules
from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import MODULES, ask, result_of
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Issued
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine

FORKS = ("fork", "vfork", "clone", "clone3")
CALLS = (
    *("openat", "write", "pwrite64", "ftruncate", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "rename", "renameat", "renameat2"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "lchown"),
    *("kill", *FORKS, "execve", "exit_group"),
)
"""What changes files, or signals or starts a process; the end is there to kill after the last change."""

TELLS_SYSTEMD = re.compile(r"\bsystemctl\b.*\b(start|restart|kill)\b")
"""What is run to change something; all else that is run asks."""

TRACE = "/run/kill-trace"
HALF = "pomerium_bundle"
SOCKET = "/run/lab-host-half"
STRACE = ("-y", "-s", "100", "-o", TRACE)
LINE = re.compile(r"(?:(\d+) +)?(\w+)\((.*)")
UNIT = """\
[Service]
Environment=PYTHONPATH=/opt/lab/collections:/opt/lab/packages LC_ALL=C.UTF-8
ExecStart={python} -B -m {warm} {socket} {half}
"""


SAVE = "rm -rf /saved && mkdir /saved && cp -a /etc/pomerium /saved && { cp -a /etc/pomerium-tls /saved || true; }"
RESTORE = """
for name in pomerium pomerium-tls; do
    rm -rf /etc/$name
    if [ -e /saved/$name ]; then cp -R --preserve=mode,ownership,links /saved/$name /etc/$name; fi
done
"""
"""Times are new, so that Pomerium sees that the files are others."""


def save(machine: Machine) -> None:
    """Keep a copy of a machine's configuration, and of what is installed there."""
    machine.run("sh", "-c", SAVE)


def restore(machine: Machine, *scripts: str) -> None:
    """Bring that back, and run these."""
    machine.run("sh", "-c", "\n".join([RESTORE, *scripts]))


@dataclass(frozen=True)
class Call:
    """The `number`-th system call `name` of the process; `line` is what strace says of it, without what varies, and
    `program` what a process that it starts executes."""

    name: str
    number: int
    line: str
    program: str = ""

    @property
    def is_change(self) -> bool:
        if self.name in FORKS:
            return TELLS_SYSTEMD.search(self.program) is not None
        is_answer = self.line.startswith("write(<socket:")
        return "O_CREAT" in self.line if self.name == "openat" else not is_answer


@dataclass(frozen=True)
class Point:
    """Where it is killed: as it enters this call (by SIGKILL), or as it leaves it (by SIGUSR1)."""

    call: Call
    signal: t.Literal["KILL", "USR1"]

    def __str__(self) -> str:
        return f"{'before' if self.signal == 'KILL' else 'after'} {self.call.line} {self.call.program}".strip()


class Route:
    """What `Host` needs of an action plugin: each step runs on a machine, `apply` under strace where that is asked."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._connection = SimpleNamespace(_play_context=SimpleNamespace(no_log=False))
        self._discovered_interpreter_key: str | None = None
        self._discovered_interpreter = None
        self.strace: list[str] = []
        self.applied: dict[str, t.Any] = {}
        self._start()

    def _execute_module(self, *, module_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
        is_apply = module_args["step"] == "apply"
        if is_apply:
            self.applied = module_args
        return result_of(self.run(module_args, self.strace if is_apply else []))

    def run(self, arguments: dict[str, t.Any], strace: t.Sequence[str]) -> str:
        """Run the module there; what it prints."""
        return ask(f"{self._machine.root}{SOCKET}", HALF, arguments, strace=strace)

    def _start(self) -> None:
        """Start the host's half where no other route has; it goes with the machine."""
        unit = Path(SOCKET).name
        if self._machine.show("ActiveState", unit) == "active":
            return
        text = UNIT.format(
            python=self._machine.python, warm=warm_modules.__name__, socket=SOCKET, half=f"{MODULES}.{HALF}"
        )
        self._machine.write(f"/run/systemd/system/{unit}.service", text)
        self._machine.run("systemctl", "start", unit)


class Installer:
    """Installs on one machine, as pomerium_certificate does, and can be killed while it does so."""

    def __init__(self, machine: Machine, **options: t.Any) -> None:
        self.machine = machine
        self._options = options
        self._route = Route(machine)
        self._watched: dict[str, t.Any] = {}

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
        """Do it once, to whatever end, and list where the host's half of it can be killed."""
        self._route.strace = [*STRACE, "-f", f"--trace={','.join(known_calls())}"]
        try:
            with contextlib.suppress(UserError):  # a failed install is a result like another
                work()
        finally:
            self._route.strace = []
        self._watched = self._route.applied
        return find_points(read_calls(self._trace()))

    def kill(self, point: Point) -> None:
        """Do on the host what `points` has seen there, and kill it at this point. Raises AssertionError where it was
        killed at another one, or not at all."""
        call, number = point.call.name, point.call.number
        self._route.run(
            self._watched,
            [*STRACE, f"--trace={call}", f"--inject={call}:signal={point.signal}:when={number}"],
        )
        *lines, end = self._trace()
        last = read_calls(lines)[-1:]
        assert f"killed by SIG{point.signal}" in end, f"{point}: {end}"
        assert last == [replace(point.call, program="")], f"killed at {last}, not {point}"

    def _trace(self) -> list[str]:
        return Path(f"{self.machine.root}{TRACE}").read_text().splitlines()

    def _validated(self, **options: t.Any) -> dict[str, t.Any]:
        own = {"probe": {"timeout": 2}, **self._options, **options}
        validated = ArgumentSpecValidator(CERTIFICATE["argument_spec"]).validate(own)
        assert not validated.error_messages, validated.error_messages
        return t.cast("dict[str, t.Any]", validated.validated_parameters)


def read_calls(trace: t.Iterable[str]) -> list[Call]:
    """Read what the process did that is the first one to be seen, and what others execute that it has started."""
    calls: list[Call] = []
    counts: Counter[str] = Counter()
    first = None
    for number, match in enumerate(filter(None, map(LINE.match, trace))):
        process, name, rest = match.groups()
        first = process if number == 0 else first
        if name == "execve":
            if calls and calls[-1].name in FORKS and not calls[-1].program:
                calls[-1] = replace(calls[-1], program=" ".join(re.findall(r'"(.*?)"', rest)[1:]))
        elif process == first:
            counts[name] += 1
            calls.append(Call(name, counts[name], _without_what_varies(f"{name}({rest}")))
    return calls


def find_points(calls: t.Iterable[Call]) -> list[Point]:
    """Find where to kill to see each state between two changes, and how it ends after the last one.

    What was told to change by itself, Pomerium or systemd, is at work from then on: so as soon as that is told, too.
    """
    points: list[Point] = []
    change: Call | None = None
    fork: Call | None = None
    for call in calls:
        is_first_since_told = call.name in FORKS and fork is not None and fork.is_change
        if change is not None and call.is_change and (change.name == "kill" or call.name == "openat"):
            points.append(Point(change, "USR1"))
        if is_first_since_told or (call.is_change and call.name != "openat"):
            points.append(Point(call, "KILL"))
        change = call if call.is_change else change
        fork = call if call.name in FORKS else fork
    return points


@functools.cache
def known_calls() -> list[str]:
    """The calls of this kind of processor; strace refuses a name that it does not have."""
    tried = {call: ["strace", "-o", "/dev/null", "-e", f"trace={call}", "true"] for call in CALLS}
    ran = {call: subprocess.run(command, capture_output=True, check=False) for call, command in tried.items()}
    return [call for call, done in ran.items() if done.returncode == 0]


def _without_what_varies(line: str) -> str:
    """Take out of a line random names, times, process ids, contents and results."""
    line = re.split(r"\)\s+= |\s*<unfinished", line)[0].rstrip(") ")
    for pattern, shown in VARYING:
        line = re.sub(pattern, shown, line)
    return line


VARYING = (
    (r"\d{4}-\d\d-\d\dT\d{6}Z", "TIME"),
    (r"\d{8}T\d{6}Z-[0-9a-f]+", "VERSION"),
    (r"\.new-[a-z0-9_]{8}", ".new-RANDOM"),
    (r"\.current\.\d+", ".current.PID"),
    (r"\.[a-z0-9_]{8}\.zerotrust-new", ".RANDOM"),
    (r"^(kill\()\d+", r"\1PID"),
    (r"^(v?fork|clone3?)\(.*", r"\1("),
    (r"^(p?write(64)?\(\d+<[^>]*>).*", r"\1"),
    (r"AT_FDCWD(<[^>]*>)?, ", ""),
    (r"\b\d+<", "<"),
)
