# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A lab host on which the host's half runs in this process: real directories and a real Pomerium, no Ansible."""

from __future__ import annotations

import copy
import os
import typing as t
from types import SimpleNamespace

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.options import BUNDLE, CERTIFICATE, INFO
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.steps import take_step
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._action import PomeriumAction
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._back import Back
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._inspect import inspect_host
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._install import Install
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._remote import Host

if t.TYPE_CHECKING:
    from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._bundle import Bundle
    from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost


class Action:
    """What `Host` needs of an action plugin; each step is taken here, and remembered with what was logged of it."""

    def __init__(self) -> None:
        self._connection = SimpleNamespace(_play_context=SimpleNamespace(no_log=False))
        self._discovered_interpreter_key: str | None = None
        self._discovered_interpreter = None
        self.steps: list[str] = []
        self.is_logged: dict[str, bool] = {}
        self.before_apply: t.Callable[[], None] = lambda: None

    def _execute_module(self, *, module_name: str, module_args: dict[str, t.Any], task_vars: t.Any) -> dict[str, t.Any]:
        validated = ArgumentSpecValidator(BUNDLE["argument_spec"]).validate(copy.deepcopy(module_args))
        assert not validated.error_messages, validated.error_messages
        params = validated.validated_parameters
        self.steps.append(params["step"])
        self.is_logged[params["step"]] = not self._connection._play_context.no_log
        if params["step"] == "apply":
            self.before_apply()
        try:
            return {**take_step(params, check=False, warn=print), "invocation": {"module_args": module_args}}
        except UserError as error:
            return {"failed": True, "msg": str(error), **error.facts, "invocation": {"module_args": module_args}}


class Site:
    """One lab host, and installs on it as the action plugin does them."""

    def __init__(self, pomerium: PomeriumHost) -> None:
        self.pomerium = pomerium
        self.action = Action()
        self.warnings: list[str] = []

    def options(self, spec: dict[str, t.Any], **given: t.Any) -> dict[str, t.Any]:
        own = {"config_path": str(self.pomerium.config_path), "directory": str(self.pomerium.tls_directory)}
        probe = {"timeout": 1.5, **given.pop("probe", {})}
        validated = ArgumentSpecValidator(spec["argument_spec"]).validate({**own, "probe": probe, **given})
        assert not validated.error_messages, validated.error_messages
        return t.cast("dict[str, t.Any]", validated.validated_parameters)

    def host(self, options: t.Mapping[str, t.Any]) -> Host:
        self.action.steps.clear()
        host = Host(self.action, {}, PomeriumAction.host_arguments(options))
        self.warnings = host.warnings
        return host

    def install(self, bundle: Bundle, *, check: bool = False, **given: t.Any) -> dict[str, t.Any]:
        options = self.options(CERTIFICATE, **given)
        host = self.host(options)
        return Install(options, host, bundle, Back(options, host, by="ann")).run(check=check).returns(diff=True)

    def go_back(self, *, check: bool = False, by: str = "ann", **given: t.Any) -> dict[str, t.Any]:
        options = self.options(CERTIFICATE, version="previous", **given)
        return Back(options, self.host(options), by=by).run(check=check).returns(diff=True)

    def info(self, **given: t.Any) -> dict[str, t.Any]:
        options = self.options(INFO, **given)
        return inspect_host(options, self.host(options))

    def snapshot(self) -> dict[str, t.Any]:
        """Configuration and installed files, byte for byte."""
        paths = [*self.pomerium.etc.rglob("*"), *self.pomerium.tls_directory.rglob("*")]
        found: dict[str, t.Any] = {}
        for path in paths:
            if path.name != ".lock":
                content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
                found[str(path)] = (path.lstat().st_mode, content)
        return found
