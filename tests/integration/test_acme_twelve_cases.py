# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode, then for real, then check mode and for real again: present and change, for each module that writes.

acme_account and acme_revoke have theirs in test_acme_account.py and test_acme_revoke.py; what can be absent is theirs.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, made, tree
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab

ALL = {"challenge": "dns-01"}


def cases(controller: Controller, module: str, **options: t.Any) -> dict[str, t.Any]:
    """Run one task in check mode, for real, and both again, with diffs; give the diffs of the first two runs.

    Check mode promises what is done then, and nothing is left of it. Every return value is always there.
    """
    before, counted = tree(controller.home), made(controller.lab)
    would = controller.run(module, check=True, diff=True, **options).ok
    assert tree(controller.home) == before and made(controller.lab) == counted
    does = (module, {**options, "diff": True})
    done, would_again, again = controller.run_all([does, (module, {**options, "diff": True, "check": True}), does])
    runs = [would, done.ok, would_again.ok, again.ok]
    assert [run["changed"] for run in runs] == [True, True, False, False], [run.values for run in runs]
    keys = [set(run.values) - {"warnings"} for run in runs]
    assert keys[1:] == keys[:1] * 3
    for run in runs[2:]:
        assert run["diff"]["before"] == run["diff"]["after"] or run["diff"] == {"before": {}, "after": {}}
    secrets = Lab.leaked(controller.lab, json.dumps([run["diff"] for run in runs]))
    assert secrets == []
    return {"would": would["diff"], "done": done["diff"]}


def test_an_order_present_and_changed(controller: Controller) -> None:
    controller.run("acme_account").ok  # noqa: B018
    present = cases(controller, "acme_order")
    assert present["would"]["before"] == present["done"]["before"] == {}
    assert present["would"]["after"]["order_uri"] == "a new order"
    changed = cases(controller, "acme_order", identifiers=["*.corp.example.com"])
    assert changed["done"]["before"] == present["done"]["after"]
    assert changed["done"]["after"]["identifiers"] == changed["would"]["after"]["identifiers"] == ["*.corp.example.com"]


def test_a_finished_order_present_and_its_files_changed(controller: Controller) -> None:
    controller.paste(controller.order())
    path = str(controller.fullchain_path)
    present = cases(controller, "acme_finalize")
    assert present["done"]["before"][path] == "absent" and "corp.example.com, serial" in present["done"]["after"][path]
    assert "a new certificate for" in str(present["would"]["after"])
    controller.fullchain_path.write_text("something else")
    changed = cases(controller, "acme_finalize")
    assert changed["would"] == changed["done"]
    assert changed["done"]["before"] == {path: "something else"}


def test_a_lineage_present_and_changed(controller: Controller) -> None:
    """By hand an order is one change and the certificate another; in between there is nothing to do."""
    ordered = cases(controller, "acme_certificate")
    assert ordered["done"]["before"] == {"certificate": None} and ordered["done"]["after"]["order"]
    controller.paste(controller.run("acme_certificate").ok)
    issued = cases(controller, "acme_certificate")
    assert issued["done"]["before"] == {"certificate": None}
    serial = issued["done"]["after"]["certificate"]["serial"]
    changed = cases(controller, "acme_certificate", identifiers=["*.corp.example.com"])
    assert changed["would"]["before"]["certificate"]["serial"] == serial
    assert "*.corp.example.com" in changed["would"]["after"]["order"]
