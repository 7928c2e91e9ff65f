# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks where hosts go back to the certificate before, and are held: install, site and revoke."""

from __future__ import annotations

import shutil
import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import have_served
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import PlaybookRun

SITE, INSTALL = "zerotrust.pomerium.site", "zerotrust.pomerium.install"
PREVIOUS, CURRENT = ("-e", "pomerium_version=previous"), ("-e", "pomerium_version=current")


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    """A lab whose hosts have had two certificates."""
    with Lab() as started:
        for key_type in ("ec-256", "ec-384"):
            have_served(started, key_type=key_type)
        started.write_vars(certificate_key_type="ec-384")
        yield started


def renew(lab: Lab, key_type: str) -> None:
    """Have another certificate; hosts that are held do not get it."""
    lab.write_vars(certificate_key_type=key_type)
    first = lab.playbook(SITE)
    assert first.rc == 0, first.output
    lab.paste(first.record_lines)
    second = lab.playbook(SITE)
    assert second.rc == 0, second.output


def versions(lab: Lab) -> list[str]:
    return sorted(path.name for path in (lab.store_path / "lineages/pomerium/versions").iterdir())


def current(lab: Lab) -> str:
    return (lab.store_path / "lineages/pomerium/current").readlink().name


def served(lab: Lab) -> list[str]:
    """The version that each host serves."""
    serials = [f"{host.served('app.corp.example.com').leaf.serial_number:x}" for host in lab.hosts]
    return [version for serial in serials for version in versions(lab) if version.endswith(f"-{serial}")]


def squeezed(run: PlaybookRun) -> str:
    """Its output in one line: warnings are wrapped to the width of a terminal."""
    return " ".join(run.output.split())


def test_install_goes_back_where_the_store_is_gone_the_ca_down_and_nothing_of_the_certificate_is_given(
    lab: Lab,
) -> None:
    new = current(lab)
    (old,) = set(versions(lab)) - {new}
    assert served(lab) == [new, new]
    shutil.move(lab.store_path, lab.directory / "gone")
    lab.pebble.stop()
    lab.dns.__exit__(None, None, None)
    lab.vars_path.write_text("pomerium_become: false\n")
    run = lab.playbook(INSTALL, *PREVIOUS)
    shutil.move(lab.directory / "gone", lab.store_path)
    assert run.rc == 0, run.output
    assert served(lab) == [old, old]
    for host in lab.hosts:
        assert run.stats(host.name)["changed"] == 1
        assert f"{host.name}: done: go back to version {old} and hold it; served" in squeezed(run)
    again = lab.playbook(INSTALL, *PREVIOUS)
    assert again.rc == 0 and served(lab) == [old, old]
    assert sum(again.stats(host.name)["changed"] for host in lab.hosts) == 0


def test_check_mode_of_going_back_changes_nothing_and_says_where_to(lab: Lab) -> None:
    new = current(lab)
    (old,) = set(versions(lab)) - {new}
    run = lab.playbook(INSTALL, *PREVIOUS, "--check")
    assert run.rc == 0, run.output
    assert f"pom1: would go back to version {old} and hold it" in squeezed(run)
    assert served(lab) == [new, new]


def test_site_renews_the_others_and_reports_the_host_that_is_held(lab: Lab) -> None:
    before = current(lab)
    (old,) = set(versions(lab)) - {before}
    limited = lab.playbook(INSTALL, *PREVIOUS, "--limit", "pom2")
    assert limited.rc == 0, limited.output
    assert served(lab) == [before, old]
    renew(lab, "ec-256")
    newest = current(lab)
    assert newest not in (before, old)
    assert served(lab) == [newest, old]
    run = lab.playbook(SITE)
    assert run.rc == 0, run.output
    assert f"pom2: held at version {old} instead of {before} since " in squeezed(run)
    assert "pom1: held" not in squeezed(run)

    lifted = lab.playbook(INSTALL, *CURRENT)
    assert lifted.rc == 0, lifted.output
    assert [lifted.stats(host.name)["changed"] for host in lab.hosts] == [0, 1]
    assert served(lab) == [newest, newest]
    assert "held" not in squeezed(lab.playbook(SITE))


def test_what_a_held_host_serves_is_not_revoked_and_the_host_is_named(lab: Lab) -> None:
    new = current(lab)
    (old,) = set(versions(lab)) - {new}
    assert lab.playbook(INSTALL, *PREVIOUS, "--limit", "pom2").rc == 0
    revoke = ["zerotrust.pomerium.revoke", "-e"]
    refused = lab.playbook(*revoke, f"certificate_revoke_version={old}")
    assert refused.rc != 0
    assert f"pom2 would be left with a certificate that is revoked, since somebody holds it at {old}" in squeezed(
        refused
    )
    assert "With -e pomerium_version=current this lifts the hold" in squeezed(refused)
    assert lab.pebble.cert_status(old.rpartition("-")[2])["Status"] == "Valid"

    lab.paste(lab.playbook(*revoke, f"certificate_revoke_version={new}").record_lines)
    left = lab.playbook(*revoke, f"certificate_revoke_version={new}")
    assert left.rc == 0, left.output
    assert lab.pebble.cert_status(new.rpartition("-")[2])["Status"] == "Revoked", "pom2 does not serve this one"
    assert served(lab) == [current(lab), old]

    done = lab.playbook(*revoke, f"certificate_revoke_version={old}", *CURRENT)
    assert done.rc == 0, done.output
    assert lab.pebble.cert_status(old.rpartition("-")[2])["Status"] == "Revoked"
    assert served(lab) == [current(lab)] * 2
    back = lab.playbook(INSTALL, *PREVIOUS)
    assert [back.stats(host.name)["failed"] for host in lab.hosts] == [1, 1], "nobody goes back to a leaked key"
    assert f"(there are: {current(lab)})" in squeezed(back)


def test_a_host_without_a_version_before_fails_alone(lab: Lab) -> None:
    new = current(lab)
    (old,) = set(versions(lab)) - {new}
    shutil.rmtree(lab.hosts[0].tls_directory / "pomerium/versions" / old)
    run = lab.playbook(INSTALL, *PREVIOUS)
    assert run.rc != 0
    assert f"none that was in use before {new}" in squeezed(run)
    assert served(lab) == [new, old]
