# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must not harm a fleet that is its own store: hosts that lie, lost keys, runs that are killed or meet."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import QUICK
from ansible_collections.zerotrust.pomerium.tests.integration.fleet_tasks import SITE, Fleet, leaf_of
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, key_pem, new_key
from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy
from ansible_collections.zerotrust.pomerium.tests.lab.lab import ZONE, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine
from ansible_collections.zerotrust.pomerium.tests.lab.process import kill_tree, leashed
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    with Lab(hosts=(), faults=True, pebble={**QUICK, "nonce_reject": 0}) as started:
        yield started


@pytest.fixture
def fleet(lab: Lab, boot: t.Callable[..., Machine], tmp_path: Path) -> Fleet:
    """Two machines."""
    return Fleet(lab, tmp_path, *(boot(name) for name in ("pom1", "pom2")))


def proxy(fleet: Fleet) -> FaultProxy:
    """What the CA is reached through."""
    assert fleet.lab.proxy is not None
    return fleet.lab.proxy


def forge(fleet: Fleet, name: str) -> None:
    """Be root on a machine: a certificate made there, said to be what the fleet's account ordered, with its signature
    over what it did order."""
    home = fleet.machine(name).tls_directory / "pomerium"
    forged = Authority("Mallory").issue("*.corp.example.com", "corp.example.com", days=900)
    meta = json.loads((home / "current/meta.json").read_text())
    version = (home / "current").readlink()
    fleet.change(name, f"{version}/fullchain.pem", forged.fullchain_pem, mode=0o644)
    fleet.change(name, f"{version}/privkey.pem", forged.key_pem, mode=0o640)
    meta["not_after"] = "2099-01-01T00:00:00Z"
    fleet.change(name, f"{version}/meta.json", json.dumps(meta).encode(), mode=0o644)


def test_a_host_that_lies_feeds_no_other_and_is_given_the_true_certificate(fleet: Fleet) -> None:
    fleet.have_certificate()
    true = leaf_of(fleet.machine("pom2"))
    forge(fleet, "pom1")
    run = fleet.run(pomerium_allow_staging=True)
    assert "neither the account key signed nor a trusted root has issued" in run.output
    assert [leaf_of(machine) for machine in fleet.machines] == [true, true] and fleet.orders == 1

    home = fleet.machine("pom1").tls_directory / "pomerium/current"  # the true note, beside another certificate
    meta = (home / "meta.json").read_bytes()
    forge(fleet, "pom1")
    (home / "meta.json").write_bytes(meta)
    fleet.run(pomerium_allow_staging=True)
    assert [leaf_of(machine) for machine in fleet.machines] == [true, true] and fleet.orders == 1


def test_a_host_cannot_have_other_records_removed_or_stop_the_fleet_for_long(fleet: Fleet) -> None:
    fleet.have_certificate()
    state = json.loads(fleet.keeps("pom1")["state.json"])
    now = json.loads(json.dumps(state))
    now.update(
        limited_by=fleet.lab.directory_url,
        limited_until="2099-01-01T00:00:00Z",
        account_uri="https://mallory.example/account/1",
        records_to_remove=[
            {"name": "corp.example.com.", "entries": ["v=spf1 -all"], "zone": "example.com", "type": "TXT"}
        ],
    )
    fleet.change("pom1", "state.json", json.dumps(now).encode())
    run = fleet.run(certificate_key_type="ec-384")
    assert "v=spf1" not in run.output and len(run.record_lines) == 2 and fleet.orders == 2


def test_a_certificate_of_nobody_we_know_is_never_a_candidate(fleet: Fleet, tmp_path: Path) -> None:
    """One that was installed by hand: a new one is ordered, and takes its place."""
    Authority("By hand").issue("*.corp.example.com", "corp.example.com").write(tmp_path / "chain", tmp_path / "key")
    role = {
        "role": "zerotrust.pomerium.pomerium",
        "pomerium_fullchain_src": str(tmp_path / "chain"),
        "pomerium_private_key_src": str(tmp_path / "key"),
    }
    play = {"hosts": "pomerium", "gather_facts": False, "become": True, "roles": [role]}
    fleet.run(fleet.playbook([play]))
    ordered = fleet.order()
    assert "a certificate of another directory (unknown)" in ordered.output and fleet.orders == 1
    by_hand = leaf_of(fleet.machine("pom1"))
    fleet.run(pomerium_allow_staging=True)
    assert fleet.serves_one() and leaf_of(fleet.machine("pom1")) != by_hand


