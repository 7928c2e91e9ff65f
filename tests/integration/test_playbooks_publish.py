# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records published by the user's own tasks: site finishes by itself, cleans up by value, and says what a task said."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.tests.lab.lab import ZONE, Lab

SITE = "zerotrust.pomerium.site"
FOREIGN = "_acme-challenge.corp.example.com.  300  IN  TXT  somebody-elses-value"


def publishing(path: str) -> list[dict[str, t.Any]]:
    """The guide's tasks for a zone that is a file, over {{ zone_path }}."""
    return [
        {
            "name": "Have just these lines in the zone file",
            "ansible.builtin.lineinfile": {
                "path": path,
                "line": "{{ item.0.name }}  {{ item.0.ttl }}  IN  TXT  {{ item.1 }}",
                "state": "{{ certificate_dns_state }}",
            },
            "loop": "{{ certificate_dns_records | ansible.builtin.subelements('entries') }}",
        }
    ]


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    """A lab whose zone holds a value of somebody else's at the same name, and that publishes by tasks."""
    with Lab(hosts=("pom1",)) as started:
        started.paste(FOREIGN)
        path = started.directory / "publish.yml"
        path.write_text(yaml.safe_dump(publishing(str(started.zone_path))))
        started.write_vars(certificate_publish_tasks=str(path))
        yield started


def test_one_run_of_site_publishes_finishes_installs_and_cleans_up(lab: Lab) -> None:
    """R13 among it: the foreign value stays. And the second run has nothing to do."""
    would = lab.playbook(SITE, "--check")
    assert would.rc == 0, would.output
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n", "check mode publishes nothing"

    run = lab.playbook(SITE)
    assert run.rc == 0, run.output
    assert lab.hosts[0].served("app.corp.example.com").leaf is not None
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"
    assert "Have just these lines in the zone file" in run.output

    mark = lab.pebble.mark()
    again = lab.playbook(SITE)
    assert again.rc == 0, again.output
    assert again.stats("pom1")["changed"] == 0
    assert "Have just these lines" not in again.output
    assert lab.pebble.requests(mark) == []


def test_a_run_that_fails_before_the_clean_up_leaves_it_to_the_next(lab: Lab) -> None:
    """R14. The tasks fail at the clean-up of the first run, and only there."""
    path = lab.directory / "publish.yml"
    tasks = publishing(str(lab.zone_path))
    refusing = {"name": "Refuse", "ansible.builtin.fail": {"msg": "the API is down"}}
    refusing["when"] = "certificate_dns_state == 'absent'"  # type: ignore[assignment]
    path.write_text(yaml.safe_dump([refusing, *tasks]))
    run = lab.playbook("zerotrust.pomerium.renew")
    assert run.rc != 0 and "the API is down" in run.output
    assert lab.zone_path.read_text().count("IN  TXT") == 3

    path.write_text(yaml.safe_dump(tasks))
    mark = lab.pebble.mark()
    again = lab.playbook("zerotrust.pomerium.renew")
    assert again.rc == 0, again.output
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"
    assert lab.pebble.requests(mark) == [], "the certificate was there"


def test_by_steps_the_records_are_published_by_finalize(lab: Lab) -> None:
    """After an approval, that is; order prints them and touches no zone. The path may be relative."""
    order = lab.playbook("zerotrust.pomerium.order")
    assert order.rc == 0, order.output
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"
    lab.write_vars(certificate_publish_tasks="../publish.yml")
    finalize = lab.playbook("zerotrust.pomerium.finalize")
    assert finalize.rc == 0, finalize.output
    assert "Have just these lines in the zone file" in finalize.output
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"
