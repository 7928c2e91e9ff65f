# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_finalize, the guide's second step: nothing is answered too early, written too early, or written twice."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import (
    Controller,
    entries,
    is_pair,
    made,
    resources,
    tree,
)
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import Reply
from cryptography.x509 import load_pem_x509_certificates

CHANGES_SOMETHING = {"challenge", "finalize", "newOrder", "newAccount"}


def modes(*paths: Path) -> list[int]:
    return [path.stat().st_mode & 0o7777 for path in paths]


def test_r30_a_missing_record_is_named_nothing_is_answered_and_the_order_stays_usable(controller: Controller) -> None:
    lab = controller.lab
    order = controller.order()
    mark = lab.pebble.mark()
    none = controller.play("acme_finalize")
    controller.lab.paste(order["instructions"][1:2])
    half, returned = controller.run_all([("acme_finalize", {}), ("acme_finalize", {"on_pending": "return"})])
    assert not CHANGES_SOMETHING & set(resources(lab, mark))
    there, missing = entries(order)
    name = "_acme-challenge.corp.example.com"
    for entry in (there, missing):
        assert f'The TXT value "{entry}" is missing at {name}: ' in none.error
    assert f"no TXT record at {lab.dns.resolver}" in none.error
    assert (
        f'The TXT value "{missing}" is missing at {name}: other values: "{there}" at {lab.dns.resolver}' in half.error
    )
    assert f'The TXT value "{there}"' not in half.error
    assert "the order stays usable" in half.error
    servers = [{"server": lab.dns.resolver, "answer": f'other values: "{there}"'}]
    assert half["missing_records"] == [{"name": f"{name}.", "entry": missing, "servers": servers}]
    assert (returned.ok["phase"], returned["changed"], returned["pending"]) == ("waiting_for_dns", False, True)
    assert returned["missing_records"] == half["missing_records"]
    assert not controller.key_path.exists() and not controller.fullchain_path.exists()

    controller.lab.paste(order["instructions"][2:3])
    done = controller.play("acme_finalize").ok
    assert (done["phase"], done["order_uri"]) == ("issued", order["order_uri"])
    assert made(lab) == {"accounts": 1, "orders": 1, "certificates": 1}


def test_the_files_are_written_once_with_their_modes_and_a_removed_one_again(controller: Controller) -> None:
    tls = controller.key_path.parent
    paths = {"certificate_path": str(tls / "cert.pem"), "chain_path": str(tls / "chain.pem")}
    order = controller.order()
    controller.paste(order)
    first, again, would_not = controller.run_all(
        [("acme_finalize", paths), ("acme_finalize", paths), ("acme_finalize", {**paths, "check": True})]
    )
    assert first.ok["changed"] and not again.ok["changed"] and not would_not.ok["changed"]
    assert first["records_to_remove"] == again["records_to_remove"] == order["dns_records"]
    assert sorted(first["names"]) == ["*.corp.example.com", "corp.example.com"]
    written = tree(tls)
    assert sorted(written) == ["cert.pem", "chain.pem", "fullchain.pem", "privkey.pem"]
    assert written["fullchain.pem"] == written["cert.pem"] + written["chain.pem"]
    returned = {name: again[name.replace("cert.", "certificate.")[:-4]].encode() for name in written if name[0] != "p"}
    assert {name: written[name] for name in returned} == returned
    files = [controller.key_path, controller.fullchain_path, tls / "cert.pem", tls / "chain.pem"]
    assert modes(*files) == [0o600, 0o644, 0o644, 0o644]
    assert is_pair(controller.fullchain_path, controller.key_path)

    (tls / "chain.pem").unlink()
    controller.key_path.chmod(0o644)
    would, mended = controller.run_all([("acme_finalize", {**paths, "check": True}), ("acme_finalize", paths)])
    assert would.ok["changed"] and mended.ok["changed"]
    assert tree(tls) == written
    assert modes(*files) == [0o600, 0o644, 0o644, 0o644]
    assert made(controller.lab)["certificates"] == 1


