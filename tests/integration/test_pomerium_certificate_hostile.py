# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Disks that are full or read-only, the user pomerium turned against root, and a host that lies to the controller."""

from __future__ import annotations

import json
import os
import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.tests.integration.kill_points import Installer
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import Site
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine

Boot = t.Callable[..., Machine]
NAMES = ("*.corp.example.com", "corp.example.com")
HOME = "/etc/pomerium-tls/pomerium"


@pytest.fixture
def ca() -> Authority:
    return Authority("Lab CA")


def test_a_renewal_on_a_read_only_file_system_leaves_the_old_set_served(boot: Boot, ca: Authority) -> None:
    machine, old, new = boot(), ca.issue(*NAMES), ca.issue(*NAMES)
    Installer(machine).install(old)
    machine.run("mount", "--bind", "/etc/pomerium-tls", "/etc/pomerium-tls")
    machine.run("mount", "-o", "remount,bind,ro", "/etc/pomerium-tls")
    with pytest.raises(UserError, match="Read-only file system"):
        Installer(machine).install(new)
    machine.restart()
    assert machine.served().leaf == old.certificate
    machine.run("umount", "/etc/pomerium-tls")
    Installer(machine).install(new)
    assert machine.served().leaf == new.certificate


def test_a_configuration_on_a_read_only_file_system_stays_and_the_switch_is_taken_back(
    boot: Boot, ca: Authority
) -> None:
    machine, issued = boot(), ca.issue(*NAMES)
    served, text = machine.served().leaf, machine.config_text
    machine.run("mount", "--bind", "/etc/pomerium", "/etc/pomerium")
    machine.run("mount", "-o", "remount,bind,ro", "/etc/pomerium")
    with pytest.raises(UserError, match="Read-only file system"):
        Installer(machine).install(issued)
    assert (machine.served().leaf, machine.config_text) == (served, text)
    assert not (machine.tls_directory / "pomerium/current").is_symlink()
    machine.run("umount", "/etc/pomerium")
    Installer(machine).install(issued)
    assert machine.served().leaf == issued.certificate


FILL = "cat /dev/zero >$0/filler 2>/dev/null; df --output=avail $0 | tail -n 1"


def test_a_renewal_on_a_full_disk_leaves_the_old_set_served(boot: Boot, ca: Authority) -> None:
    machine, old, new = boot(), ca.issue(*NAMES), ca.issue(*NAMES)
    machine.run("mkdir", "-m", "755", "/etc/pomerium-tls")
    machine.run("mount", "-t", "tmpfs", "-o", "size=128k,mode=755", "tmpfs", "/etc/pomerium-tls")
    Installer(machine).install(old)
    assert machine.run("sh", "-c", FILL, "/etc/pomerium-tls").strip() == "0"
    with pytest.raises(UserError, match="No space left"):
        Installer(machine).install(new)
    machine.restart()
    assert machine.served().leaf == old.certificate
    assert [path.name[0] for path in (machine.tls_directory / "pomerium/versions").iterdir()] == ["2"]
    machine.run("rm", "/etc/pomerium-tls/filler")
    Installer(machine).install(new)
    assert machine.served().leaf == new.certificate


def test_a_disk_that_is_full_for_the_configuration_alone_takes_everything_back(boot: Boot, ca: Authority) -> None:
    machine, issued = boot(), ca.issue(*NAMES)
    served, text = machine.served().leaf, machine.config_text
    script = (
        "cp -a /etc/pomerium /saved; mount -t tmpfs -o size=16k,mode=750,uid=987,gid=987 tmpfs /etc/pomerium; "
        f"cp -a /saved/. /etc/pomerium; set -- /etc/pomerium; {FILL.replace('$0', '$1')}"
    )
    assert machine.run("sh", "-c", script).strip() == "0"
    machine.restart()
    with pytest.raises(UserError, match="No space left"):
        Installer(machine).install(issued)
    machine.restart()
    assert (machine.served().leaf.issuer, machine.config_text) == (served.issuer, text)
    assert sorted(path.name for path in machine.etc.iterdir()) == ["config.yaml", "filler"]
    machine.run("rm", "/etc/pomerium/filler")
    Installer(machine).install(issued)
    assert machine.served().leaf == issued.certificate


PLANT = """
echo precious >/root/victim; chmod 600 /root/victim
for second in 0 1 2 3 4 5 6 7 8 9; do
    at=$(date -u -d "+$second seconds" +%Y-%m-%dT%H%M%SZ)
    ln -s /root/victim "/etc/pomerium/config.yaml.$at~"
done
chown -h pomerium:pomerium /etc/pomerium/*
"""


def test_links_that_pomerium_planted_where_the_backup_goes_are_not_followed(boot: Boot, ca: Authority) -> None:
    """The directory is its own: it may plant any name there, to have root overwrite or give away a file of root's."""
    machine, issued = boot(), ca.issue(*NAMES)
    text = machine.config_text
    machine.run("sh", "-c", PLANT)
    result = Installer(machine).install(issued)
    assert machine.served().leaf == issued.certificate
    backup = machine.root / result["backup_file"].lstrip("/")
    assert (backup.is_symlink(), backup.read_text()) == (False, text)
    assert machine.run("stat", "--format=%U %a %s", "/root/victim").split() == ["root", "600", "9"]


