# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's half, kept warm on a machine: each connection to a socket is one run of `pomerium_bundle`.

A run is a fork of a process that has imported everything: it begins within milliseconds, not a second, and strace sees
what the run does and nothing else. A connection brings the module's arguments and strace's options (none: without it),
and gets what the module prints. It ends when the run has ended, and strace has written all that it saw.
Run it with `python -m ansible_collections.zerotrust.pomerium.tests.integration.host_half SOCKET`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import typing as t

from ansible.module_utils import basic
from ansible_collections.zerotrust.pomerium.plugins.modules import pomerium_bundle


def serve(path: str) -> None:
    """Answer one connection after the other; returns only in the fork that is a run, which is about to end."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        while True:
            connection, _address = listening.accept()
            with connection, connection.makefile("rb") as received:
                run_apart(connection, **json.load(received))


def run_apart(connection: socket.socket, arguments: dict[str, t.Any], strace: list[str]) -> None:
    """Run the module in a fork, which waits until it is watched."""
    is_watched, watch = os.pipe()
    process = os.fork()
    if process == 0:
        os.read(is_watched, 1)
        os.dup2(connection.fileno(), 1)
        os.dup2(connection.fileno(), 2)
        basic._ANSIBLE_PROFILE, basic._ANSIBLE_ARGS = "legacy", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
        pomerium_bundle.main()
    tracer = attach(strace, process) if strace else None
    os.write(watch, b"\n")
    os.close(watch)
    os.close(is_watched)
    os.waitpid(process, 0)
    if tracer is not None:
        tracer.communicate()


def attach(options: t.Sequence[str], process: int) -> subprocess.Popen[bytes]:
    """Have strace watch a process from now on."""
    tracer = subprocess.Popen(["strace", *options, "-p", str(process)], stderr=subprocess.PIPE)
    said = tracer.stderr.readline() if tracer.stderr else b""
    if b" attached" not in said:
        raise RuntimeError(said.decode())
    return tracer


if __name__ == "__main__":
    serve(sys.argv[1])
