# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts that are broken, and hosts whose user pomerium, or whose root, is the enemy.

/etc/pomerium belongs to the user pomerium, as the package leaves it: whoever takes over Pomerium may put there what
he likes, and every run of ours as root reads and writes there.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import Site
from ansible_collections.zerotrust.pomerium.tests.unit.test_oldest_python import PYENV

Make = t.Callable[..., Site]
CONFIG = "/etc/pomerium/config.yaml"
HOME = "/etc/pomerium-tls/pomerium"
SECRET = "root_only: 5ae1c0ffee\n"


def as_pomerium(site: Site, script: str) -> str:
    """Run a script as the attacker."""
    apart = ["setpriv", "--reuid=pomerium", "--regid=pomerium", "--clear-groups"]
    return str(site.host.run(*apart, "sh", "-ec", script))


def installed(make_fleet: Make) -> tuple[Site, t.Any]:
    """A host that is as it should be, and what it serves."""
    site = make_fleet()
    return site, site.serve().certificate


def refused(site: Site, *said: str, **options: t.Any) -> dict[str, t.Any]:
    """Install, and see that it fails with these words and changes nothing."""
    before = site.snapshot()
    result = site.install(**options)
    assert result.get("failed") is True, result
    assert "Python" not in result["msg"], result
    assert [word for word in said if word not in result["msg"]] == [], result["msg"]
    assert site.snapshot() == before
    return result


# Broken


def test_a_read_only_place_keeps_the_old_set_and_after_mending_the_next_run_installs(make_fleet: Make) -> None:
    site, old = installed(make_fleet)
    new = site.issue()
    site.host.run("mount", "--bind", "/etc/pomerium-tls", "/etc/pomerium-tls")
    site.host.run("mount", "-o", "remount,bind,ro", "/etc/pomerium-tls")
    refused(site, "Read-only file system", "/etc/pomerium-tls")
    assert site.host.served().leaf == old
    site.host.run("umount", "/etc/pomerium-tls")
    assert site.install()["changed"] is True
    assert site.host.served().leaf == new.certificate


def test_a_read_only_place_is_said_at_the_first_install_too(make_fleet: Make) -> None:
    site = make_fleet()
    site.issue()
    site.host.run("sh", "-ec", "mkdir /etc/pomerium-tls; mount -t tmpfs -o ro,mode=755 tmpfs /etc/pomerium-tls")
    refused(site, "Read-only file system", "/etc/pomerium-tls/pomerium")


def test_a_read_only_configuration_is_rolled_back_to_the_old_set(make_fleet: Make) -> None:
    site = make_fleet()
    new = site.issue()
    site.host.run("mount", "--bind", "/etc/pomerium", "/etc/pomerium")
    site.host.run("mount", "-o", "remount,bind,ro", "/etc/pomerium")
    before, old = site.host.config_text, site.host.served().leaf
    result = site.install()
    assert (result["failed"], result["rolled_back"]) == (True, True), result
    assert "Read-only file system" in result["msg"]
    assert (site.host.config_text, site.host.served().leaf) == (before, old)
    assert not (site.host.tls_directory / "pomerium/current").is_symlink()
    site.host.run("umount", "/etc/pomerium")
    assert site.install()["changed"] is True
    assert site.host.served().leaf == new.certificate


def test_a_disk_that_is_full_for_the_version_keeps_the_old_set(make_fleet: Make) -> None:
    site = make_fleet()
    site.host.run("sh", "-ec", "mkdir /etc/pomerium-tls; mount -t tmpfs -o size=64k,mode=755 tmpfs /etc/pomerium-tls")
    old = site.issue()
    assert not site.install().get("failed")
    site.host.run("sh", "-c", "cat /dev/zero >/etc/pomerium-tls/filler", check=False)
    new = site.issue()
    refused(site, "No space left on device", HOME)
    assert site.host.served().leaf == old.certificate
    site.host.run("rm", "/etc/pomerium-tls/filler")
    assert site.install()["changed"] is True
    assert site.host.served().leaf == new.certificate


