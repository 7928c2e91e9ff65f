# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action plugins of ours without a play around them: the plugin itself, with its steps on the host by warm modules.

What Ansible does for it is left out: templates, become, connections, vaults, warnings on a terminal. The result is what
a playbook registers, also that of a task that failed.
"""

from __future__ import annotations

import importlib
import typing as t
from types import SimpleNamespace

from ansible.parsing.dataloader import DataLoader
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._action import PomeriumAction
from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import WarmModules
from ansible_collections.zerotrust.pomerium.tests.lab.process import plain_environment

ACTIONS = "ansible_collections.zerotrust.pomerium.plugins.action"


def act(
    modules: WarmModules, plugin: str, options: t.Mapping[str, t.Any], *, check: bool = False, diff: bool = False
) -> dict[str, t.Any]:
    """Run an action plugin with these options, on this machine as the host."""

    def execute(*, module_name: str, module_args: t.Mapping[str, t.Any], task_vars: object) -> dict[str, t.Any]:
        modes = {"_ansible_check_mode": check, "_ansible_diff": diff}
        return modules.run(module_name.rpartition(".")[2], {**module_args, **modes}, plain_environment())

    task = SimpleNamespace(args=dict(options), check_mode=check, diff=diff, async_val=0, get_search_path=list)
    shell = SimpleNamespace(tmpdir="")
    connection = SimpleNamespace(_shell=shell, _play_context=SimpleNamespace(no_log=False))
    kind: type[PomeriumAction] = importlib.import_module(f"{ACTIONS}.{plugin}").ActionModule
    action = kind(task, connection, connection._play_context, DataLoader(), None)
    action._execute_module = execute
    return {"failed": False, **action.run(task_vars={"inventory_hostname": "pom1"})}
