# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks on three whole hosts, packaged Pomerium and all, over SSH: as an operator runs them at noon."""

from __future__ import annotations

import typing as t

from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine

SITE, INSTALL = "zerotrust.pomerium.site", "zerotrust.pomerium.install"
NAMES = ("pom1", "pom2", "pom3")


def test_site_and_install_on_packaged_hosts_and_no_secret_at_the_highest_verbosity(
    boot: t.Callable[..., Machine],
) -> None:
    machines = [boot(name, config="packaged") for name in NAMES]
    with Lab(hosts=()) as lab:
        lab.take(machines)
        first = lab.playbook(SITE, "-vvvv")
        assert first.rc == 0, first.output
        lab.paste(first.record_lines)
        second = lab.playbook(SITE, "-vvvv")
        assert second.rc == 0, second.output
        leaf = machines[0].served().leaf
        assert [machine.served().leaf for machine in machines] == [leaf] * 3
        assert [machine.state for machine in machines] == ["active"] * 3
        assert "ESTABLISH SSH CONNECTION" in second.output
        assert not lab.leaked(first.output + second.output)

        again = lab.playbook(INSTALL)
        assert again.rc == 0, again.output
        assert [again.stats(name)["changed"] for name in NAMES] == [0, 0, 0]

        back = lab.playbook(INSTALL, "-e", "pomerium_version=previous")
        assert back.rc == 2, back.output
        assert "none that was in use before" in back.output
        assert [machine.served().leaf for machine in machines] == [leaf] * 3
