# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules of ours, kept warm: each connection to a socket is one run of one of them, whole, in a process of its own.

A run is a fork of a process that has imported everything: it begins within milliseconds, not a second, and strace sees
what the run does and nothing else. Only what Ansible does on the way to the module is left out: that is for plays.
A connection brings what `ask` is given, and gets what the module prints. It ends when the run has ended, and strace has
written all that it saw. Run it with `python -m ansible_collections.zerotrust.pomerium.tests.integration.warm_modules
SOCKET IMPORTED...`; the names are what is imported beforehand.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible.module_utils import basic
from ansible_collections.zerotrust.pomerium.tests.lab.process import Child, descendants, plain_environment
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

MODULES = "ansible_collections.zerotrust.pomerium.plugins.modules"
COLLECTIONS = Path(__file__).parents[5]
LIMIT = 300
"""Seconds after which a run that has not ended is an error."""


def serve(path: str) -> None:
    """Answer each connection by a fork; returns only in the fork that is a run, which is about to end."""
    gc.freeze()  # else the forks copy all that is here as they look for garbage
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        while True:
            connection, _address = listening.accept()
            if os.fork() == 0:
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection, connection.makefile("rb") as received:
        run_apart(connection, **json.load(received))


def run_apart(
    connection: socket.socket,
    module: str,
    arguments: dict[str, t.Any],
    environment: dict[str, str] | None,
    strace: list[str],
) -> None:
    """Run the module in a fork, which waits until it is watched."""
    is_watched, watch = os.pipe()
    process = os.fork()
    if process == 0:
        os.read(is_watched, 1)
        os.dup2(connection.fileno(), 1)
        os.dup2(connection.fileno(), 2)
        if environment is not None:
            os.environ.clear()
            os.environ.update(environment)
        basic._ANSIBLE_PROFILE, basic._ANSIBLE_ARGS = "legacy", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        importlib.import_module(f"{MODULES}.{module}").main()
        raise AssertionError("main returned")
    tracer = attach(strace, process) if strace else None
    os.write(watch, b"\n")
    os.close(watch)
    os.close(is_watched)
    os.waitpid(process, 0)
    if tracer is not None:
        tracer.communicate()
    os._exit(0)


def attach(options: t.Sequence[str], process: int) -> subprocess.Popen[bytes]:
    """Have strace watch a process from now on."""
    tracer = subprocess.Popen(["strace", *options, "-p", str(process)], stderr=subprocess.PIPE)
    said = tracer.stderr.readline() if tracer.stderr else b""
    if b" attached" not in said:
        raise RuntimeError(said.decode())
    return tracer


def ask(
    path: str,
    module: str,
    arguments: t.Mapping[str, t.Any],
    *,
    environment: t.Mapping[str, str] | None = None,
    strace: t.Sequence[str] = (),
) -> str:
    """Have the modules at this socket run one; what it prints. Its environment is theirs where none is given."""
    request = {"module": module, "arguments": arguments, "environment": environment, "strace": strace}
    with until(lambda: _connect(path), what=f"warm modules at {path}") as connection:
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile() as answer:
            return str(answer.read())


def result_of(printed: str) -> dict[str, t.Any]:
    """The result that a module has printed. Raises ModuleDied where there is none: it was killed, or is at fault."""
    found = re.search(r"^\{.*\}$", printed, re.MULTILINE)
    if found is None:
        raise ModuleDied(printed)
    return t.cast("dict[str, t.Any]", json.loads(found.group()))


def _connect(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(LIMIT)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


class ModuleDied(AssertionError):
    """A module ended without a result; the message is what it printed."""


class WarmModules:
    """All modules on this machine; use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "warm"
        plugins = COLLECTIONS / "ansible_collections/zerotrust/pomerium/plugins"
        files = [*plugins.glob("modules/*.py"), *plugins.glob("module_utils/**/*.py")]
        imported = [".".join(path.relative_to(COLLECTIONS).with_suffix("").parts) for path in files]
        self._child = Child(
            "the warm modules",
            [sys.executable, "-m", __name__, self._socket, *imported],
            log_path=directory / "warm.log",
            environment=plain_environment(PYTHONPATH=str(COLLECTIONS)),
        )

    def __enter__(self) -> WarmModules:
        self._child.start()
        self._child.wait_until(self._socket.exists, what="their socket")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._child.stop()

    def run(self, module: str, arguments: t.Mapping[str, t.Any], environment: t.Mapping[str, str]) -> dict[str, t.Any]:
        """Run one, and give its result as a playbook registers it."""
        return {"failed": False, **result_of(ask(str(self._socket), module, arguments, environment=environment))}

    def kill_runs(self) -> int:
        """SIGKILL what runs at this moment; how many there were."""
        running = descendants(self._child.pid)
        for pid in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(running)


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    serve(sys.argv[1])
