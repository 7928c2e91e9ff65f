# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks with a publisher of ours: one run, from nothing to the served certificate, in both kinds of store."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.tests.lab.lab import ZONE, Lab

SITE = "zerotrust.pomerium.site"
NAME = "app.corp.example.com"
FOREIGN = "_acme-challenge.corp.example.com.  300  IN  TXT  somebody-elses-value"


@pytest.fixture(params=["controller", "fleet"])
def lab(request: pytest.FixtureRequest) -> t.Iterator[Lab]:
    """A lab with a zone that takes updates, and holds a value of somebody else's at the same name."""
    with Lab(store=request.param) as started:
        started.paste(FOREIGN)
        started.write_vars(certificate_publisher=started.publisher)
        yield started


def are_served(lab: Lab) -> bool:
    """Tell whether all hosts serve a certificate of the CA."""
    return all(host.visit(NAME, root_pem=lab.pebble.root_pem()).status == 200 for host in lab.hosts)


def test_one_run_of_site_does_it_all_and_the_next_one_nothing(lab: Lab) -> None:
    run = lab.playbook(SITE, "-vvvv")
    assert run.rc == 0, run.output
    assert are_served(lab)
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"
    assert run.record_lines == [] and "may be removed" not in run.output
    assert lab.leaked(run.output) == []
    assert run.stdout.count(": Finish the order] ***") == (0 if "certificate_store_path" in lab.variables() else 1)

    mark = lab.pebble.mark()
    again = lab.playbook(SITE)
    assert again.rc == 0, again.output
    assert [again.stats(host.name)["changed"] for host in lab.hosts] == [0, 0]
    assert lab.pebble.requests(mark) == []


@pytest.mark.parametrize("lab", ["fleet"], indirect=True)
def test_by_steps_the_records_are_published_by_finalize(lab: Lab) -> None:
    """After an approval, that is: order touches no zone."""
    order = lab.playbook("zerotrust.pomerium.order")
    assert order.rc == 0, order.output
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"
    finalize = lab.playbook("zerotrust.pomerium.finalize")
    assert finalize.rc == 0, finalize.output
    install = lab.playbook("zerotrust.pomerium.install")
    assert install.rc == 0, install.output
    assert are_served(lab)
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"


@pytest.mark.parametrize("lab", ["controller"], indirect=True)
def test_where_the_zone_cannot_be_written_the_hosts_keep_what_they_have_and_the_run_says_why(lab: Lab) -> None:
    """In check mode nothing is published, and nothing is wrong."""
    would = lab.playbook(SITE, "--check")
    assert would.rc == 0 and "Would order a certificate" in would.output, would.output
    unsigned = {**lab.publisher, "key_name": "", "key_secret": ""}
    failed = lab.playbook(SITE, "-e", json.dumps({"certificate_publisher": unsigned}))
    assert failed.rc != 0 and "REFUSED" in failed.output, failed.output
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"
    again = lab.playbook(SITE)
    assert again.rc == 0, again.output
    assert are_served(lab)
    assert lab.pebble.log.count("Added order ") == 1


def test_two_ways_to_publish_are_refused_before_anything_is_done() -> None:
    with Lab(hosts=("pom1",)) as lab:
        lab.write_vars(certificate_publisher=lab.publisher, certificate_publish_tasks=str(lab.write_publish_tasks()))
        run = lab.playbook(SITE)
        assert run.rc != 0 and "only one may publish" in run.output, run.output
        assert lab.pebble.requests() == []
