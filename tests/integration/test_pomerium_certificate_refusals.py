# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configurations and places as they are found on hosts: installed with nothing else changed, or refused untouched."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.tests.integration.kill_points import Installer, restore, save
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import NAMES
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine

Change = t.Callable[[str], str]
OURS = ("certificate_file:", "certificate_key_file:", "certificate_authority_file:")
HOME = "/etc/pomerium-tls/pomerium"
CONFIG = "/etc/pomerium/config.yaml"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority("Lab CA")


@pytest.fixture(scope="module")
def booted(can_boot: None, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("machine"), "pom1") as machine:
        save(machine)
        yield machine


@pytest.fixture
def machine(booted: Machine) -> Machine:
    """One for all tests, as it was when it was booted."""
    restore(booted, "rm -rf /srv/* /elsewhere", "systemctl kill --signal=KILL pomerium")  # a pipe would hold up its end
    booted.restart()
    return booted


def tree(machine: Machine) -> str:
    """All that an install may change, with modes, owners and contents."""
    places = ["/etc/pomerium", "/etc/pomerium-tls", "/srv"]
    listed = machine.run("find", *places, "-printf", "%p %M %u %g %l\n", check=False)
    return listed + machine.run("find", *places, "-type", "f", "-exec", "sha256sum", "{}", "+", check=False)


def write_config(machine: Machine, text: str | bytes) -> None:
    machine.write(CONFIG, text, mode=0o640, owner="pomerium:pomerium")


TAKEN: dict[str, Change] = {
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "a byte order mark": lambda text: f"\ufeff{text}",
    "anchors": lambda text: f"{text}x_names: &names [a, b]\ny_names: *names\n",
    "merge keys": lambda text: f"{text}x_one: &one {{a: 1}}\nx_two:\n  <<: *one\n  b: 2\n",
    "a comment at the end": lambda text: f"{text}# the end",
    "no newline at the end": lambda text: text.rstrip("\n"),
    "upper-case keys": lambda text: text.replace("address:", "ADDRESS:", 1),
    "templates of other tools": lambda text: f"{text}x_one: <% name %>\nx_two: ${{NAME}}\n",
    "quoted keys": lambda text: text.replace("address:", '"address":', 1),
    "an explicit document": lambda text: f"%YAML 1.1\n---\n{text}...\n",
}


@pytest.mark.parametrize("change", TAKEN.values(), ids=TAKEN.keys())
def test_a_configuration_with_this_is_edited_and_served_and_every_other_line_survives(
    machine: Machine, ca: Authority, change: Change
) -> None:
    issued = ca.issue(*NAMES)
    before = change(machine.config_text)
    write_config(machine, before)
    machine.restart()
    result = Installer(machine).install(issued)
    assert machine.served().leaf == issued.certificate
    assert result["reloaded"] == "none"
    after = (machine.etc / "config.yaml").read_bytes().decode()
    assert [line for line in after.splitlines() if not line.startswith(OURS)] == before.splitlines()
    assert len([line for line in after.splitlines() if line.startswith(OURS)]) == len(OURS)
    machine.restart()
    assert machine.served().leaf == issued.certificate
    assert Installer(machine).install(issued)["changed"] is False


REFUSED: dict[str, tuple[Change, str]] = {
    "several documents": (lambda text: f"{text}---\nmore: 1\n", "several documents"),
    "a tab": (lambda text: f"{text}x_one:\n\t- 1\n", "not YAML"),
    "a key twice": (lambda text: f"{text}address: :9\n", "a key that is there twice"),
    "a key twice in different letters": (
        lambda text: f"{text}certificate_file: /a\nCERTIFICATE_FILE: /b\n",
        "certificate_file is there twice, in different letters",
    ),
    "flow style": (lambda text: "{address: ':8443', log_level: info}\n", "flow style"),
    "a list": (lambda text: "- address: :8443\n", "not a mapping"),
    "Jinja that nobody filled in": (lambda text: f"{text}x_one: {{{{ vault_secret }}}}\n", "not YAML"),
    "a latin-1 letter": (lambda text: f"{text}# Gr\udcfc\udcdfe\n", "not UTF-8"),
}


