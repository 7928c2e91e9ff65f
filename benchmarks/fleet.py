# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an install costs on a fleet over SSH, beside a ping of the same hosts and the same work by built-in tasks.

All ways are run in turn, round after round, on the same machines; the figures are medians, and the ratios are those
within a round. Without a round (`--rounds 0`) they are those of the runs that are made to count.
Usage, as root: `make benchmark-fleet BENCHMARK_ARGS="--hosts 10 --hosts 50"`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.benchmarks.runs import Cost, Count, Runner
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.lab import IDENTIFIERS, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine, what_is_missing

PLAYBOOKS = Path(__file__).with_name("playbooks")
PING, INSTALL, BUILTIN = (str(PLAYBOOKS / f"{name}.yml") for name in ("ping", "install", "builtin"))
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
SITE = "zerotrust.pomerium.site"
OURS_OF_TASKS = "mkdir -p /etc/pomerium-by-tasks && cp /etc/pomerium/config.yaml /etc/pomerium-by-tasks/"


HOSTS_AS_STORE = ("-e", "certificate_store_path=")


class Fleet:
    """Machines, a store with the certificate that all of them have, and the ways that are compared."""

    def __init__(
        self, lab: Lab, machines: t.Sequence[Machine], environment: t.Mapping[str, str], *, has_orders: bool = False
    ) -> None:
        self._lab, self._authority = lab, Authority("Benchmark CA")
        self._has_orders, self._key_type = has_orders, "ec-256"
        self._publish = lab.write_publish_tasks()
        self._runner = Runner(lab.ansible, machines, environment)
        self._current = lab.store_path / "lineages/pomerium/current"
        for machine in machines:
            machine.run("sh", "-c", OURS_OF_TASKS)
        lab.paste(lab.playbook("zerotrust.pomerium.order").record_lines)
        done = lab.playbook(SITE, timeout=1200)
        if done.rc != 0:
            raise RuntimeError(done.output)
        self._runner.run(SITE, "-e", "certificate_fleet=true")
        self._tasks_given = self._renewed()
        self._runner.run(BUILTIN, *self._of(self._tasks_given))

    def ways(self) -> dict[str, t.Callable[[t.Callable[..., t.Any]], t.Any]]:
        """Each way by its name: it is given `Runner.run` or `Runner.count`."""
        return {
            "ping": lambda do: do(PING),
            "nothing to do: install": lambda do: do(INSTALL, *self._of(self._current)),
            "nothing to do: site": lambda do: do(SITE),
            "nothing to do: site, hosts as store": lambda do: do(SITE, *HOSTS_AS_STORE),
            "nothing to do: built-in tasks": lambda do: do(BUILTIN, *self._of(self._tasks_given)),
            "renewal: install": self._renew,
            "renewal: built-in tasks": self._renew_by_tasks,
            **(self._orders() if self._has_orders else {}),
        }

    def _orders(self) -> dict[str, t.Callable[[t.Callable[..., t.Any]], t.Any]]:
        return {
            "renewal: site with its order": lambda do: self._order(do, ()),
            "renewal: site with its order, hosts as store": lambda do: self._order(do, HOSTS_AS_STORE),
        }

    def _order(self, do: t.Callable[..., t.Any], store: t.Sequence[str]) -> t.Any:
        """Measure a run that orders, publishes, finishes and installs; then let both stores have that, unmeasured."""
        self._key_type = "ec-384" if self._key_type == "ec-256" else "ec-256"
        self._lab.write_vars(certificate_key_type=self._key_type)
        found = do(SITE, *store, "-e", f"certificate_publish_tasks={self._publish}")
        self._runner.run(SITE, "-e", "certificate_fleet=true")
        return found

    def round(self) -> dict[str, Cost]:
        return {name: way(self._runner.run) for name, way in self.ways().items()}

    def count(self) -> dict[str, Count]:
        return {name: way(self._runner.count) for name, way in self.ways().items()}

    def _renew(self, do: t.Callable[..., t.Any]) -> t.Any:
        """Measure a renewal, and bring back what the store has, unmeasured."""
        found = do(INSTALL, *self._of(self._renewed()))
        self._runner.run(INSTALL, *self._of(self._current))
        return found

    def _renew_by_tasks(self, do: t.Callable[..., t.Any]) -> t.Any:
        self._tasks_given = self._renewed()
        return do(BUILTIN, *self._of(self._tasks_given))

    def _renewed(self) -> Path:
        """Lay down a certificate that nobody has yet."""
        issued = self._authority.issue(*IDENTIFIERS)
        place = self._lab.directory / f"renewed-{issued.certificate.serial_number:x}"
        place.mkdir()
        issued.write(place / "fullchain.pem", place / "privkey.pem")
        (place / "ca.pem").write_bytes(self._authority.pem)
        return place

    @staticmethod
    def _of(source: Path) -> tuple[str, ...]:
        return ("-e", f"source={source}")