def test_a_key_of_the_users_own_is_used_and_another_later_is_refused(controller: Controller) -> None:
    own, other = controller.home / "own.pem", controller.home / "other.pem"
    for path, key_type in ((own, "rsa-2048"), (other, "ec-256")):
        path.write_bytes(key_pem(new_key(key_type)))
    controller.paste(controller.order())
    first, wrong, again = controller.run_all(
        [
            ("acme_finalize", {"private_key_dest": None, "private_key_path": str(own)}),
            ("acme_finalize", {"private_key_dest": None, "private_key_path": str(other)}),
            (
                "acme_finalize",
                {"private_key_dest": None, "private_key_content": own.read_text()},
            ),
        ]
    )
    assert first.ok["changed"] and not again.ok["changed"]
    assert is_pair(controller.fullchain_path, own)
    assert "The certificate is not for this private key" in wrong.error
    assert sorted(tree(controller.fullchain_path.parent)) == ["fullchain.pem"]


def test_without_its_key_a_finished_order_is_an_error_that_says_the_way_out(controller: Controller) -> None:
    controller.paste(controller.order())
    assert controller.run("acme_finalize").ok["changed"]
    before = controller.fullchain_path.read_bytes()
    controller.key_path.unlink()
    lost = controller.run("acme_finalize")
    assert "the key that it was made with is not here" in lost.error and "renew: true" in lost.error
    assert controller.fullchain_path.read_bytes() == before
    assert not controller.key_path.exists()


def test_no_file_overwrites_another_and_least_of_all_the_account_key(controller: Controller) -> None:
    """Found out before a challenge is answered: a key that is lost then is one that the CA has certified."""
    controller.paste(controller.order())
    account, before = controller.lab.account_key_path, tree(controller.home)
    beside = controller.key_path.parent / "../tls" / controller.key_path.name
    mark = controller.lab.pebble.mark()
    same, linked, of_account, of_state = controller.run_all(
        [
            ("acme_finalize", {"private_key_dest": str(controller.fullchain_path)}),
            ("acme_finalize", {"chain_path": str(beside)}),
            ("acme_finalize", {"private_key_dest": str(account)}),
            ("acme_finalize", {"certificate_path": str(controller.state_path)}),
        ]
    )
    assert f"fullchain_path '{controller.fullchain_path}': this is the path of private_key_dest too" in same.error
    assert "chain_path" in linked.error and "the path of private_key_dest too" in linked.error
    assert f"private_key_dest '{account}': this is the path of account_key_path too" in of_account.error
    assert "certificate_path" in of_state.error and "the path of state_path too" in of_state.error
    assert controller.lab.pebble.requests(mark) == []
    assert tree(controller.home) == before


def test_r31_another_controller_finishes_it_with_the_state_file_and_the_account_key(controller: Controller) -> None:
    order = controller.order()
    controller.paste(order)
    elsewhere = controller.home / "elsewhere"
    elsewhere.mkdir()
    state = elsewhere / "state.json"
    state.write_bytes(controller.state_path.read_bytes())
    text = controller.lab.account_key_path.read_text()
    controller.lab.account_key_path.unlink()
    done = controller.run(
        "acme_finalize", account_key_path=None, account_key_content=text, state_path=str(state), key_type="rsa-2048"
    ).ok
    assert done["order_uri"] == order["order_uri"]
    assert is_pair(controller.fullchain_path, controller.key_path)


def test_by_order_uri_it_needs_no_state_file(controller: Controller) -> None:
    order = controller.order(state_path=None)
    controller.paste(order)
    done = controller.run("acme_finalize", state_path=None, order_uri=order["order_uri"]).ok
    assert (done["phase"], done["records_to_remove"]) == ("issued", [])


