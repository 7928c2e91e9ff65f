# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Installs that roll over a fleet: batches, hosts that fail or cannot be reached, the summary and the exit code."""

from __future__ import annotations

import json
import shutil
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.plugins.filter import install_summary
from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import have_certificate
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import Plain
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import PlaybookRun
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.unit.test_examples import read_examples

SITE, INSTALL = "zerotrust.pomerium.site", "zerotrust.pomerium.install"
NAMES = ("pom1", "pom2", "pom3", "pom4")
SERVED = r"served: *.corp.example.com, corp.example.com until "


@pytest.fixture(scope="module")
def lab_with_certificate() -> t.Iterator[Lab]:
    with Lab(hosts=NAMES) as started:
        have_certificate(started)
        yield started


@pytest.fixture
def lab(lab_with_certificate: Lab) -> Lab:
    """Four hosts without a certificate, one in the store."""
    started = lab_with_certificate
    for host in started.hosts:
        host.config_path.write_text(host.original_config_text)
        shutil.rmtree(host.tls_directory, ignore_errors=True)
    started.write_inventory()
    return started


def set_host(lab: Lab, name: str, **variables: t.Any) -> None:
    """Give one host these variables."""
    inventory = yaml.safe_load(lab.inventory_path.read_text())
    inventory["pomerium"]["hosts"][name].update(variables)
    lab.inventory_path.write_text(yaml.safe_dump(inventory, sort_keys=False))


@pytest.fixture
def closed_port() -> t.Iterator[int]:
    """A port that nothing listens at."""
    port = LEASES.lease()
    yield port
    LEASES.release(port)


def take_down(lab: Lab, name: str, port: int) -> None:
    """Make a host one that cannot be reached."""
    set_host(lab, name, ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=port)


@pytest.fixture
def break_host() -> t.Iterator[t.Callable[[Lab, str], None]]:
    """Make a host roll back whatever is installed: where its Pomerium is to be, something else answers."""
    with Plain() as port:
        yield lambda lab, name: set_host(lab, name, pomerium_probe={"port": port, "timeout": 1})


def summary(run: PlaybookRun) -> dict[str, str]:
    """What the last summary says of each host."""
    lines = run.stdout.rpartition('"msg": [')[2].partition("\n    ]")[0].splitlines()
    said = [json.loads(line.strip().rstrip(",")) for line in lines if line.strip()]
    return {host: words for host, _colon, words in (line.partition(": ") for line in said)}


def batches(run: PlaybookRun) -> int:
    return run.stdout.count("PLAY [Install the certificate] ")


def failed(lab: Lab, run: PlaybookRun) -> list[str]:
    """The hosts that the recap counts as failed or unreachable: what AWX shows in red."""
    return [name for name in NAMES if run.stats(name).get("failed") or run.stats(name).get("unreachable")]


def has_certificate(lab: Lab) -> list[str]:
    return [host.name for host in lab.hosts if (host.tls_directory / "pomerium/current").is_symlink()]


def test_a_host_that_rolls_back_ends_the_roll_and_those_not_reached_are_named(
    lab: Lab, break_host: t.Any, closed_port: int
) -> None:
    break_host(lab, "pom2")
    take_down(lab, "pom1", closed_port)
    run = lab.playbook(SITE, "-e", "pomerium_serial=1")
    said = summary(run)
    assert [*said] == [*NAMES]
    assert said["pom1"].startswith("unreachable: ") and f"port {closed_port}: Connection refused" in said["pom1"]
    assert said["pom2"].startswith("rolled back: Pomerium did not serve the new certificate, and everything was put")
    assert [said[name] for name in ("pom3", "pom4")] == ["not reached: the install ended before its turn"] * 2
    assert (run.rc, batches(run), failed(lab, run)) == (2, 2, ["pom2"])
    assert has_certificate(lab) == []

    on = lab.playbook(SITE, "-e", "pomerium_serial=1", "-e", "pomerium_keep_going=true")
    assert (on.rc, batches(on), failed(lab, on)) == (2, 4, ["pom1", "pom2"])
    assert [words.partition(": ")[0] for words in summary(on).values()] == [
        *("unreachable", "rolled back", "installed, served", "installed, served")
    ]
    assert has_certificate(lab) == ["pom3", "pom4"]


