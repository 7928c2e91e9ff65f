# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`replaces`: sent with a renewal at the same CA by the same account, and never the reason that there is none (R26)."""

from __future__ import annotations

import base64
import json
import typing as t

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, made
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import resource_of


def asked(controller: Controller, since: int = 0) -> list[str | None]:
    """What each newOrder that the CA was sent named to be replaced."""
    proxy = controller.lab.proxy
    assert proxy is not None
    bodies = [request.body for request in proxy.requests(since) if resource_of(request.path) == "newOrder"]
    payloads = [base64.urlsafe_b64decode(json.loads(body)["payload"] + "==") for body in bodies]
    return [json.loads(payload).get("replaces") for payload in payloads]


def finished(controller: Controller) -> str:
    """Issue a certificate; its cert ID."""
    controller.paste(controller.order())
    cert_id = controller.run("acme_finalize").ok["cert_id"]
    assert cert_id
    return str(cert_id)


def test_r26_a_certificate_is_replaced_once_and_the_second_time_it_is_ordered_without(
    start: t.Callable[..., Controller],
) -> None:
    """The same for one that the CA does not know."""
    controller = start(faults=True, pebble={"nonce_reject": 0})
    cert_id = finished(controller)
    mark = controller.lab.proxy.mark()  # type: ignore[union-attr]
    renew = {"renew": True, "replaces": cert_id}
    other = {"state_path": str(controller.home / "other.json")}
    first = controller.run("acme_order", **renew).ok
    controller.paste(first)
    replaced, second, unknown, malformed = controller.run_all(
        [
            ("acme_finalize", {}),
            ("acme_order", {**renew, **other}),
            ("acme_order", {"state_path": str(controller.home / "third.json"), "replaces": "aaaa.bbbb"}),
            ("acme_order", {"state_path": str(controller.home / "fourth.json"), "replaces": "certificate"}),
        ]
    )
    assert replaced.ok["changed"] and second.ok["changed"] and unknown.ok["changed"]
    assert first.warnings == ""
    assert "alreadyReplaced" in second.warnings and "Ordered without" in second.warnings
    assert "malformed" in unknown.warnings and "Ordered without" in unknown.warnings
    assert asked(controller, mark) == [cert_id, cert_id, None, "aaaa.bbbb", None]
    assert "replaces 'certificate': not a certificate's name" in malformed.error
    assert made(controller.lab)["orders"] == 4


def test_r27_a_renewal_replaces_only_what_is_of_the_same_ca_and_account(start: t.Callable[..., Controller]) -> None:
    controller = start(faults=True, pebble={"nonce_reject": 0})
    controller.paste(controller.run("acme_certificate").ok)
    issued = controller.run("acme_certificate").ok
    mark = controller.lab.proxy.mark()  # type: ignore[union-attr]
    others = {"identifiers": ["other.example.com"]}
    more = {"identifiers": ["*.corp.example.com", "corp.example.com", "app.example.com"]}
    same, disjoint = controller.run_all([("acme_certificate", more), ("acme_certificate", others)])
    assert same.ok["changed"] and disjoint.ok["changed"]
    assert asked(controller, mark) == [issued["cert_id"], None]
    controller.lab.pebble.restart()
    mark = controller.lab.proxy.mark()  # type: ignore[union-attr]
    assert controller.run("acme_certificate", **more).ok["changed"]
    assert asked(controller, mark) == [issued["cert_id"], None], "first as the account that is gone, then as another"
