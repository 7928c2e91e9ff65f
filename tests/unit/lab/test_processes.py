# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab starts dies with it, fails loudly, and takes no port that another lab holds."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES, PortLeases
from ansible_collections.zerotrust.pomerium.tests.lab.process import Child, StartFailed, plain_environment
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

COPY = Path(__file__).resolve().parents[3]


def child(tmp_path: Path, code: str) -> Child:
    command = [sys.executable, "-c", code]
    return Child("a part", command, log_path=tmp_path / "log", environment=plain_environment())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_part_that_ends_instead_of_starting_shows_its_log(tmp_path: Path) -> None:
    part = child(tmp_path, "print('no luck'); raise SystemExit(3)")
    part.start()
    with pytest.raises(StartFailed, match=r"(?s)ended with 3.*no luck"):
        part.wait_until(lambda: False)


def test_a_part_that_is_not_ready_in_time_shows_its_log_and_is_stopped(tmp_path: Path) -> None:
    part = child(tmp_path, "import time; print('waiting', flush=True); time.sleep(60)")
    part.start()
    until(lambda: "waiting" in part.log, what="its first line")
    with pytest.raises(StartFailed, match=r"(?s)waited 0\.05 s for a sign.*waiting"):
        part.wait_until(lambda: False, what="a sign", within=0.05)
    assert not part.is_running


def test_a_part_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    part = child(tmp_path, code)
    part.start()
    until(lambda: "up" in part.log, what="its first line")
    part.stop(within=0.1)
    assert part.exit_code == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_parts_end_when_the_lab_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from ansible_collections.zerotrust.pomerium.tests.lab.process import Child, plain_environment\n"
        f"part = Child('a part', ['sleep', '60'], log_path=Path({str(tmp_path / 'log')!r}),"
        " environment=plain_environment())\n"
        "part.start(); print(part.pid, flush=True); sys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(COPY.parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as lab:
        if lab.stdout is None:
            raise RuntimeError("no output")
        pid = int(lab.stdout.readline())
        until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", what="the part to run")
        lab.send_signal(number)
        lab.wait()
        until(lambda: not is_alive(pid), what="the part's end")


def test_no_two_leases_are_the_same_port_even_of_two_processes(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from ansible_collections.zerotrust.pomerium.tests.lab.ports import PortLeases\n"
        f"leases = PortLeases(Path({str(tmp_path / 'ports')!r}))\n"
        f"print(leases._lock({{port}}), leases._lock({{port}} + 1))"
    )
    ours = PortLeases(tmp_path / "ports")
    port = ours.lease()
    environment = {**os.environ, "PYTHONPATH": str(COPY.parents[2])}
    command = [sys.executable, "-c", code.format(port=port)]
    seen = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert seen.stdout == "False True\n"


def test_a_lease_is_free_for_tcp_and_udp_and_not_among_the_ephemeral_ports() -> None:
    port = LEASES.lease()
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert port < max(lowest, 11240)
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as ours:
            ours.bind(("127.0.0.1", port))
    LEASES.release(port)
