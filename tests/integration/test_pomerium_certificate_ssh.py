# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pomerium_certificate over SSH where no machine can be booted: a server of this user, and a HOME of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import Site
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost
from ansible_collections.zerotrust.pomerium.tests.lab.sshd import Sshd, what_is_missing


@pytest.mark.skipif(what_is_missing() is not None, reason=f"SSH needs {what_is_missing()}")
def test_a_host_that_is_only_reached_by_ssh_is_installed_and_renewed(tmp_path: Path) -> None:
    with Sshd(tmp_path / "door") as door, PomeriumHost(tmp_path / "hosts/pom1", "pom1", door=door) as host:
        site = Site(tmp_path, host)
        for _time in ("first", "second"):
            issued = site.issue()
            assert site.install()["changed"] is True
            assert host.served().leaf == issued.certificate
        assert site.install()["changed"] is False
        assert (door.home / "tmp").is_dir()
