# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guide's wrapper makes the DNS scripts of a real acme.sh publishers, and keeps it from writing files.

Run where $ACME_SH names a checkout of acme.sh, of whichever version: it is nowhere to be had as a package.
"""

from __future__ import annotations

import os
import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers.exec import Exec
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.records import merge
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.tests.lab.bind import KEY_NAME, Bind, why_missing
from ansible_collections.zerotrust.pomerium.tests.lab.lab import ZONE
from ansible_collections.zerotrust.pomerium.tests.lab.needed import need
from ansible_collections.zerotrust.pomerium.tests.unit.test_examples import list_guide_blocks

NAME = "_acme-challenge.corp.example.com"
VALUES = merge([(NAME, value, "corp.example.com") for value in ("value-1", "value-2")])


@pytest.fixture
def bind(tmp_path: Path) -> t.Iterator[Bind]:
    if not os.environ.get("ACME_SH"):
        pytest.skip("ACME_SH does not name a checkout of acme.sh")
    need(why_missing())
    need(None if shutil.which("nsupdate") else "nsupdate was not found (Debian's package is bind9-dnsutils)")
    with Bind(tmp_path / "bind", {"example.com": ZONE}) as running:
        yield running


def publisher(bind: Bind, folder: Path, key: str) -> Exec:
    """The wrapper with dns_nsupdate, a home that is empty, and this key."""
    wrapper, key_file, home = folder / "dns-acme-sh", folder / "key", folder / "home"
    wrapper.write_text(list_guide_blocks("guide_publishers", "sh")[0])
    wrapper.chmod(0o755)
    key_file.write_text(f'key {KEY_NAME} {{ algorithm {bind.key_algorithm}; secret "{key}"; }};\n')
    home.mkdir()
    environment = {
        "ACME_SH": os.environ["ACME_SH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "NSUPDATE_SERVER": bind.address,
        "NSUPDATE_SERVER_PORT": bind.port,
        "NSUPDATE_KEY": str(key_file),
    }
    command = [str(wrapper), "dns_nsupdate"]
    return Exec({"command": command, "environment": environment, "secrets": {}, "ttl": 60, "timeout": 30})


def test_values_come_and_go_and_nothing_is_kept(bind: Bind, tmp_path: Path) -> None:
    ours = publisher(bind, tmp_path, bind.key_secret)
    ours.add(VALUES)
    assert bind.txt("example.com") == {NAME: {"value-1", "value-2"}}
    ours.remove(VALUES)
    assert bind.txt("example.com") == {}
    assert list((tmp_path / "home").rglob("*")) == []


def test_what_a_script_says_when_it_fails_is_shown(bind: Bind, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dns-acme-sh present failed for .*: exit code 1, it said: .*BADSIG"):
        publisher(bind, tmp_path, "b3RoZXI=").add(VALUES)
