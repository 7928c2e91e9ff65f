# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of systemd is asked whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import prove
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._host.conftest import until

START = """
import sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import probe, process, prove
found = process.Process("failed", "pomerium")
prove.Prover(found, probe.Target("127.0.0.1", 1), reload="auto", within=1.0)._start()
"""


def test_killed_while_it_makes_a_unit_startable_the_unit_is_started_all_the_same(tmp_path: Path) -> None:
    """Else it would be neither failed nor started, as one that an operator stopped: the next run leaves that down."""
    log, gate = tmp_path / "calls", tmp_path / "gate"
    os.mkfifo(str(gate))
    script = tmp_path / "systemctl"
    script.write_text(f'#!/bin/sh\necho "$@" >>{log}\n[ "$1" = start ] || cat {gate}\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [sys.executable, "-c", START, str(Path(prove.__file__).parents[6])]
    with subprocess.Popen(command, env=environment) as running:
        until(lambda: "reset-failed -- pomerium" in log.read_text())
        running.kill()
    gate.write_text("go on")
    assert until(lambda: "start --no-block -- pomerium" in log.read_text())
