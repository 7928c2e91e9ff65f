# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_revoke: by the account or the certificate's key, for a reason that the CA takes, and once is enough (R49)."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import Respond
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_acme import problem
from cryptography import x509


@pytest.fixture
def issued(controller: Controller) -> Controller:
    """A controller that has a certificate, with its key at key_path."""
    controller.paste(controller.order())
    assert controller.run("acme_finalize").ok["changed"]
    return controller


def by_account(controller: Controller, **options: t.Any) -> tuple[str, dict[str, t.Any]]:
    return "acme_revoke", {"certificate_path": str(controller.fullchain_path), **options}


def by_key(controller: Controller, **options: t.Any) -> tuple[str, dict[str, t.Any]]:
    none = {"account_key_path": None, "private_key_path": str(controller.key_path)}
    return by_account(controller, **{**none, **options})


def test_r49_it_is_revoked_by_the_account_and_again_is_no_change(issued: Controller) -> None:
    """With check mode before and after, which cannot know that it is revoked, and says so in its documentation."""
    would, revoked, again, by_its_key = issued.play_all(
        [
            by_account(issued, check=True),
            by_account(issued, reason="superseded"),
            by_account(issued, reason="superseded"),
            by_key(issued),
        ]
    )
    assert (would.ok["changed"], would["revoked"]) == (True, False)
    assert (revoked.ok["changed"], revoked["revoked"]) == (True, True)
    assert (again.ok["changed"], again["revoked"]) == (False, True)
    assert (by_its_key.ok["changed"], by_its_key["revoked"]) == (False, True)
    assert issued.lab.pebble.cert_status(revoked["serial"])["Status"] == "Revoked"
    assert set(revoked["names"]) == {"*.corp.example.com", "corp.example.com"}


def test_r49_its_own_key_needs_no_account(issued: Controller) -> None:
    text = {"private_key_path": None, "private_key_content": issued.key_path.read_text()}
    done = issued.run("acme_revoke", **by_key(issued, reason="keyCompromise", **text)[1]).ok
    status = issued.lab.pebble.cert_status(done["serial"])
    assert (done["changed"], status["Status"], status["Reason"]) == (True, "Revoked", 1)


def test_what_cannot_be_revoked_so_is_said_and_stays_valid(issued: Controller) -> None:
    other = issued.home / "other.pem"
    other.write_bytes(key_pem(new_key("ec-256")))
    stranger = {"account_key_path": str(other)}
    account, no_reason, wrong_key, no_account, foreign, neither = issued.run_all(
        [
            ("acme_account", stranger),
            by_account(issued, reason="bored"),
            by_key(issued, private_key_path=str(other)),
            by_account(issued, account_key_path=str(issued.home / "none.pem")),
            by_account(issued, **stranger),
            by_account(issued, account_key_path=None),
        ]
    )
    assert account.ok["created"]
    assert "reason 'bored': not a reason of RFC 5280. Give one of unspecified, keyCompromise" in no_reason.error
    assert "private_key_path" in wrong_key.error and "not the key of the certificate" in wrong_key.error
    assert "account_key_path" in no_account.error and "there is no" in no_account.error
    assert "unauthorized" in foreign.error and "the account that ordered the certificate" in foreign.error
    assert "one of the following is required" in neither.error
    leaf = x509.load_pem_x509_certificate(issued.fullchain_path.read_bytes())
    assert issued.lab.pebble.cert_status(f"{leaf.serial_number:x}")["Status"] == "Valid"


def test_r49_a_reason_that_the_ca_does_not_take_is_its_refusal_with_the_way_out(behind_proxy: Controller) -> None:
    """Let's Encrypt takes four of them; Pebble takes all."""
    behind_proxy.paste(behind_proxy.order())
    assert behind_proxy.run("acme_finalize").ok["changed"]
    proxy = behind_proxy.lab.proxy
    assert proxy is not None
    proxy.add(Respond("revokeCert", problem("badRevocationReason", 400, "unsupported revocation reason code 3")))
    refused = behind_proxy.run("acme_revoke", **by_account(behind_proxy, reason="affiliationChanged")[1])
    assert "badRevocationReason, 'unsupported revocation reason code 3'" in refused.error
    assert "superseded and cessationOfOperation" in refused.error
    assert proxy.resources().count("revokeCert") == 1


def test_the_diff_tells_which_certificate(issued: Controller) -> None:
    done = issued.play("acme_revoke", "--diff", **by_account(issued)[1]).ok
    before, after = done["diff"]["before"], done["diff"]["after"]
    assert (before["revoked"], after["revoked"], after["serial"]) == (False, True, done["serial"])
