# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bad input: one clear message with option, value and remedy, before anything is changed at the CA or on disk."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, made, tree
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

NAMES = [
    ([], ["identifiers", "no names given"]),
    (["https://x.example"], ["identifiers 'https://x.example'", "not a DNS name"]),
    (["*.*.x.example"], ["identifiers '*.*.x.example'", "whole first label"]),
    (["-a.x.example"], ["identifiers '-a.x.example'", "malformed"]),
    (["a" * 64 + ".example"], ["64 octets"]),
    (["a_b.example"], ["identifiers 'a_b.example'", "underscore"]),
    (["a..example"], ["identifiers 'a..example'", "empty label"]),
    (["www.x.example", "*.x.example"], ["identifiers 'www.x.example'", "redundant"]),
]


def encrypted_pem() -> bytes:
    return new_key("ec-256").private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )


def ed25519_pem() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(path: Path, content: bytes) -> str:
    path.touch(mode=0o600)
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("module", ["acme_order", "acme_certificate"])
def test_names_that_no_ca_takes(controller: Controller, module: str) -> None:
    before = tree(controller.home)
    results = controller.run_all([(module, {"identifiers": names}) for names, _said in NAMES])
    for (names, said), result in zip(NAMES, results):
        assert [word for word in said if word not in result.error] == [], (names, result.error)
    assert controller.lab.pebble.requests() == []
    assert tree(controller.home) == before


def test_account_keys_that_cannot_be_used(controller: Controller) -> None:
    home = controller.home
    cases: list[tuple[dict[str, t.Any], list[str]]] = [
        (
            {"account_key_path": f"{home}/none.pem"},
            [f"account_key_path '{home}/none.pem'", "no account key", "acme_account"],
        ),
        ({"account_key_path": write(home / "e.pem", encrypted_pem())}, ["encrypted", "account_key_passphrase"]),
        ({"account_key_path": write(home / "d.pem", ed25519_pem())}, ["Ed25519", "ec-256"]),
        ({"account_key_path": write(home / "t.pem", b"no key")}, ["is not a PEM private key"]),
        ({"account_key_path": None}, ["account_key_path, account_key_content"]),
    ]
    results = controller.run_all([("acme_order", options) for options, _said in cases])
    for (options, said), result in zip(cases, results):
        assert [word for word in said if word not in result.error] == [], (options, result.error)
    assert made(controller.lab) == {"accounts": 0, "orders": 0, "certificates": 0}
    assert not controller.state_path.exists()


def test_directories_that_are_none(controller: Controller) -> None:
    """Closed, not ACME, not trusted, not https; a key is not made for any of them."""
    management = controller.lab.pebble.management_url
    cases: list[tuple[dict[str, t.Any], list[str]]] = [
        (
            {"acme_directory": "https://127.0.0.1:1/dir"},
            ["cannot be reached", "https://127.0.0.1:1/dir", "acme_directory"],
        ),
        (
            {"acme_directory": f"{management}/roots/0"},
            [f"acme_directory '{management}/roots/0'", "not an ACME directory"],
        ),
        ({"ca_path": None}, ["not trusted", "ca_path"]),
        ({"ca_path": "/nowhere/ca.pem"}, ["ca_path '/nowhere/ca.pem'", "no such file"]),
        ({"ca_path": "/"}, ["ca_path '/'", "Is a directory"]),
        ({"ca_path": None, "ca_content": "garbage"}, ["ca_content: holds no certificate, or a damaged one"]),
        ({"acme_directory": "http://ca.example/dir"}, ["acme_directory 'http://ca.example/dir'", "https"]),
    ]
    results = controller.run_all([("acme_account", options) for options, _said in cases])
    for (options, said), result in zip(cases, results):
        assert [word for word in said if word not in result.error] == [], (options, result.error)
    assert made(controller.lab)["accounts"] == 0
    assert not controller.lab.account_key_path.exists()


