# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sudden death of a module between two requests to the CA: rules for the proxy that lies between."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller
from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import ModuleDied, WarmModules
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import (
    CUT,
    AfterSuccess,
    Outcome,
    Reply,
    Request,
    Rule,
)


class KillBefore(Rule):
    """Kill the module that asks; the CA never sees the request."""

    def __init__(self, modules: WarmModules, path: str, **rule: t.Any) -> None:
        super().__init__(path, **rule)
        self._modules = modules

    def before(self, request: Request) -> Outcome | None:
        if not self._fires():
            return None
        assert self._modules.kill_runs(), "a module has asked, so one runs"
        return CUT


class KillAfter(AfterSuccess):
    """Kill the module that has asked; the CA has done it."""

    def __init__(self, modules: WarmModules, path: str, **rule: t.Any) -> None:
        super().__init__(path, **rule)
        self._modules = modules

    def change(self, reply: Reply) -> Outcome:
        assert self._modules.kill_runs(), "a module has asked, so one runs"
        return CUT


def die(controller: Controller, rule: Rule, **options: t.Any) -> None:
    """Run acme_certificate with these options, which the rule kills."""
    assert controller.lab.proxy is not None
    controller.lab.proxy.add(rule)
    with pytest.raises(ModuleDied):
        controller.run("acme_certificate", **options)
    assert rule.left == 0