def test_a_disk_that_is_full_for_the_configuration_is_rolled_back(make_fleet: Make) -> None:
    """The version lies elsewhere, so that the disk is only met after the switch."""
    site = make_fleet()
    script = """
        cp -a /etc/pomerium /tmp/kept
        mount -t tmpfs -o size=32k,mode=750,uid=987,gid=987 tmpfs /etc/pomerium
        cp -a /tmp/kept/. /etc/pomerium
        cat /dev/zero >/etc/pomerium/filler || true
    """
    site.host.run("sh", "-ec", script)
    new = site.issue()
    before, old = site.host.config_text, site.host.served().leaf
    result = site.install()
    assert (result["failed"], result["rolled_back"]) == (True, True), result
    assert "No space left on device" in result["msg"]
    assert (site.host.config_text, site.host.served().leaf) == (before, old)
    site.host.run("rm", "/etc/pomerium/filler")
    assert site.install()["changed"] is True
    assert site.host.served().leaf == new.certificate


# The user pomerium is the enemy


def test_a_link_that_is_planted_for_the_configuration_is_refused(make_fleet: Make) -> None:
    """It would have root read /etc/shadow, and write a file in its place."""
    site = make_fleet()
    site.issue()
    as_pomerium(site, f"rm {CONFIG}; ln -s /etc/shadow {CONFIG}")
    shadow = site.host.run("stat", "--format=%U %a %Y %s", "/etc/shadow")
    refused(site, "a symbolic link")
    assert site.host.run("stat", "--format=%U %a %Y %s", "/etc/shadow") == shadow


def test_a_second_name_of_a_file_of_root_is_refused_and_no_copy_is_left(make_fleet: Make) -> None:
    """Where fs.protected_hardlinks is off the user pomerium may link a file that it cannot read. A backup of that with
    Pomerium's rights would be the copy; so root links it here, whatever this kernel's setting is."""
    site = make_fleet()
    site.issue()
    site.host.write("/etc/secret.yaml", SECRET, mode=0o600)
    site.host.run("ln", "-f", "/etc/secret.yaml", CONFIG)
    refused(site, "a hard link to a file of somebody else")
    assert "5ae1c0ffee" not in as_pomerium(site, "cat /etc/pomerium/* 2>/dev/null || true")
    assert site.host.run("cat", "/etc/secret.yaml") == SECRET


def test_links_planted_where_the_backup_will_be_are_not_followed(make_fleet: Make) -> None:
    """The backup's name tells its time: links for the next minute would have root overwrite /etc/target."""
    site = make_fleet()
    issued = site.issue()
    site.host.write("/etc/target", SECRET, mode=0o600)
    as_pomerium(
        site,
        f"now=$(date +%s); for i in $(seq 0 90); do "
        f"ln -s /etc/target {CONFIG}.$(date -u -d @$((now+i)) +%Y-%m-%dT%H%M%SZ)~; done",
    )
    result = site.install()
    backup = Path(f"{site.host.root}{result['backup_file']}")
    assert not backup.is_symlink()
    assert site.host.run("stat", "--format=%U %a %F", result["backup_file"]).strip() == "pomerium 644 regular file"
    assert site.host.run("cat", "/etc/target") == SECRET
    assert site.host.run("stat", "--format=%U %a", "/etc/target").strip() == "root 600"
    assert site.host.served().leaf == issued.certificate


def test_with_pomerium_as_owner_of_the_files_the_directories_stay_root_s(make_fleet: Make) -> None:
    """Else it could put a link in place of a directory that root is about to give it: /etc/shadow would be its own."""
    site = make_fleet()
    site.issue()
    assert not site.install(owner="pomerium").get("failed")
    seen = site.host.run("stat", "--format=%U %a", HOME, f"{HOME}/versions", f"{HOME}/current/privkey.pem")
    assert seen.splitlines() == ["root 750", "root 750", "pomerium 640"]
    assert site.install(owner="pomerium")["changed"] is False


def test_a_configuration_that_names_files_that_never_end_does_not_hold_us_up(make_fleet: Make) -> None:
    """Every path in there is looked at as root: the kernel's log would have it wait for the next line."""
    site = make_fleet()
    issued = site.issue()
    as_pomerium(site, f"mkfifo /etc/pomerium/pipe; echo '# /etc/pomerium/pipe /proc/kmsg /dev/zero' >>{CONFIG}")
    assert not site.install().get("failed")
    assert site.host.served().leaf == issued.certificate


