# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet as its own store, on whole machines over SSH: every run comes from a controller that knows nothing."""

from __future__ import annotations

import stat
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import QUICK
from ansible_collections.zerotrust.pomerium.tests.integration.fleet_tasks import SITE, Fleet, leaf_of
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine

NAMES = ("pom1", "pom2")


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    with Lab(hosts=(), pebble={**QUICK, "nonce_reject": 0}) as started:
        yield started


@pytest.fixture
def fleet(lab: Lab, boot: t.Callable[..., Machine], tmp_path: Path) -> Fleet:
    """Two machines."""
    return Fleet(lab, tmp_path, *(boot(name) for name in NAMES))


def test_order_finish_and_idle_from_controllers_that_know_nothing(fleet: Fleet, boot: t.Callable[..., Machine]) -> None:
    """One host is down at each step; what it missed it gets by the next run. So does a new host, without an order."""
    fleet.machines.append(boot("pom3"))
    ordered = fleet.order(down=["pom3"])
    assert "Not looked at: pom3." in ordered.output
    assert set(fleet.keeps("pom1")) == {"order.json", "privkey.pem", "state.json"}
    assert fleet.keeps("pom1") == fleet.keeps("pom2") and not fleet.keeps("pom3")
    for path in (fleet.machine("pom1").tls_directory / "pomerium/pending").rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (0, 0, 0o600)

    finished = fleet.run(down=["pom1"], rc=2)
    assert (fleet.orders, finished.stats("pom1")["failed"]) == (1, 1)
    assert leaf_of(fleet.machine("pom2")) == leaf_of(fleet.machine("pom3"))
    assert not {"order.json", "privkey.pem"} & {*fleet.keeps("pom2"), *fleet.keeps("pom3")}

    rest = fleet.run()
    assert fleet.serves_one()
    assert [rest.stats(name)["changed"] > 0 for name in (*NAMES, "pom3")] == [True, False, False]
    assert not {"order.json", "privkey.pem"} & {*fleet.keeps("pom1")}

    idle = fleet.run(SITE, "-vvvv")
    assert [idle.stats(name)["changed"] for name in (*NAMES, "pom3")] == [0, 0, 0]
    assert idle.output.count("Using module file") == 3 + 1, "one look a host, and one decision"

    fleet.machines.append(boot("pom4"))
    refused = fleet.run(SITE, "--limit", "pom4", rc=2)
    assert "it is limited to pom4" in refused.output and "certificate_allow_limited: true" in refused.output
    joined = fleet.run(SITE, "--limit", "pom1,pom4", "-vvvv")
    assert joined.stats("pom1")["changed"] == 0
    assert fleet.serves_one() and fleet.orders == 1
    assert fleet.keeps("pom4") == fleet.keeps("pom1"), "what was learned"
    assert joined.output.count("Using module file") == 2 + 1 + 1 + 3, (
        "looks; a decision; the key of pom1; to pom4 what was learned, its configuration read, and the install"
    )


def test_the_steps_as_jobs_of_their_own(fleet: Fleet) -> None:
    """Order, finalize and install by three controllers: in between, all that there is lies on the hosts."""
    fleet.order(playbook="zerotrust.pomerium.order")
    early = fleet.run("zerotrust.pomerium.install", rc=2)
    assert "There is no certificate pomerium on the hosts yet." in early.output
    mark = fleet.lab.ca.mark()
    fleet.run("zerotrust.pomerium.finalize")
    assert set(fleet.keeps("pom1")) == {"fullchain.pem", "meta.json", "meta.sig", "privkey.pem", "state.json"}
    asked = len(fleet.lab.ca.requests(mark))
    fleet.run("zerotrust.pomerium.install", down=["pom2"], rc=2)
    fleet.run("zerotrust.pomerium.install")
    assert fleet.serves_one()
    assert all(set(fleet.keeps(name)) == {"state.json"} for name in NAMES)
    assert (fleet.orders, len(fleet.lab.ca.requests(mark))) == (1, asked), "an install asks no CA"


def test_check_mode_says_what_would_be_done_and_keeps_nothing(fleet: Fleet) -> None:
    new = fleet.run(SITE, "--check")
    assert "Would order a certificate for" in new.output
    assert not any(fleet.keeps(name) for name in NAMES) and fleet.orders == 0
    fleet.order()
    before = {name: fleet.keeps(name) for name in NAMES}
    fleet.run(SITE, "--check", "--diff")
    assert {name: fleet.keeps(name) for name in NAMES} == before
    fleet.run(down=["pom2"], rc=2)
    late = fleet.run(SITE, "--check", "--diff")
    assert [late.stats(name)["changed"] for name in NAMES] == [0, 1], "pom2 would get it"
    assert not fleet.machine("pom2").tls_directory.joinpath("pomerium/current").is_symlink()