def test_a_certificate_that_another_key_ordered_counts_where_its_root_is_trusted(fleet: Fleet, tmp_path: Path) -> None:
    fleet.have_certificate()
    fleet.account_key = key_pem(new_key("ec-256"))
    roots = tmp_path / "roots.pem"
    roots.write_bytes(fleet.lab.ca.root_pem())
    idle = fleet.run(certificate_trust_path=str(roots))
    assert [idle.stats(machine.name)["changed"] for machine in fleet.machines] == [0, 0]
    due = fleet.run(SITE, "--check")
    assert "Would order a certificate for" in due.output and fleet.orders == 1


def test_an_account_key_that_is_gone_is_not_made_anew(fleet: Fleet, tmp_path: Path) -> None:
    fleet.have_certificate()
    gone = {"certificate_account_file": None, "certificate_account_key_path": str(tmp_path / "gone.pem")}
    refused = fleet.run(**gone, rc=2)
    assert "there is no account key, but the hosts have what the account" in refused.output
    assert not (tmp_path / "gone.pem").exists() and fleet.orders == 1


def test_an_order_of_another_account_is_named_and_not_replaced(fleet: Fleet) -> None:
    fleet.order()
    account = json.loads(fleet.keeps("pom1")["order.json"])["order"]["account_uri"]
    fleet.account_key = key_pem(new_key("ec-256"))
    refused = fleet.run(rc=2)
    assert f"The CA does not know the account of this order (any more) for {account}" in refused.output
    assert "order.json" in fleet.keeps("pom1") and fleet.orders == 1


def test_the_next_host_gives_the_key_where_the_first_has_another(fleet: Fleet) -> None:
    fleet.order()
    fleet.change("pom1", "pending/privkey.pem", key_pem(new_key("ec-256")))
    run = fleet.run()
    assert "The host gives no key that fits for pom1." in run.output
    assert fleet.serves_one() and fleet.orders == 1


def test_a_lost_key_is_made_anew_while_the_order_is_open_and_costs_an_order_afterwards(fleet: Fleet) -> None:
    fleet.order()
    for machine in fleet.machines:
        fleet.change(machine.name, "pending/privkey.pem", None)
    rule = proxy(fleet).inject("certificate:problem:unauthorized,times=always")
    failed = fleet.run(rc=2)
    assert "is lost; another one is made for it" in failed.output and fleet.orders == 1
    rule.lift()
    for machine in fleet.machines:
        fleet.change(machine.name, "pending/privkey.pem", None)
    anew = fleet.order()
    assert "The earlier order is not used: the key of the order" in anew.output and fleet.orders == 2
    fleet.run()
    assert fleet.serves_one()


def test_what_a_failing_step_learned_is_kept_for_the_next_controller(fleet: Fleet) -> None:
    proxy(fleet).inject("newOrder:429:3600")
    limited = fleet.run(rc=2)
    assert "rateLimited" in limited.output
    assert "limited_until" in json.loads(fleet.keeps("pom2")["state.json"])
    mark = fleet.lab.ca.mark()
    later = fleet.run(rc=2)
    assert "The CA limits requests until" in later.output
    assert not fleet.lab.ca.requests(mark), "nothing is sent before that time, from any controller"


def test_without_a_host_that_answers_or_can_keep_it_nothing_is_ordered(fleet: Fleet) -> None:
    alone = fleet.run(down=["pom1", "pom2"], rc=2)
    assert "Not one of the hosts that keep the certificate could be looked at for pom1, pom2" in alone.output
    for machine in fleet.machines:
        machine.run("mkdir", "-p", "/etc/pomerium-tls/pomerium")
        machine.run("mount", "-t", "tmpfs", "-o", "ro", "none", "/etc/pomerium-tls/pomerium")
    full = fleet.run(rc=2)
    assert "Not one host could keep the order and its key for pom1, pom2" in full.output
    assert fleet.orders == 0


def test_another_directory_is_never_mixed_with_ours(fleet: Fleet) -> None:
    """Staging and production by one account key: each is due where the other is installed, and says so."""
    fleet.have_certificate()
    staging = leaf_of(fleet.machine("pom1"))
    with Lab(hosts=(), pebble={**QUICK, "nonce_reject": 0}) as production:
        directory = {
            "certificate_acme_directory": production.directory_url,
            "certificate_ca_path": str(production.ca.ca_path),
        }
        look = {"certificate_order": "never", "certificate_expect": "current"}
        due = fleet.run("zerotrust.pomerium.order", **directory, **look, rc=2)
        assert "is due (directory)" in " ".join(due.output.split())
        assert leaf_of(fleet.machine("pom1")) == staging and fleet.orders == 1