def test_r15_a_failed_validation_is_told_name_by_name_in_the_cas_words(controller: Controller) -> None:
    order, failed, again = controller.run_all(
        [("acme_account", {}), ("acme_order", {}), ("acme_finalize", {"verify_dns": "none"}), ("acme_finalize", {})]
    )[1:]
    assert "The order has failed and cannot be used any more" in failed.error
    assert "the next run places a new order" in failed.error
    (problem, *_others) = failed["problems"]
    assert problem["type"] == "urn:ietf:params:acme:error:unauthorized"
    assert f"{problem['identifier']['value']}: unauthorized, " in failed.error and problem["detail"] in failed.error
    assert "The order has failed" in again.error
    assert order.ok and tree(controller.key_path.parent) == {}


def test_each_answer_lost_once_costs_no_second_order_and_keeps_the_key(behind_proxy: Controller) -> None:
    """R2, R3: newOrder, challenge, finalize and the certificate's download."""
    lab = behind_proxy.lab
    assert lab.proxy is not None
    for resource in ("newOrder", "challenge", "finalize", "certificate"):
        lab.proxy.lose_answer(resource)
    behind_proxy.paste(behind_proxy.order())
    done = behind_proxy.run("acme_finalize").ok
    assert done["phase"] == "issued"
    assert is_pair(behind_proxy.fullchain_path, behind_proxy.key_path)
    assert made(lab) == {"accounts": 1, "orders": 1, "certificates": 1}


def test_r4_a_ca_that_takes_its_time_is_left_alone_and_the_next_run_finishes(behind_proxy: Controller) -> None:
    """The order is shown as processing for as long as the rule holds; the CSR is sent once, its key kept."""

    def still_processing(reply: Reply) -> Reply:
        order = json.loads(reply.body)
        if order["status"] != "valid":
            return reply
        del order["certificate"]
        return replace(reply, body=json.dumps({**order, "status": "processing"}).encode())

    lab = behind_proxy.lab
    assert lab.proxy is not None
    order = behind_proxy.order()
    behind_proxy.paste(order)
    rule = lab.proxy.rewrite("order", still_processing, times=1000)
    mark = lab.pebble.mark()
    tasks = [
        ("acme_finalize", {"issuance_timeout": 1}),
        ("acme_finalize", {"issuance_timeout": 1, "on_pending": "return"}),
    ]
    failed, returned = behind_proxy.run_all(tasks)
    assert "The order is not finished" in failed.error and "processing" in failed.error
    assert order["order_uri"] in failed.error
    assert (returned.ok["phase"], returned["status"], returned["pending"]) == ("issuing", "processing", True)
    assert not behind_proxy.fullchain_path.exists() and not behind_proxy.key_path.exists()
    rule.left = 0
    done = behind_proxy.run("acme_finalize").ok
    assert done["order_uri"] == order["order_uri"] and is_pair(behind_proxy.fullchain_path, behind_proxy.key_path)
    assert made(lab)["certificates"] == 1
    assert "newOrder" not in resources(lab, mark)


def test_r43_check_mode_answers_nothing_and_writes_nothing(controller: Controller) -> None:
    lab = controller.lab
    controller.paste(controller.order())
    before, mark = tree(controller.home), lab.pebble.mark()
    would = controller.play("acme_finalize", "--check").ok
    assert (would["changed"], would["phase"]) == (True, "validating")
    assert not CHANGES_SOMETHING & set(resources(lab, mark))
    assert tree(controller.home) == before
    done = controller.run("acme_finalize").ok
    assert done["phase"] == "issued"


def test_a_long_chain_is_written_in_its_order(start: t.Callable[..., Controller]) -> None:
    controller = start(pebble={"chain_length": 3, "key_algorithm": "rsa"})
    controller.paste(controller.order())
    assert controller.run("acme_finalize").ok["changed"]
    chain = load_pem_x509_certificates(controller.fullchain_path.read_bytes())
    assert len(chain) == 4
    for lower, upper in zip(chain, chain[1:]):
        lower.verify_directly_issued_by(upper)
