# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Account keys: every form is taken, and a key is changed once, whatever becomes of the CA's answer."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import josepy
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import (
    Controller,
    Done,
    entries,
    made,
    resources,
    tree,
)
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import Reply
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PASSPHRASE = "correct horse"


def sealed_pem(key: t.Any) -> str:
    """PKCS#8, encrypted."""
    seal = serialization.BestAvailableEncryption(PASSPHRASE.encode())
    return str(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, seal).decode())


def jwk_text(key: t.Any) -> str:
    """As certbot writes its private_key.json."""
    kind = josepy.JWKRSA if isinstance(key, rsa.RSAPrivateKey) else josepy.JWKEC
    return json.dumps(kind(key=key).to_json())


def change(new: Path | None, **options: t.Any) -> tuple[str, dict[str, t.Any]]:
    """The task that changes the key to the one at `new`."""
    return "acme_account", {"state": "changed_key", "new_account_key_path": new and str(new), **options}


def at(path: Path) -> dict[str, t.Any]:
    """The option that says so."""
    return {"account_key_path": str(path)}


def test_account_keys_of_every_kind_are_taken_from_file_or_text(controller: Controller) -> None:
    """PEM encrypted or not, JWK as text and as the dictionary that a template makes of it; P-521 where a CA does."""
    sealed, secret = sealed_pem(new_key("ec-384")), {"account_key_passphrase": PASSPHRASE}
    controller.lab.account_key_path.write_text(sealed)
    jwk = controller.home / "private_key.json"
    jwk.write_text(jwk_text(new_key("rsa-2048")))
    large = controller.home / "p521.pem"
    large.write_bytes(key_pem(t.cast("t.Any", ec.generate_private_key(ec.SECP521R1()))))
    text: dict[str, t.Any] = {"account_key_path": None}
    by_file, by_text, by_jwk, by_jwk_text, by_dictionary, by_p521, again = controller.run_all(
        [
            ("acme_account", secret),
            ("acme_account", {**text, "account_key_content": key_pem(new_key("rsa-2048")).decode()}),
            ("acme_account", at(jwk)),
            ("acme_account", {**text, "account_key_content": jwk_text(new_key("ec-256"))}),
            ("acme_account", {**text, "account_key_content": json.loads(jwk_text(new_key("ec-384")))}),
            ("acme_account", at(large)),
            ("acme_account_info", secret),
        ]
    )
    opened = [by_file, by_text, by_jwk, by_jwk_text, by_dictionary, by_p521]
    assert [done.ok["created"] for done in opened] == [True] * 6
    assert len({done["account_uri"] for done in opened}) == 6
    assert again.ok["account_uri"] == by_file["account_uri"]
    assert controller.lab.account_key_path.read_text() == sealed
    shown = [done["account"]["public_account_key"] for done in opened]
    assert [jwk.get("crv", jwk["kty"]) for jwk in shown] == ["P-384", "RSA", "RSA", "P-256", "P-384", "P-521"]
    assert not [jwk for jwk in shown if "d" in jwk]


def test_a_key_is_changed_once_as_predicted_and_seen_in_the_diff(start: t.Callable[..., Controller]) -> None:
    """Three of the twelve cases, P-256 to P-384; the key is made on the way, for us alone."""
    controller = start(pebble={"nonce_reject": 0})
    new = controller.home / "new/account.pem"
    rolled = change(new, new_account_key_type="ec-384", diff=True)
    would_roll = change(new, new_account_key_type="ec-384", diff=True, check=True)
    before, would = controller.run_all([("acme_account", {"diff": True}), would_roll])
    assert not new.parent.exists()
    does, would_again, again, by_new, by_old = controller.run_all(
        [rolled, would_roll, rolled, ("acme_account_info", at(new)), ("acme_account_info", {})]
    )
    assert [done.ok["changed"] for done in (would, does, would_again, again)] == [True, True, False, False]
    uri = before.ok["account_uri"]
    assert [done["account_uri"] for done in (would, does, would_again, again, by_new.ok)] == [uri] * 5
    assert (by_new["exists"], by_old.ok["exists"]) == (True, False)
    assert new.stat().st_mode & 0o7777 == 0o600

    old = before["diff"]["after"]
    assert would["diff"] == {"before": old, "after": {"status": "valid", "contact": [], "key_type": "ec-384"}}
    after = dict(does["diff"]["after"])
    assert does["diff"]["before"] == old and after.pop("key_thumbprint") != old["key_thumbprint"]
    assert after == would["diff"]["after"]
    for same in (would_again, again):
        assert same["diff"] == {"before": does["diff"]["after"], "after": does["diff"]["after"]}
    assert resources(controller.lab).count("keyChange") == 1
    assert made(controller.lab)["accounts"] == 1