def test_a_ca_that_forgot_the_order_is_asked_for_another(fleet: Fleet) -> None:
    fleet.order()
    fleet.lab.ca.restart()
    again = fleet.order()
    assert "the CA does not know" in again.output
    fleet.run()
    assert fleet.serves_one()


def test_two_controllers_at_once_cost_one_certificate_at_worst(fleet: Fleet) -> None:
    controllers = [fleet.controller() for _number in range(2)]
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda one: one.run(SITE), controllers))
    assert [run.rc for run in runs] == [0, 0], runs[0].output + runs[1].output
    assert fleet.keeps("pom1") == fleet.keeps("pom2") or fleet.orders == 2
    fleet.lab.paste([line for run in runs for line in run.record_lines])
    with ThreadPoolExecutor() as pool:
        runs = list(pool.map(lambda one: one.run(SITE), [fleet.controller() for _number in range(2)]))
    assert 0 in [run.rc for run in runs], runs[0].output + runs[1].output
    fleet.run()
    assert fleet.serves_one() and fleet.orders <= 2
    idle = fleet.run()
    assert [idle.stats(machine.name)["changed"] for machine in fleet.machines] == [0, 0]


@pytest.mark.parametrize("moment", ["before the staging", "after the staging", "after the issuance"])
def test_a_run_that_is_killed_is_taken_up_by_another_controller(fleet: Fleet, moment: str) -> None:
    """R14: with a publisher, whose records are in the zone when it is killed after the issuance."""
    publishes = {"certificate_publisher": fleet.lab.publisher} if moment == "after the issuance" else {}
    mark = fleet.lab.ca.mark()
    staged = [machine.tls_directory / "pomerium/pending/order.json" for machine in fleet.machines]
    reached = {
        "before the staging": lambda: "newOrder" in [request.resource for request in fleet.lab.ca.requests(mark)],
        "after the staging": lambda: all(map(os.path.exists, staged)),
        "after the issuance": lambda: "certificate" in [request.resource for request in fleet.lab.ca.requests(mark)],
    }[moment]
    ansible = fleet.controller(**publishes)
    process = subprocess.Popen(
        leashed(ansible.command(SITE)), env=ansible.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd=ansible.home, start_new_session=True,
    )  # fmt: skip
    until(reached, what=moment, within=60)
    kill_tree(process)
    process.wait()
    kept = [bool(fleet.keeps(machine.name).get("order.json")) for machine in fleet.machines]
    assert kept == [moment != "before the staging"] * 2
    if moment != "after the issuance":
        fleet.order()
    fleet.run(**publishes)
    assert (fleet.lab.zone_path.read_text() == ZONE) is bool(publishes)
    assert fleet.serves_one() and fleet.orders == (2 if moment == "before the staging" else 1)


def test_slices_cost_a_certificate_each_and_the_next_whole_run_makes_all_agree(fleet: Fleet) -> None:
    """AWX cuts the inventory of a sliced job and tells it nothing of that: it cannot refuse, and it does no harm."""
    whole = list(fleet.machines)
    for machine in whole:
        fleet.machines = [machine]
        fleet.order()
        fleet.run()
    assert fleet.orders == 2 and len({leaf_of(machine) for machine in whole}) == 2
    fleet.machines = whole
    fleet.run()
    assert fleet.serves_one() and fleet.orders == 2


def test_a_compromised_key_revokes_its_certificate_once_another_one_is_everywhere(fleet: Fleet) -> None:
    """Let's Encrypt takes this reason from nobody else, so it is fetched while a host still has it. Where it is gone,
    since the CA failed at that moment, the next run says what is to be done."""
    fleet.have_certificate()
    old = fleet.machine("pom1").served().leaf
    version = (fleet.machine("pom1").tls_directory / "pomerium/current").readlink().name
    revoke = {"playbook": "zerotrust.pomerium.revoke", "certificate_revoke_version": version}
    fleet.order(**revoke)
    assert fleet.lab.pebble.cert_status(f"{old.serial_number:x}")["Status"] == "Valid"
    mark = proxy(fleet).mark()
    fleet.run(**revoke)
    assert fleet.serves_one() and fleet.machine("pom1").served().leaf != old
    assert fleet.lab.pebble.cert_status(f"{old.serial_number:x}")["Status"] == "Revoked"
    (asked,) = [request for request in proxy(fleet).requests(mark) if request.path.endswith("/revoke-cert")]
    signed_by = json.loads(base64.urlsafe_b64decode(json.loads(asked.body)["protected"] + "=="))
    assert "jwk" in signed_by and "kid" not in signed_by

    gone = fleet.run(**revoke, rc=2)
    assert f"{version} is not in use any more, and it is not on any host" in gone.output