def test_terms_and_external_account_binding_are_asked_for_before_a_key_is_made(
    start: t.Callable[..., Controller],
) -> None:
    controller = start(
        pebble={"eab_keys": {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG4"}, "eab_required": True}
    )
    terms, binding, by_certificate = controller.run_all(
        [("acme_account", {"terms_agreed": False}), ("acme_account", {}), ("acme_certificate", {})]
    )
    assert "terms_agreed" in terms.error and "terms_agreed: true" in terms.error
    for missing in (binding, by_certificate):
        assert "external_account_binding" in missing.error and "kid and key" in missing.error
    assert not controller.lab.account_key_path.exists()
    assert not controller.lineage.joinpath("pending/order.json").exists()


def test_an_external_account_binding_that_the_ca_refuses(start: t.Callable[..., Controller]) -> None:
    """R34. The key is not shown; what the CA says is."""
    key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG4"
    controller = start(pebble={"eab_keys": {"kid-1": key}, "eab_required": True})
    bindings = [("kid-1", "not base64!"), ("kid-1", "A" + key[1:]), ("kid-2", key)]
    tasks = [("acme_account", {"external_account_binding": {"kid": kid, "key": mac}}) for kid, mac in bindings]
    no_key, wrong_key, unknown = controller.run_all(tasks)
    assert "external_account_binding 'kid-1': its key is not in base64url" in no_key.error
    for refused in (wrong_key, unknown):
        assert "The CA refused to open an account: unauthorized" in refused.error
        assert "external_account_binding" in refused.error and key[1:] not in refused.error
    assert "is not known to the ACME server" in unknown.error
    assert made(controller.lab)["accounts"] == 0


def test_orders_that_are_somebody_elses(controller: Controller) -> None:
    """Expired or unknown, another account's, another directory's."""
    controller.order()
    url = controller.run("acme_order").ok["order_uri"]
    mark = controller.lab.pebble.mark()
    other = write(controller.home / "other.pem", key_pem(new_key("ec-256")))
    _account, account, theirs, unknown, directory = controller.run_all(
        [
            ("acme_account", {"account_key_path": other}),
            ("acme_finalize", {"account_key_path": other}),
            ("acme_order", {"account_key_path": other}),
            ("acme_finalize", {"state_path": None, "order_uri": f"{url}x"}),
            ("acme_finalize", {"acme_directory": "https://another.example/dir"}),
        ]
    )
    for foreign in (account, theirs):
        assert "belongs to another account" in foreign.error and url in foreign.error
    assert "knows no such order" in unknown.error and "acme_order" in unknown.error
    assert f"state_path '{controller.state_path}'" in directory.error
    assert "made at another directory" in directory.error and controller.lab.directory_url in directory.error
    assert not [request for request in controller.lab.pebble.requests(mark) if request.resource == "challenge"]
    assert controller.run("acme_order").ok["order_uri"] == url


def test_states_that_are_damaged_or_not_there(controller: Controller) -> None:
    damaged = write(controller.home / "damaged.json", b"{")
    pending = controller.lineage / "pending/order.json"
    pending.parent.mkdir(parents=True)
    write(pending, b'{"order": [1]}')
    certificate, order, finalize, none = controller.run_all(
        [
            ("acme_certificate", {}),
            ("acme_order", {"state_path": damaged}),
            ("acme_finalize", {"state_path": damaged}),
            ("acme_finalize", {"state_path": f"{controller.home}/none.json"}),
        ]
    )
    for broken in (order, finalize):
        assert f"state_path '{damaged}'" in broken.error and "damaged" in broken.error
    assert f"store_path '{pending}'" in certificate.error and "damaged" in certificate.error
    assert "acme_order" in none.error
    assert controller.lab.pebble.requests() == []


def test_a_certificate_key_that_is_the_account_key(controller: Controller) -> None:
    controller.order()
    path = str(controller.lab.account_key_path)
    mark = controller.lab.pebble.mark()
    done = controller.run("acme_finalize", private_key_dest=None, private_key_path=path)
    assert f"private_key_path '{path}'" in done.error and "account key" in done.error
    assert controller.lab.pebble.requests(mark) == []


def test_a_profile_that_the_ca_does_not_offer(controller: Controller) -> None:
    """No account is opened for it either."""
    done, account, order = controller.run_all(
        [("acme_certificate", {"profile": "forever"}), ("acme_account", {}), ("acme_order", {"profile": "forever"})]
    )
    assert account.ok["created"]
    for refused in (done, order):
        assert "profile 'forever'" in refused.error and "default" in refused.error
    assert made(controller.lab)["orders"] == 0


def test_a_store_that_cannot_be_written(controller: Controller) -> None:
    """R39: found out before the CA is asked."""
    blocked = write(controller.home / "file", b"")
    done, state, key = controller.run_all(
        [
            ("acme_certificate", {"store_path": f"{blocked}/store"}),
            ("acme_order", {"state_path": f"{blocked}/order.json"}),
            ("acme_account", {"account_key_path": f"{blocked}/account.pem"}),
        ]
    )
    assert f"store_path '{blocked}/store': cannot be written" in done.error
    assert f"state_path '{blocked}/order.json'" in state.error
    assert f"account_key_path '{blocked}/account.pem'" in key.error and "cannot be written" in key.error
    assert {request.method for request in controller.lab.pebble.requests()} <= {"GET"}, "a directory at most"