# The host's root is the enemy

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m"
ANSWERS: dict[str, t.Any] = {
    "number": {"look": 5},
    "types": {"look": {"process": [], "config": "x", "installed": 7, "hold": 1, "versions": 3}},
    "warnings": {"warnings": 5, "deprecations": 7, "look": {}},
    "infinite": {
        "look": {"process": {"state": "", "unit": None, "pid": 1e999}, "config": {}, "installed": {"files": {}}}
    },
    "big": {"look": {"process": "A" * 5_000_000}},
    "big msg": {"failed": True, "msg": "A" * 5_000_000},
    "escapes": {"failed": True, "msg": f"see {ESCAPES}", "warnings": [f"warned {ESCAPES}"], "reloaded": ESCAPES},
    "facts": {
        "failed": True,
        "msg": "no",
        "ansible_facts": {"ansible_connection": "local", "ansible_become": False, "owned": True},
        "add_host": {"host_name": "owned", "groups": ["pomerium"]},
        "_ansible_no_log": False,
        "_ansible_delegated_vars": {"ansible_host": "owned"},
        "_ansible_item_label": "owned",
        "served": {"owned": [1]},
        "rolled_back": "owned",
    },
    "list": [1, 2],
    "text": f"hello {ESCAPES}",
}  # fmt: skip


def test_hosts_that_answer_nonsense_have_an_error_of_their_own(make_fleet: Make) -> None:
    """Whoever is root on one host must not get at the controller, at a terminal, or at the other hosts.

    One machine is all of the liars: each has a Python of its own there that says what it says. An honest one is last.
    """
    site = make_fleet("pom1", "pom2")
    issued = site.issue()
    inventory = yaml.safe_load(site.inventory_path.read_text())
    hosts = inventory["pomerium"]["hosts"]
    liar, honest = hosts.pop("pom1"), hosts.pop("pom2")
    for kind, answer in ANSWERS.items():
        name = kind.replace(" ", "-")
        site.host.write(f"/opt/{name}", answer if isinstance(answer, str) else json.dumps(answer))
        site.host.write(f"/opt/{name}.sh", f"#!/bin/sh\ncat /opt/{name}\n", mode=0o755)
        hosts[name] = {**liar, "ansible_python_interpreter": f"/opt/{name}.sh"}
    site.inventory_path.write_text(yaml.safe_dump({"pomerium": {"hosts": {**hosts, "pom2": honest}}}, sort_keys=False))
    run = site.run()
    for name in hosts:
        result = site.result(name)
        assert result["failed"] is True, name
        assert not {"owned", "ansible_facts", "add_host"} & set(result), name
        assert len(json.dumps(result)) < 100_000, name
        assert not [char for char in "\x1b\x07\x9b" if char in json.dumps(result, ensure_ascii=False)], name
    assert not [char for char in "\x07\x9b" if char in run.output], run.output
    assert "\x1b]0" not in run.output
    assert "Traceback" not in run.output
    assert site.hosts[1].served().leaf == issued.certificate


# Other versions


def test_what_another_version_of_us_left_is_gone_over_and_mended(make_fleet: Make) -> None:
    """Another note, one more file in the version, and an absolute link: nothing of that is believed or in the way."""
    site, old = installed(make_fleet)
    script = f"""
        echo '{{"format": 99, "keys": []}}' >{HOME}/proven.json
        echo more >{HOME}/current/bundle.pem
        ln -sfn "$(readlink -f {HOME}/current)" {HOME}/current
    """
    site.host.run("sh", "-ec", script)
    assert site.host.served().leaf == old
    result = site.install()
    assert (bool(result.get("failed")), result["changed"]) == (False, True), result
    assert site.host.run("readlink", f"{HOME}/current").startswith("versions/")
    assert "bundle.pem" not in site.host.run("ls", f"{HOME}/current/")
    assert site.host.served().leaf == old
    assert site.install()["changed"] is False


def find_oldest() -> Path | None:
    """A prefix of a Python 3.8, with nothing else in it."""
    return next((path.parents[1] for path in PYENV.glob("versions/3.8*/bin/python3.8")), None)


@pytest.mark.skipif(find_oldest() is None, reason="no Python 3.8 of pyenv on this machine")
def test_python_3_8_and_nothing_else_is_enough_for_a_host(make_fleet: Make) -> None:
    site = make_fleet(python=find_oldest())
    first = site.issue()
    assert not site.install().get("failed")
    assert site.host.served().leaf == first.certificate
    second = site.issue()
    assert site.install()["changed"] is True
    assert site.host.served().leaf == second.certificate
    info = site.install(module="pomerium_certificate_info")
    assert info["served"]["is_ours"] is True, info