@contextlib.contextmanager
def room_for(hosts: int) -> t.Iterator[None]:
    """Let that many machines boot: the systemd of each takes four of the 128 inotify instances that root has."""
    before = INOTIFY_INSTANCES.read_text()
    if int(before) < 8 * hosts:
        INOTIFY_INSTANCES.write_text(str(8 * hosts))
    try:
        yield
    finally:
        INOTIFY_INSTANCES.write_text(before)


def measure(hosts: int, rounds: int, environment: t.Mapping[str, str], *, has_orders: bool) -> dict[str, t.Any]:
    """Measure with this many hosts; everything is started before and gone afterwards."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(room_for(hosts))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zp-bench-")))
        names = [f"pom{number:03}" for number in range(hosts)]
        machines = [stack.enter_context(Machine(directory / name, name)) for name in names]
        lab = stack.enter_context(Lab(hosts=(), variables={"pomerium_become": True}))
        lab.take(machines)
        fleet = Fleet(lab, machines, environment, has_orders=has_orders)
        counted = fleet.count()
        measured = [] if rounds else [{name: one.cost for name, one in counted.items()}]
        for number in range(1, rounds + 1):
            measured.append(fleet.round())
            print(f"{hosts} hosts, round {number} of {rounds} done", file=sys.stderr, flush=True)
    return {name: figures(hosts, name, measured, counted[name]) for name in counted}


def figures(hosts: int, name: str, measured: t.Sequence[t.Mapping[str, Cost]], counted: Count) -> dict[str, t.Any]:
    """Put together what is known of one way."""
    return {
        "wall_s": statistics.median(one[name].wall for one in measured),
        "of_ping": statistics.median(one[name].wall / one["ping"].wall for one in measured),
        "cpu_s": statistics.median(one[name].cpu for one in measured),
        "bytes_a_host": statistics.median(one[name].traffic for one in measured) / hosts,
        "memory_bytes": counted.memory,
        "executions_a_host": sum(counted.modules.values()) / hosts,
        "ssh_commands_a_host": counted.commands / hosts,
    }


def table(hosts: int, found: t.Mapping[str, t.Mapping[str, t.Any]]) -> str:
    head = (
        f"{hosts} hosts | wall s | of ping | CPU s | memory MiB | kB a host | executions a host | SSH commands a host"
    )
    lines = [f"| {head} |", "|" + " --- |" * (head.count("|") + 1)]
    for name, one in found.items():
        row = (
            name, f"{one['wall_s']:.1f}", f"{one['of_ping']:.2f}", f"{one['cpu_s']:.1f}",
            f"{one['memory_bytes'] / 2**20:.0f}", f"{one['bytes_a_host'] / 1000:.0f}",
            f"{one['executions_a_host']:g}", f"{one['ssh_commands_a_host']:g}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hosts", type=int, action="append", help="how many hosts; repeatable (default: 10 and 50)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is run (default: 3)")
    parser.add_argument("--forks", type=int, default=20, help="Ansible's forks (default: 20)")
    parser.add_argument("--pipelining", action="store_true", help="with Ansible's pipelining, which is off by default")
    parser.add_argument("--orders", action="store_true", help="also renew by an order, with each of the two stores")
    parser.add_argument("--output", type=Path, help="write all figures there as JSON")
    options = parser.parse_args()
    missing = what_is_missing()
    if missing is not None:
        parser.error(f"this needs whole machines, and here is no {missing}")
    environment = {"ANSIBLE_FORKS": str(options.forks), "ANSIBLE_PIPELINING": str(options.pipelining)}
    found = {
        hosts: measure(hosts, options.rounds, environment, has_orders=options.orders)
        for hosts in options.hosts or (10, 50)
    }
    print("\n\n".join(table(hosts, one) for hosts, one in found.items()))
    if options.output:
        options.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
