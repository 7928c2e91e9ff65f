# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records published by the user's own tasks: site finishes by itself, cleans up by value, and says what a task said."""

from __future__ import annotations

import json
import typing as t
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.tests.lab.bind import KEY_NAME, Bind, why_missing
from ansible_collections.zerotrust.pomerium.tests.lab.lab import ZONE, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.needed import need
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import COLLECTIONS
from ansible_collections.zerotrust.pomerium.tests.unit.test_examples import list_guide_blocks

SITE = "zerotrust.pomerium.site"
OTHERS = COLLECTIONS / "collections"
"""Where `make collections` puts those of others."""
FOREIGN = "_acme-challenge.corp.example.com.  300  IN  TXT  somebody-elses-value"


def publishing(lab: Lab) -> list[dict[str, t.Any]]:
    """The guide's tasks for a zone that is a file, over the lab's zone."""
    block = list_guide_blocks("guide_publish_by_tasks")[0]
    return t.cast(
        "list[dict[str, t.Any]]", yaml.safe_load(block.replace("/srv/dns/example.com.zone", str(lab.zone_path)))
    )


def write_tasks(lab: Lab, *first: dict[str, t.Any]) -> None:
    """Write the user's tasks: some of a test's own, and the guide's after them."""
    (lab.directory / "publish.yml").write_text(yaml.safe_dump([*first, *publishing(lab)]))


def refusing(state: str) -> dict[str, t.Any]:
    """A task that fails in one of the two states, as an API that is down."""
    refusal = {"msg": "the API is down"}
    return {"name": "Refuse", "ansible.builtin.fail": refusal, "when": f"certificate_dns_state == '{state}'"}


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    """A lab whose zone holds a value of somebody else's at the same name, and that publishes by tasks."""
    with Lab() as started:
        started.paste(FOREIGN)
        write_tasks(started)
        started.write_vars(certificate_publish_tasks=str(started.directory / "publish.yml"))
        yield started


def is_served(lab: Lab) -> list[bool]:
    return [host.served("app.corp.example.com").leaf is not None for host in lab.hosts]


def test_one_run_of_site_publishes_finishes_installs_and_cleans_up(lab: Lab) -> None:
    """R13 among it: the foreign value stays. And the second run has nothing to do."""
    would = lab.playbook(SITE, "--check")
    assert would.rc == 0, would.output
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n", "check mode publishes nothing"

    run = lab.playbook(SITE)
    assert run.rc == 0, run.output
    assert is_served(lab) == [True, True]
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"
    assert "Have the records in the zone file, or not" in run.output

    mark = lab.pebble.mark()
    again = lab.playbook(SITE)
    assert again.rc == 0, again.output
    assert again.stats("pom1")["changed"] == 0
    assert "Have the records" not in again.output
    assert lab.pebble.requests(mark) == []


def test_where_the_clean_up_fails_the_hosts_are_served_all_the_same_and_the_next_run_repeats_it(lab: Lab) -> None:
    """R14. The run is red in the end, names the task, and the certificate is not ordered twice."""
    write_tasks(lab, refusing("absent"))
    run = lab.playbook(SITE)
    assert run.rc != 0 and "the API is down" in run.output and "The task Refuse has failed" in run.output
    assert is_served(lab) == [True, True]
    assert lab.zone_path.read_text().count("IN  TXT") == 3

    write_tasks(lab)
    mark = lab.pebble.mark()
    again = lab.playbook(SITE)
    assert again.rc == 0, again.output
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"
    assert lab.pebble.requests(mark) == [], "the certificate was there"


def test_where_publishing_fails_the_order_waits_and_the_next_run_goes_on_with_it(lab: Lab) -> None:
    write_tasks(lab, refusing("present"))
    failed = lab.playbook(SITE)
    assert failed.rc != 0 and "The task Refuse has failed" in failed.output
    assert lab.zone_path.read_text() == ZONE + FOREIGN + "\n"

    write_tasks(lab)
    again = lab.playbook("zerotrust.pomerium.renew")
    assert again.rc == 0, again.output
    assert lab.pebble.log.count("Added order ") == 1