def test_a_file_of_root_s_that_pomerium_gave_a_second_name_is_not_made_readable(boot: Boot, ca: Authority) -> None:
    """Where links are not protected: the backup of such a configuration, with Pomerium's owner, would tell it all."""
    machine = boot()
    script = "echo 'secret: of-root' >/etc/root-only; chmod 600 /etc/root-only; ln -f /etc/root-only $0"
    machine.run("sh", "-c", script, "/etc/pomerium/config.yaml")
    with pytest.raises(UserError, match="hard link"):
        Installer(machine).install(ca.issue(*NAMES))
    assert machine.run("stat", "--format=%U %a", "/etc/root-only").split() == ["root", "600"]
    assert machine.run("sh", "-c", "ls /etc/pomerium").split() == ["config.yaml"]


@pytest.mark.parametrize("name", ["", "versions", ".lock", "proven.json"])
def test_a_link_in_our_own_place_is_not_followed(boot: Boot, ca: Authority, name: str) -> None:
    """Only root can put one there; somebody who once could must not go on through it."""
    machine, old = boot(), ca.issue(*NAMES)
    Installer(machine).install(old)
    path = f"{HOME}/{name}".rstrip("/")
    machine.run("sh", "-c", 'mkdir /elsewhere; mv "$0" /elsewhere/it; ln -s /elsewhere/it "$0"', path)
    before = machine.run("sh", "-c", "cd /elsewhere; find . -type f -exec sha256sum {} + | sort")
    outcome = ""
    try:
        Installer(machine).install(ca.issue(*NAMES))
    except UserError as error:
        outcome = str(error)
    assert machine.run("sh", "-c", "cd /elsewhere; find . -type f -exec sha256sum {} + | sort") == before
    assert "link" in outcome or name == "proven.json", outcome  # which is replaced by a file


LIES: dict[str, str] = {
    "nothing": "",
    "another shape": json.dumps({"look": {"process": 1}}),
    "no look": json.dumps({"changed": False}),
    "facts and hosts": json.dumps(
        {
            "look": [],
            "ansible_facts": {"ansible_python_interpreter": "/evil"},
            "add_host": {"host_name": "evil"},
            "_ansible_no_log": False,
            "_ansible_delegated_vars": {"ansible_host": "evil"},
        }
    ),
    "what a terminal obeys": json.dumps({"failed": True, "msg": "\x1b[2J\x1b]0;owned\x07 all is well"}),
    "megabytes": "x" * 5_000_000,
    "megabytes of JSON": json.dumps({"failed": True, "msg": "x" * 5_000_000}),
}


@pytest.mark.parametrize("answer", LIES.values(), ids=LIES.keys())
def test_a_host_that_lies_fails_alone_and_the_other_is_installed(
    make_fleet: t.Callable[..., Site], answer: str
) -> None:
    site = make_fleet("pom1", "pom2")
    liar, honest = site.hosts
    assert isinstance(liar, Machine)
    liar.write("/usr/local/bin/liar", "#!/bin/sh\ncat /usr/local/share/answer\n", mode=0o755)
    liar.write("/usr/local/share/answer", answer)
    inventory = yaml.safe_load(site.inventory_path.read_text())
    inventory["pomerium"]["hosts"]["pom1"]["ansible_python_interpreter"] = "/usr/local/bin/liar"
    site.inventory_path.write_text(yaml.safe_dump(inventory))
    issued = site.issue()
    run = site.run("-v")
    result = site.result("pom1")
    assert result["failed"] is True
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", f"{result['msg']}{run.output}")
    assert len(result["msg"]) < 30_000
    assert "evil" not in json.dumps(result.get("ansible_facts", {}))
    assert site.result("pom2")["changed"] is True
    assert honest.served().leaf == issued.certificate


def test_what_another_version_of_ours_left_costs_nothing_but_a_look(boot: Boot, ca: Authority) -> None:
    machine, old, new = boot(), ca.issue(*NAMES), ca.issue(*NAMES)
    Installer(machine).install(old)
    machine.write(f"{HOME}/proven.json", '{"format": 99, "keys": []}', mode=0o600)
    machine.write(f"{HOME}/current/new-in-2.0.json", "{}")
    Installer(machine).install(old)
    assert Installer(machine).install(old)["changed"] is False
    Installer(machine).install(new)
    assert machine.served().leaf == new.certificate


def test_a_host_with_python_3_8_and_nothing_else_is_installed_and_renewed(make_fleet: t.Callable[..., Site]) -> None:
    found = sorted(Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.8*"))
    if not found:
        pytest.skip("no Python 3.8 on this machine")
    site = make_fleet(python=found[0])
    for _time in ("first", "second"):
        issued = site.issue()
        assert site.install()["changed"] is True
        assert site.host.served().leaf == issued.certificate
    assert site.install()["changed"] is False
    site.run(module="pomerium_certificate_info")
    assert site.result()["served"]["is_ours"] is True