def test_a_key_is_changed_between_all_kinds_from_file_and_text_and_the_old_one_need_not_stay(
    controller: Controller,
) -> None:
    """P-256, RSA, P-384 (encrypted), P-256 (JWK), each the old one of the next."""
    home, first = controller.home, controller.lab.account_key_path
    rsa_text, sealed, jwk = key_pem(new_key("rsa-2048")).decode(), home / "sealed.pem", home / "private_key.json"
    sealed.write_text(sealed_pem(new_key("ec-384")))
    jwk.write_text(jwk_text(new_key("ec-256")))
    by_rsa = {"account_key_path": None, "account_key_content": rsa_text}
    by_sealed = {**at(sealed), "account_key_passphrase": PASSPHRASE}
    to_sealed = {"new_account_key_passphrase": PASSPHRASE}
    *rolled, info = controller.run_all(
        [
            ("acme_account", {}),
            change(None, new_account_key_content=rsa_text),
            change(sealed, **by_rsa, **to_sealed),
            change(jwk, **by_sealed),
            ("acme_account_info", at(jwk)),
        ]
    )
    assert [done.ok["changed"] for done in rolled] == [True] * 4
    assert len({done["account_uri"] for done in [*rolled, info.ok]}) == 1
    first.unlink()
    sealed.unlink()
    without_old, with_unknown = controller.run_all([change(jwk), change(jwk, **by_rsa)])
    assert not without_old.ok["changed"] and not with_unknown.ok["changed"]
    assert without_old["account_uri"] == info["account_uri"]


def test_a_new_key_that_is_of_another_account_or_none_changes_nothing(controller: Controller) -> None:
    home = controller.home
    other, odd, new = home / "other.pem", home / "odd.json", home / "new.pem"
    other.write_bytes(key_pem(new_key("ec-256")))
    odd.write_text('{"kty": "oct", "k": "c2VjcmV0"}')
    opened, theirs, taken, by_url, symmetric, same, none, both, unknown, after = controller.run_all(
        [
            ("acme_account", {}),
            ("acme_account", at(other)),
            change(other),
            change(None, new_account_key_content=other.read_text(), check=True),
            change(odd),
            change(controller.lab.account_key_path),
            change(None),
            change(new, new_account_key_content=other.read_text()),
            change(new, account_uri=controller.lab.directory_url.replace("/dir", "/my-account/none")),
            ("acme_account", {}),
        ]
    )
    assert f"new_account_key_path '{other}'" in taken.error and "new_account_key_content:" in by_url.error
    for refused in (taken, by_url):
        assert f"that of another account, {theirs.ok['account_uri']}" in refused.error
    assert f"new_account_key_path '{odd}': the JWK is a symmetric key" in symmetric.error
    assert "this is the path of account_key_path" in same.error
    assert "new_account_key_path, new_account_key_content" in none.error and "mutually exclusive" in both.error
    assert "knows no account" in unknown.error and "/my-account/none" in unknown.error and not new.exists()
    assert not after.ok["changed"] and after["account_uri"] == opened.ok["account_uri"]
    assert "keyChange" not in resources(controller.lab)