@pytest.mark.parametrize(("change", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_a_configuration_with_this_is_refused_by_line_and_column_with_nothing_changed(
    machine: Machine, ca: Authority, change: Change, why: str
) -> None:
    pid = machine.pid
    text = change(machine.config_text).encode("utf-8", "surrogateescape")
    write_config(machine, text)
    before = tree(machine)
    with pytest.raises(UserError) as refused:
        Installer(machine).install(ca.issue(*NAMES))
    assert f"{why}" in str(refused.value)
    assert "line " in str(refused.value)
    assert ", column " in str(refused.value)
    assert CONFIG in str(refused.value)
    assert machine.shared_secret not in str(refused.value)
    assert tree(machine) == before
    assert (machine.pid, machine.state) == (pid, "active")


AS_POMERIUM = "setpriv --reuid=pomerium --regid=pomerium --clear-groups"
PLACES: dict[str, tuple[str, dict[str, str], str]] = {
    "a linked configuration": (
        "mv /etc/pomerium/config.yaml /etc/pomerium/real.yaml; ln -s real.yaml /etc/pomerium/config.yaml",
        {},
        "symbolic link.*/etc/pomerium/real.yaml",
    ),
    "a configuration that is a directory": (f"rm {CONFIG}; {AS_POMERIUM} mkdir {CONFIG}", {}, "not a plain file"),
    "a pipe for a configuration": (f"rm {CONFIG}; {AS_POMERIUM} mkfifo {CONFIG}", {}, "not a plain file"),
    "no configuration": ("mv /etc/pomerium/config.yaml /etc/pomerium/own.yaml", {}, "does not exist.*own.yaml"),
    "a group that does not exist": ("true", {"group": "nobodies"}, "group 'nobodies'.*does not exist on this host"),
    "an owner that does not exist": ("true", {"owner": "somebody"}, "owner 'somebody'.*does not exist on this host"),
    "a directory of Pomerium's own": (
        "true",
        {"directory": "/etc/pomerium/tls"},
        "belongs to pomerium, who could replace",
    ),
    "a directory that everybody may write": (
        "mkdir /srv/open; chmod 0777 /srv/open",
        {"directory": "/srv/open/tls"},
        "writable by everybody",
    ),
    "a link in place of the directory": (
        "mkdir /srv/tls; ln -s /srv/tls /etc/pomerium-tls",
        {},
        "a symbolic link, and links are not followed",
    ),
}
"""What was done to the host, options, and why they are refused. A pipe would have root wait for ever; through a link
root would write where others do; a place of Pomerium's own it could move away, and put one there that root writes
through. What others planted for the configuration to have root read or copy it is in ..._hostile.py."""


@pytest.mark.parametrize(("script", "options", "why"), PLACES.values(), ids=PLACES.keys())
def test_such_a_place_is_refused_by_its_option_with_nothing_changed(
    machine: Machine, ca: Authority, script: str, options: dict[str, str], why: str
) -> None:
    pid = machine.pid
    machine.run("sh", "-c", script)
    before = tree(machine)
    with pytest.raises(UserError, match=f"(?s){why}"):
        Installer(machine, **options).install(ca.issue(*NAMES))
    assert tree(machine) == before
    assert (machine.pid, machine.state) == (pid, "active")


@pytest.mark.parametrize("name", ["", "versions", ".lock", "proven.json"])
def test_a_link_in_our_own_place_is_not_followed(machine: Machine, ca: Authority, name: str) -> None:
    """Only root can put one there; somebody who once could must not go on through it."""
    Installer(machine).install(ca.issue(*NAMES))
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