def test_a_host_that_is_down_ends_no_batch_turns_the_run_red_and_gets_it_the_next_time_without_an_order(
    lab: Lab, closed_port: int
) -> None:
    for name in ("pom1", "pom3"):
        take_down(lab, name, closed_port)
    run = lab.playbook(INSTALL, "-e", "pomerium_serial=1")
    assert (run.rc, batches(run), failed(lab, run)) == (2, 4, ["pom1", "pom3"])
    assert has_certificate(lab) == ["pom2", "pom4"]

    lab.write_inventory()
    mark = lab.pebble.mark()
    again = lab.playbook(SITE)
    assert again.rc == 0, again.output
    assert has_certificate(lab) == [*NAMES]
    assert [again.stats(name)["changed"] for name in NAMES] == [1, 0, 1, 0]
    assert lab.pebble.requests(mark) == []


def test_a_fleet_that_is_down_as_a_whole_is_a_red_run(lab: Lab, closed_port: int) -> None:
    for name in NAMES:
        take_down(lab, name, closed_port)
    run = lab.playbook(SITE)
    assert (run.rc, failed(lab, run)) == (2, [*NAMES])
    assert all(words.startswith("unreachable: ") for words in summary(run).values())


@pytest.mark.parametrize(
    ("given", "count"),
    [('{"pomerium_serial": [1, "100%"]}', 2), ('pomerium_serial="1, 50%"', 3)],
)
def test_batches_are_given_as_a_list_or_as_one_typed_into_a_survey(lab: Lab, given: str, count: int) -> None:
    run = lab.playbook(INSTALL, "-e", given)
    assert (run.rc, batches(run)) == (0, count), run.output
    assert has_certificate(lab) == [*NAMES]
    assert [*summary(run)] == [*NAMES]


def test_batches_that_are_no_numbers_are_refused_by_name_before_anything_is_done(lab: Lab) -> None:
    run = lab.playbook(INSTALL, "-e", "pomerium_serial=one")
    assert run.rc == 2
    assert "pomerium_serial is one" in run.output and "pomerium_serial=1,25%,100%" in run.output
    limited = lab.playbook(INSTALL, "-e", "pomerium_serial=one", "--limit", "pom1")
    assert limited.rc != 0
    assert has_certificate(lab) == []


def test_check_mode_says_of_each_host_what_would_be_done(lab: Lab) -> None:
    assert lab.playbook(INSTALL, "--limit", "pom1").rc == 0
    run = lab.playbook(SITE, "--check")
    said = summary(run)
    assert run.rc == 0, run.output
    assert said["pom1"].startswith(f"installed already, {SERVED}")
    assert all(said[name].startswith("would install version 20") for name in NAMES[1:])
    assert has_certificate(lab) == ["pom1"]


def test_a_play_of_the_users_own_is_summed_up_as_the_filters_example_does_it(lab: Lab, closed_port: int) -> None:
    take_down(lab, "pom4", closed_port)
    current = lab.store_path / "lineages/pomerium/current"
    install = {
        "name": "Install",
        "ansible.builtin.import_role": {"name": "zerotrust.pomerium.pomerium"},
        "vars": {
            "pomerium_fullchain_src": str(current / "fullchain.pem"),
            "pomerium_private_key_src": str(current / "privkey.pem"),
        },
        "ignore_errors": True,
        "ignore_unreachable": True,
    }
    examples = yaml.safe_load(read_examples(Path(install_summary.__file__)))
    play = {"name": "Own", "hosts": "pomerium", "gather_facts": False, "tasks": [install, *examples]}
    path = lab.directory / "own.yml"
    path.write_text(yaml.safe_dump([play], sort_keys=False))
    said = summary(lab.playbook(path))
    assert [*said] == [*NAMES]
    assert [words.partition(": ")[0] for words in said.values()] == ["installed, served"] * 3 + ["unreachable"]


def test_a_variable_that_is_no_good_fails_before_the_host_is_touched(lab: Lab) -> None:
    run = lab.playbook(INSTALL, "-e", "pomerium_reload=perhaps")
    assert run.rc == 2
    assert all(words.startswith("failed: ") and "perhaps" in words for words in summary(run).values()), run.output
    assert has_certificate(lab) == []