def test_r50_a_lost_answer_to_key_change_changes_the_key_once(behind_proxy: Controller) -> None:
    """The first run finds out itself; and the next one, whichever of the keys it is given as the old one."""
    lab, new = behind_proxy.lab, behind_proxy.home / "new.pem"
    assert lab.proxy is not None
    lab.proxy.lose_answer("keyChange")
    opened, lost, again, by_new = behind_proxy.run_all(
        [("acme_account", {}), change(new), change(new), ("acme_account_info", at(new))]
    )
    assert lost.ok["changed"] and not again.ok["changed"]
    assert opened.ok["account_uri"] == lost["account_uri"] == again["account_uri"] == by_new.ok["account_uri"]
    assert by_new["account"] == lost["account"]


def test_r50_a_run_that_ended_at_key_change_is_finished_by_the_next_with_the_same_key(
    behind_proxy: Controller,
) -> None:
    """The CA never saw the request, and was gone when it was asked what has become of it."""
    lab, new = behind_proxy.lab, behind_proxy.home / "new.pem"
    assert lab.proxy is not None
    opened = behind_proxy.run("acme_account").ok
    lab.proxy.respond("keyChange", 502, body=b"<html>Bad Gateway</html>")
    limited = Reply(429, {}, b'{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}')
    ended = behind_proxy.run_all([change(new)])[0]
    assert "The CA has not changed the account's key" in ended.error and "run again" in ended.error
    key = new.read_bytes()
    lab.proxy.lose_answer("keyChange")
    lab.proxy.rewrite("newAccount", lambda _found: limited, nth=2)  # the first is about the old key
    unsure = behind_proxy.run_all([change(new)])[0]
    assert "both at hand: run again" in unsure.error
    finished = behind_proxy.run_all([change(new)])[0]
    assert not finished.ok["changed"] and finished["account_uri"] == opened["account_uri"]
    assert new.read_bytes() == key


def test_a_ca_that_changes_no_keys_is_told(behind_proxy: Controller) -> None:
    """OpenBao advertises keyChange, and has no handler."""
    lab, new = behind_proxy.lab, behind_proxy.home / "new.pem"
    assert lab.proxy is not None
    lab.proxy.respond("keyChange", 404, body=b'{"errors":["no handler for route"]}')
    opened, refused, still = behind_proxy.run_all([("acme_account", {}), change(new), ("acme_account_info", {})])
    assert "This CA changes no account keys" in refused.error and "404" in refused.error
    assert "state: absent" in refused.error
    assert still.ok["account_uri"] == opened.ok["account_uri"]


def order_again(controller: Controller, key: Path) -> tuple[Done, Done]:
    """What acme_order and acme_finalize say with another account key."""
    order, finalize = controller.run_all([("acme_order", at(key)), ("acme_finalize", at(key))])
    return order, finalize


def test_r32_a_key_changed_between_order_and_finalize_changes_the_records_and_the_missing_ones_are_said(
    controller: Controller,
) -> None:
    """A TXT value covers the key's thumbprint. The order itself is the account's, and goes on."""
    new = controller.home / "new.pem"
    ordered = controller.order()
    controller.paste(ordered)
    assert controller.run_all([change(new)])[0].ok["changed"]
    before = tree(controller.home)
    order, finalize = order_again(controller, new)
    assert not order.ok["changed"] and order["order_uri"] == ordered["order_uri"]
    values = entries(order)
    assert len(values) == 2 and not set(values) & set(entries(ordered))
    assert sorted(missing["entry"] for missing in finalize["missing_records"]) == values
    for value in values:
        assert value in finalize.error
    assert not controller.fullchain_path.exists()
    assert {name for name in before if name.endswith("privkey.pem")} == {
        name for name in tree(controller.home) if name.endswith("privkey.pem")
    }
    assert "challenge" not in resources(controller.lab)

    controller.paste(order)
    issued = controller.run("acme_finalize", **at(new)).ok
    assert issued["phase"] == "issued" and made(controller.lab)["orders"] == 1
