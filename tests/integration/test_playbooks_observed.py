# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A renewal that rolls over ten hosts over SSH while people work there: nobody sees a handshake fail.

`pytest -rP` shows how long it took on each host from the start of its task until the new leaf was served.
"""

from __future__ import annotations

import re
import statistics
import typing as t
from datetime import datetime
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import have_certificate
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine
from ansible_collections.zerotrust.pomerium.tests.lab.observer import Observers

INSTALL = "zerotrust.pomerium.install"
NAMES = tuple(f"pom{number:02}" for number in range(10))
BATCH = 4


def task_starts(log: str) -> list[float]:
    """When the task that installs was begun in each batch, in seconds of the epoch; the log is ansible's own."""
    found = re.findall(
        r"^(\S+ \S+?),(\d+) .*TASK \[zerotrust\.pomerium\.pomerium : Install the cert", log, re.MULTILINE
    )
    return [datetime.strptime(when, "%Y-%m-%d %H:%M:%S").timestamp() + int(ms) / 1000 for when, ms in found]


def test_nobody_sees_a_handshake_fail_and_each_host_changes_its_leaf_once(
    boot: t.Callable[..., Machine], tmp_path: Path
) -> None:
    machines = [boot(name) for name in NAMES]
    with Lab(hosts=()) as lab:
        lab.take(machines)
        have_certificate(lab)
        assert lab.playbook(INSTALL).rc == 0
        old = machines[0].served().leaf.serial_number
        have_certificate(lab, key_type="ec-384")
        log_path = tmp_path / "ansible.log"
        with Observers(machines) as observers:
            serial = ("-e", f"pomerium_serial={BATCH}")
            run = lab.playbook(INSTALL, *serial, env={"ANSIBLE_LOG_PATH": str(log_path)})
        assert run.rc == 0, run.output
        new = machines[0].served().leaf.serial_number
    seen = observers.seen
    assert {name: one.failures for name, one in seen.items() if one.failures} == {}
    assert [[leaf for _when, leaf in one.leaves] for one in seen.values()] == [[old, new]] * len(NAMES)
    starts = task_starts(log_path.read_text())
    assert len(starts) == -(-len(NAMES) // BATCH)
    took = [seen[name].leaves[1][0] - starts[number // BATCH] for number, name in enumerate(NAMES)]
    assert all(seconds > 0 for seconds in took)
    print(
        f"{sum(one.handshakes for one in seen.values())} handshakes, none failed; from the start of the task to the "
        f"new leaf: median {statistics.median(took):.2f} s, longest {max(took):.2f} s (10 hosts, {BATCH} at a time)"
    )