def test_the_users_tasks_run_on_the_controller_and_where_they_delegate_to_with_the_rights_that_they_ask_for(
    lab: Lab,
) -> None:
    """What keeps our own tasks on the controller must not reach theirs: they would change the wrong machine."""
    seen = {name: lab.directory / f"{name}.seen" for name in ("here", "ssh", "become")}
    for name, then in (("ssh", "exit 255"), ("become", 'while [ "$1" != /bin/sh ]; do shift; done; exec "$@"')):
        (lab.directory / name).write_text(f"#!/bin/sh\ntouch {seen[name]}\n{then}\n")
        (lab.directory / name).chmod(0o755)
    write_tasks(
        lab,
        {"ansible.builtin.file": {"path": str(seen["here"]), "state": "touch"}},
        {"ansible.builtin.command": "true", "delegate_to": "dns1", "ignore_unreachable": True, "ignore_errors": True},
        {"ansible.builtin.command": "true", "become": True, "become_exe": str(lab.directory / "become")},
    )
    inventory = lab.directory / "dns.yml"
    dns1 = {"ansible_connection": "ssh", "ansible_ssh_executable": str(lab.directory / "ssh")}
    inventory.write_text(yaml.safe_dump({"dns": {"hosts": {"dns1": dns1}}}))
    same_user = {"ANSIBLE_BECOME_ALLOW_SAME_USER": "true"}
    run = lab.playbook("zerotrust.pomerium.renew", "-i", str(inventory), env=same_user)
    assert run.rc == 0, run.output
    assert [name for name, path in seen.items() if path.exists()] == ["here", "ssh", "become"]


def test_variables_that_a_survey_leaves_empty_count_as_not_given(lab: Lab) -> None:
    """AWX passes `''`, which core >= 2.19 turns into null; older ones refuse null for a role's option by themselves."""
    older = tuple(map(int, version("ansible-core").split(".")[:2])) < (2, 19)
    for empty in ("",) if older else ("", None):
        names = ("pomerium_hosts", "pomerium_serial", "certificate_publish_tasks", "certificate_profile")
        run = lab.playbook(SITE, "-e", json.dumps(dict.fromkeys(names, empty)))
        assert run.rc == 0, run.output
        assert len(run.record_lines) == 2


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


@pytest.fixture
def bind(tmp_path: Path) -> t.Iterator[Bind]:
    """The lab's zone in a real name server."""
    need(why_missing())
    with Bind(tmp_path / "bind", {"example.com": ZONE}) as running:
        yield running


def test_a_module_of_others_publishes_into_a_real_name_server_and_removes_it(bind: Bind) -> None:
    """By the guide's tasks for community.general.nsupdate: both values at once, and the key is not in the output."""
    missing = not (OTHERS / "ansible_collections/community/general").is_dir()
    need("community.general is not in .cache/collections (make collections)" if missing else None)
    (block,) = [block for block in list_guide_blocks("guide_publishers") if "community.general.nsupdate" in block]
    (task,) = yaml.safe_load(block)
    task["community.general.nsupdate"].update(server=bind.address, port=bind.port, key_name=KEY_NAME)
    collections = {"ANSIBLE_COLLECTIONS_PATH": f"{COLLECTIONS}:{OTHERS}"}
    with Lab(hosts=("pom1",), resolver=bind.resolver) as lab:
        path = lab.directory / "publish.yml"
        path.write_text(yaml.safe_dump([task]))
        lab.write_vars(
            certificate_publish_tasks=str(path),
            certificate_resolvers=[bind.resolver],
            vault_dns_key_secret=bind.key_secret,
        )
        run = lab.playbook(SITE, "-vvv", env=collections)
        assert run.rc == 0, run.output
        assert is_served(lab) == [True]
        assert bind.log.count("adding an RR at '_acme-challenge.corp.example.com' TXT") == 2
        assert bind.txt("example.com") == {}
        assert bind.key_secret not in run.output

        again = lab.playbook(SITE, env=collections)
        assert again.rc == 0, again.output
        assert again.stats("pom1")["changed"] == 0
