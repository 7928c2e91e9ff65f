# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records published by the user's own tasks: site finishes by itself, cleans up by value, and says what a task said."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.tests.lab.lab import ZONE, Lab
from ansible_collections.zerotrust.pomerium.tests.unit.test_examples import list_guide_blocks

SITE = "zerotrust.pomerium.site"
FOREIGN = "_acme-challenge.corp.example.com.  300  IN  TXT  somebody-elses-value"


def publishing(lab: Lab) -> list[dict[str, t.Any]]:
    """The guide's tasks for a zone that is a file, over the lab's zone."""
    block = list_guide_blocks("guide_publish_by_tasks")[0]
    return t.cast(
        "list[dict[str, t.Any]]", yaml.safe_load(block.replace("/srv/dns/example.com.zone", str(lab.zone_path)))
    )


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    """A lab whose zone holds a value of somebody else's at the same name, and that publishes by tasks."""
    with Lab(hosts=("pom1",)) as started:
        started.paste(FOREIGN)
        path = started.directory / "publish.yml"
        path.write_text(yaml.safe_dump(publishing(started)))
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
    assert "Have the records in the zone file, or not" in run.output

    mark = lab.pebble.mark()
    again = lab.playbook(SITE)
    assert again.rc == 0, again.output
    assert again.stats("pom1")["changed"] == 0
    assert "Have the records" not in again.output
    assert lab.pebble.requests(mark) == []


def test_a_run_that_fails_before_the_clean_up_leaves_it_to_the_next(lab: Lab) -> None:
    """R14. The tasks fail at the clean-up of the first run, and only there."""
    path = lab.directory / "publish.yml"
    tasks = publishing(lab)
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
    assert "Have the records in the zone file, or not" in finalize.output
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"