def test_hosts_that_disagree_get_the_newest_certificate(fleet: Fleet) -> None:
    """One has an older bundle, a damaged order, and half of a version; none of it costs an order."""
    fleet.have_certificate()
    fleet.order(certificate_key_type="ec-384", down=["pom2"], rc=2)
    fleet.run(certificate_key_type="ec-384", down=["pom2"], rc=2)
    assert leaf_of(fleet.machine("pom2")).key_type == "ec-256"
    fleet.change("pom2", "pending/order.json", b'{"order": {"directory": ')
    fleet.change("pom2", "pending/privkey.pem", b"-----BEGIN nothing")
    fleet.change("pom2", "versions/20990101T000000Z-ff/fullchain.pem", b"")
    fleet.change("pom2", "versions/.new-killed/privkey.pem", b"half")
    merged = fleet.run(certificate_key_type="ec-384")
    assert "The pending order on pom2 is damaged and not used." in merged.output
    assert fleet.serves_one() and leaf_of(fleet.machine("pom2")).key_type == "ec-384"
    assert fleet.orders == 2 and set(fleet.keeps("pom2")) == {"state.json"}
    assert not [*(fleet.machine("pom2").tls_directory / "pomerium/versions").glob(".new-*")]


def test_of_two_orders_the_newest_is_finished(fleet: Fleet) -> None:
    first = fleet.order(down=["pom2"])
    second = fleet.order(down=["pom1"])
    assert fleet.orders == 2 and first.record_lines != second.record_lines
    both = fleet.run()
    assert fleet.orders == 2 and fleet.serves_one()
    assert all(set(fleet.keeps(name)) == {"state.json"} for name in NAMES), both.output


def test_names_that_differ_between_hosts_are_said_before_anything_is_ordered(fleet: Fleet) -> None:
    fleet.host_variables = {
        "pom1": {"certificate_identifiers": ["*.corp.example.com", "corp.example.com"]},
        "pom2": {"certificate_identifiers": "*.lab.example.com"},
    }
    refused = fleet.run(certificate_identifiers=None, rc=2)
    assert "pom1: *.corp.example.com, corp.example.com; pom2: *.lab.example.com" in refused.output
    assert fleet.orders == 0
    fleet.run(certificate_identifiers=None, certificate_allow_limited=True)
    assert fleet.orders == 1


def test_a_play_in_batches_orders_nothing_and_gives_each_batch_the_certificate(fleet: Fleet) -> None:
    roles = ["zerotrust.pomerium.certificate", "zerotrust.pomerium.pomerium"]
    paths = {
        "pomerium_fullchain_src": "{{ certificate_result.paths.fullchain }}",
        "pomerium_private_key_src": "{{ certificate_result.paths.privkey }}",
    }
    play = {"hosts": "pomerium", "serial": 1, "gather_facts": False, "become": True, "roles": roles, "vars": paths}
    playbook = fleet.playbook([play])
    refused = fleet.run(playbook, rc=2)
    assert "this is a batch of the play (serial)" in refused.output and fleet.orders == 0
    fleet.order(down=["pom2"])
    fleet.run(down=["pom2"], rc=2)
    fleet.run(playbook)
    assert fleet.serves_one() and fleet.orders == 1


def test_from_the_controller_store_to_the_fleet_and_back_without_an_order(fleet: Fleet, tmp_path: Path) -> None:
    """A pending order as well, with its key."""
    store = str(tmp_path / "store")
    ordered = fleet.run(certificate_store_path=store)
    assert not any(fleet.keeps(name) for name in NAMES)
    again = fleet.run(certificate_store_path=store, certificate_fleet=True)
    assert again.record_lines == ordered.record_lines
    fleet.lab.paste(ordered.record_lines)
    fleet.run()
    assert fleet.serves_one() and fleet.orders == 1

    other = tmp_path / "other"
    fleet.run(certificate_store_path=str(other), certificate_fleet=True)
    key = (other / "lineages/pomerium/current/privkey.pem").read_bytes()
    assert key == (fleet.machine("pom1").tls_directory / "pomerium/current/privkey.pem").read_bytes()
    idle = fleet.run(certificate_store_path=str(other))
    assert [idle.stats(name)["changed"] for name in NAMES] == [0, 0]
    assert fleet.orders == 1
