# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The transaction on a real host, killed by SIGKILL at each system call that changes something.

After each kill the host has the old set or the new one, complete; Pomerium serves it, also after a restart; and the
next run completes. `pytest -rP` shows the table: where it was killed and what that left behind.
"""

from __future__ import annotations

import shutil
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.kill_points import Installer, Point, restore, save
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import NAMES
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until
from cryptography import x509
from cryptography.hazmat.primitives import serialization

Boot = t.Callable[..., Machine]
FILES = {"fullchain.pem", "privkey.pem", "ca.pem", "meta.json"}
KEPT = {"current", "versions", "proven.json", "held.json", ".lock"}
QUICK = {"timeout": 0.5}


Work = t.Callable[[Installer], t.Any]


@dataclass(frozen=True)
class Case:
    """A host as it is before, what is done and killed there, and what completes it; then `new` is served."""

    machine: Machine
    work: Work
    finish: Work
    new: Issued
    old: x509.Certificate | None = None


def installing(issued: Issued, **options: t.Any) -> Work:
    return lambda installer: installer.install(issued, **options)


def first_install(boot: Boot, ca: Authority) -> Case:
    new = ca.issue(*NAMES)
    install = installing(new)
    return Case(boot(), install, install, new)


def first_install_on_the_packaged_one_which_is_down(boot: Boot, ca: Authority) -> Case:
    new = ca.issue(*NAMES)
    install = installing(new)
    return Case(boot(config="packaged"), install, install, new)


def renewal(boot: Boot, ca: Authority) -> Case:
    machine, old, new = boot(), ca.issue(*NAMES), ca.issue(*NAMES)
    Installer(machine).install(old)
    install = installing(new)
    return Case(machine, install, install, new, old.certificate)


def renewal_by_restart(boot: Boot, ca: Authority) -> Case:
    machine, old, new = cold_pomerium(boot), ca.issue(*NAMES), ca.issue(*NAMES)
    Installer(machine).install(old)
    install = installing(new, reload="restart", probe=QUICK)
    return Case(machine, install, install, new, old.certificate)


def renewal_that_is_rolled_back(boot: Boot, ca: Authority) -> Case:
    """By a Pomerium that may not be restarted."""
    machine, old, new = cold_pomerium(boot), ca.issue(*NAMES), ca.issue(*NAMES)
    Installer(machine).install(old)
    return Case(
        machine,
        installing(new, reload="none", probe=QUICK),
        installing(new, reload="restart", probe=QUICK),
        new,
        old.certificate,
    )


def first_install_that_is_rolled_back(boot: Boot, ca: Authority) -> Case:
    """Where something else has the port that is asked."""
    machine, new = boot(), ca.issue(*NAMES)
    other = {**QUICK, "port": 22}
    return Case(
        machine,
        installing(new, reload="none", probe=other),
        installing(new),
        new,
    )


def going_back(boot: Boot, ca: Authority) -> Case:
    machine, before, now = boot(), ca.issue(*NAMES), ca.issue(*NAMES)
    Installer(machine).install(before)
    Installer(machine).install(now)
    return Case(machine, Installer.go_back, Installer.go_back, before, now.certificate)


def lifting_the_hold(boot: Boot, ca: Authority) -> Case:
    case = going_back(boot, ca)
    Installer(case.machine).go_back()
    new = ca.issue(*NAMES)
    lift = installing(new, version="current")
    return Case(case.machine, lift, lift, new, case.new.certificate)


def cold_pomerium(boot: Boot) -> Machine:
    """Boot one that does not look at its files by itself."""
    machine = boot()
    config = f"{machine.config_text}runtime_flags:\n  config_hot_reload: false\n"
    machine.write("/etc/pomerium/config.yaml", config, owner="pomerium:pomerium")
    machine.restart()
    return machine


class Killing:
    """A case, killed at one point after the other."""

    def __init__(self, case: Case) -> None:
        self.case, self.machine = case, case.machine
        self.installer = Installer(case.machine)
        self.config_before = self.machine.config_text
        self.is_running_before = self.machine.state == "active"
        self.seen_by_a_start: object = None
        save(self.machine)

    def points(self) -> list[Point]:
        return self.installer.points(lambda: self.case.work(self.installer))

    def kill_at(self, point: Point) -> str:
        """Kill it there, look at what is left, and let the next run complete; say which set was there."""
        self._reset()
        self.installer.kill(point)
        left = self._look()
        self._restart()
        self.case.finish(self.installer)
        until(self._serves_the_new_one, what="the new one")
        assert self._stray() == set()
        return left

    def _reset(self) -> None:
        """Make the host as it was before, in files and in what it serves."""
        if self.is_running_before:
            forget_starts = "systemctl reset-failed pomerium"  # or soon there were too many
            restore(self.machine, "systemctl kill --signal=HUP pomerium", forget_starts)
            until(self._serves_what_was, what="what was served before")
        else:
            restore(self.machine, "systemctl kill --signal=KILL pomerium")
            until(lambda: self.machine.state == "failed", what="Pomerium to be down")

    def _serves_what_was(self) -> bool:
        return self.machine.served().leaf != self.case.new.certificate and not self._is_foreign()

    def _serves_the_new_one(self) -> bool:
        """Where a killed run had switched and put back, Pomerium may still be on its way through that: it serves the
        new one (as the next run sees), takes what was put back, and only then what the next run has written."""
        return self.machine.served().leaf == self.case.new.certificate

    def _is_foreign(self) -> bool:
        """Whether something is served that is neither old nor new; before the first install it is self-signed."""
        leaf = self.machine.served().leaf
        return leaf not in (self.case.old, self.case.new.certificate) and (
            self.case.old is not None or "Pomerium PSK CA" not in leaf.issuer.rfc4514_string()
        )

    def _restart(self) -> None:
        """Restart Pomerium, by whomever: a start is the hardest reader of all. Once for the same files."""
        files = self.machine.config_text, {path.name: path.read_bytes() for path in self._current.glob("*")}
        if self.is_running_before and files != self.seen_by_a_start:
            self.machine.restart()
            assert not self._is_foreign()
            self.seen_by_a_start = files

    @property
    def _current(self) -> Path:
        return self.machine.tls_directory / "pomerium/current"

    def _look(self) -> str:
        """See that one of the two sets is there, whole, and served where something was served before."""
        current, config = self._current, self.machine.config_text
        which = "no set"
        if current.is_symlink():
            assert {path.name for path in current.iterdir()} == FILES
            leaf = x509.load_pem_x509_certificate((current / "fullchain.pem").read_bytes())
            key = serialization.load_pem_private_key((current / "privkey.pem").read_bytes(), None)
            assert key.public_key() == leaf.public_key()
            assert leaf in (self.case.old, self.case.new.certificate)
            which = "new set" if leaf == self.case.new.certificate else "old set"
        if config != self.config_before:
            assert current.is_symlink()
            assert "\ncertificate_file: /etc/pomerium-tls/pomerium/current/fullchain.pem" in config
            assert "\ncertificate_key_file: /etc/pomerium-tls/pomerium/current/privkey.pem" in config
        if self.is_running_before:  # it may be starting at this moment
            assert not until(lambda: [self._is_foreign()], what="Pomerium to answer")[0]
        settings = "old" if config == self.config_before else "new"
        stray = ", ".join(sorted(path.rpartition("/")[2] for path in self._stray()))
        return f"{which}, {settings} settings{f', and {stray}' if stray else ''}"

    def _stray(self) -> set[str]:
        """What is there and belongs to nothing."""
        home, etc = self.machine.tls_directory / "pomerium", self.machine.etc
        found = {path for path in home.glob("*") if path.name not in KEPT} | {*home.glob("versions/.*")}
        return {str(path) for path in (*found, *etc.glob(".*"))}


@pytest.mark.parametrize(
    ("make", "at_least"),
    [
        (first_install, 50),
        (first_install_on_the_packaged_one_which_is_down, 50),
        (renewal, 35),
        (renewal_by_restart, 35),
        (renewal_that_is_rolled_back, 35),
        (first_install_that_is_rolled_back, 50),
        (going_back, 15),
        (lifting_the_hold, 35),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_killed_at_any_point_one_set_is_there_and_served_and_the_next_run_completes(
    boot: Boot, make: t.Callable[[Boot, Authority], Case], at_least: int
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("the point of the kill is chosen by strace, which is not here")
    killing = Killing(make(boot, Authority("Lab CA")))
    points = killing.points()
    assert len(points) >= at_least
    killing.case.finish(killing.installer)
    assert killing.case.finish(killing.installer)["changed"] is False
    for number, point in enumerate(points, start=1):
        shown = str(point).replace("/etc/pomerium-tls/pomerium/", "")
        print(f"{number:3} {shown}: {killing.kill_at(point)}", flush=True)
