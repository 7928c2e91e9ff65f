# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbook revoke: reissue, install, and only then revoke."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import have_served
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab

REVOKE = "zerotrust.pomerium.revoke"


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    """A lab with a certificate on both hosts."""
    with Lab() as started:
        have_served(started)
        yield started


def current(lab: Lab) -> str:
    return (lab.store_path / "lineages/pomerium/current").readlink().name


def status(lab: Lab, version: str) -> str:
    return str(lab.pebble.cert_status(version.rpartition("-")[2])["Status"])


def served(lab: Lab) -> list[str]:
    return [f"{host.served('app.corp.example.com').leaf.serial_number:x}" for host in lab.hosts]


def test_the_old_certificate_is_revoked_only_when_the_new_one_is_served(lab: Lab) -> None:
    old, asked = current(lab), f"certificate_revoke_version={current(lab)}"
    first = lab.playbook(REVOKE, "-e", asked)
    assert first.rc == 0, first.output
    assert len(first.record_lines) == 2 and "is not revoked yet" in first.output
    assert status(lab, old) == "Valid"
    key = (lab.store_path / "lineages/pomerium/current/privkey.pem").read_bytes()

    lab.paste(first.record_lines)
    second = lab.playbook(REVOKE, "-e", asked)
    assert second.rc == 0, second.output
    new = current(lab)
    assert new != old and served(lab) == [new.rpartition("-")[2]] * 2
    assert (status(lab, old), status(lab, new)) == ("Revoked", "Valid")
    assert (lab.store_path / "lineages/pomerium/current/privkey.pem").read_bytes() != key
    assert lab.pebble.cert_status(old.rpartition("-")[2])["Reason"] == 1, "keyCompromise"
    places = [host.tls_directory / "pomerium/versions" for host in lab.hosts]
    assert [[path.name for path in place.iterdir()] for place in places] == [[new], [new]], "the leaked key is gone"

    again = lab.playbook(REVOKE, "-e", asked)
    assert again.rc == 0, again.output
    assert current(lab) == new and status(lab, new) == "Valid"
    assert sum(again.stats(host.name)["changed"] for host in lab.hosts) == 0


def test_while_a_host_keeps_the_old_certificate_it_is_not_revoked(lab: Lab) -> None:
    old, asked = current(lab), f"certificate_revoke_version={current(lab)}"
    lab.paste(lab.playbook(REVOKE, "-e", asked).record_lines)
    text = lab.hosts[1].config_text
    lab.hosts[1].config_path.write_text("certificates: [")
    failed = lab.playbook(REVOKE, "-e", asked)
    assert failed.rc != 0 and current(lab) != old
    assert status(lab, old) == "Valid"

    lab.hosts[1].config_path.write_text(text)
    away = lab.inventory_path.read_text()
    lab.inventory_path.write_text(away.replace("ansible_connection: local", "ansible_connection: ssh"))
    unreachable = lab.playbook(REVOKE, "-e", asked, "-e", "ansible_host=127.0.0.1", "-e", "ansible_port=1")
    assert unreachable.rc != 0 and "unreachable: " in unreachable.output
    assert status(lab, old) == "Valid"

    lab.inventory_path.write_text(away)
    mended = lab.playbook(REVOKE, "-e", asked)
    assert mended.rc == 0, mended.output
    assert status(lab, old) == "Revoked"


def test_without_a_version_nothing_is_revoked_and_the_option_is_named(lab: Lab) -> None:
    old = current(lab)
    for given in ("", f"versions/{old}"):
        run = lab.playbook(REVOKE, "-e", f"certificate_revoke_version={given}")
        assert run.rc != 0 and "Say which version" in run.output and "certificate_revoke_version" in run.output
        assert "Install the certificate" not in run.output
    missing = lab.playbook(REVOKE, "-e", "certificate_revoke_version=20200101T000000Z-1")
    assert missing.rc != 0 and "20200101T000000Z-1 is not in use any more, and it is not in the store" in missing.output
    assert (current(lab), status(lab, old)) == (old, "Valid")


def test_with_a_limit_it_refuses_to_leave_hosts_with_a_revoked_certificate(lab: Lab) -> None:
    old, asked = current(lab), f"certificate_revoke_version={current(lab)}"
    limited = lab.playbook(REVOKE, "-e", asked, "--limit", "pom1")
    assert limited.rc != 0 and "pom2 would be left with a certificate that is revoked" in limited.output
    assert lab.pebble.log.count("Added order ") == 1 and status(lab, old) == "Valid"

    gone = lab.playbook(REVOKE, "-e", asked, "-e", "pomerium_hosts=pomerium:!pom2")
    assert gone.rc == 0 and len(gone.record_lines) == 2, gone.output
