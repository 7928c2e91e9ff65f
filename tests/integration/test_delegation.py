# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Challenge names that a CNAME, made once, leads elsewhere: there the records are written, and there they are found."""

from __future__ import annotations

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, made, resources

NAME = "_acme-challenge.corp.example.com"
TARGET = "corp.acme.example.com"
CNAME = f"{NAME}.  300  IN  CNAME  {TARGET}."
BY_MAP = {"delegation": {NAME: TARGET}}
BY_DNS = {"follow_cname": True}


@pytest.mark.parametrize("how", [BY_MAP, BY_DNS])
def test_a_person_adds_the_record_where_the_cname_leads(controller: Controller, how: dict[str, object]) -> None:
    controller.lab.paste(CNAME)
    ordered = controller.order(**how)
    (record,) = ordered["dns_records"]
    assert (record["name"], record["challenge_names"]) == (f"{TARGET}.", [f"{NAME}."])
    assert (record["zone"], record["record"]) == ("example.com", "corp.acme")
    assert ordered["instructions"][-1] == CNAME
    controller.paste(ordered)
    assert controller.run("acme_order", **how).ok["action_required"] is False
    assert controller.run("acme_finalize").ok["phase"] == "issued"


@pytest.mark.parametrize("how", [BY_MAP, BY_DNS])
def test_a_publisher_writes_there(controller: Controller, how: dict[str, object]) -> None:
    controller.lab.paste(CNAME)
    before = controller.lab.zone_path.read_text()
    done = controller.run("acme_certificate", publisher=controller.lab.publisher, **how).ok
    assert done["renewed"] and made(controller.lab)["certificates"] == 1
    assert controller.lab.zone_path.read_text() == before


def test_where_the_cname_is_not_made_yet_no_challenge_is_burnt_and_the_order_waits(controller: Controller) -> None:
    options = {"publisher": controller.lab.publisher, **BY_MAP}
    mark = controller.lab.ca.mark()
    failed = controller.run("acme_certificate", **options)
    assert f"is missing at {NAME}: a CNAME to pomerium.example.com, there no TXT record" in failed.error
    assert CNAME in failed.error, "the line that has to be added"
    assert "challenge" not in resources(controller.lab, mark)
    controller.lab.paste(CNAME)
    assert controller.run("acme_certificate", **options).ok["renewed"]
    assert made(controller.lab)["orders"] == 1


def test_by_steps_a_publisher_is_a_task_of_its_own(controller: Controller) -> None:
    """acme_dns_record between acme_order and acme_finalize; it converges, and removes by value."""
    lab = controller.lab
    foreign = f'{NAME}.  300  IN  TXT  "of-somebody-else"'
    lab.paste(foreign)
    before = lab.zone_path.read_text()
    options = {
        "records": controller.order()["dns_records"],
        "publisher": lab.publisher,
        "resolvers": [lab.dns.resolver],
    }
    recursive = {**options, "verify_dns": "recursive"}
    would, first, again = (
        controller.run("acme_dns_record", **recursive, **more).ok for more in ({"check": True}, {"diff": True}, {})
    )
    assert (would["changed"], len(would["servers"])) == (True, 2)
    assert (first["changed"], again["changed"], again["servers"]) == (True, False, [])
    assert (first["records"][0]["zone"], first["records"][0]["ttl"]) == ("example.com", 60)
    assert controller.run("acme_finalize").ok["phase"] == "issued"
    absent = {**recursive, "state": "absent"}
    gone = [controller.run("acme_dns_record", **absent).ok["changed"] for _number in range(2)]
    assert gone == [True, False] and lab.zone_path.read_text() == before


def test_a_record_that_is_not_seen_in_time_fails_and_says_where(controller: Controller) -> None:
    lab = controller.lab
    lab.dns.misbehave(NAME, "stale")
    records = [{"name": NAME, "entries": ["a-value"]}]
    options = {"records": records, "publisher": lab.publisher, "resolvers": [lab.dns.resolver]}
    late = controller.run("acme_dns_record", verify_dns="recursive", propagation_timeout=1, **options)
    assert f'"a-value" is missing at {NAME}' in late.error and lab.dns.resolver in late.error
    assert late["missing_records"][0]["entry"] == "a-value"
