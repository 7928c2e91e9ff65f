# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What AWX gives to ansible-runner for a job: a private data directory, and some parameters.

All of it is as awx/main/tasks/jobs.py of AWX 24.6.1 lays it out: a copy of the project without `.git`, the inventory as
a script, extra variables marked `!unsafe`, credentials as files whose paths are variables, a private key for ssh-agent.
"""

from __future__ import annotations

import json
import shutil
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import ansible_runner
import jinja2
import yaml
from ansible_collections.zerotrust.pomerium.tests.lab.job_container import PRIVATE

ACCOUNT = """\
{"acme_directory": {{ directory | default("") | tojson }}, "account_key_content": {{ account_key | tojson }},
"account_key_passphrase": {{ account_key_passphrase | default("") | tojson }},
"account_uri": {{ account_uri | default("") | tojson }},
"external_account_binding": {"kid": {{ eab_kid | default("") | tojson }}, "key": {{ eab_key | default("") | tojson }}},
"ca_content": {{ ca | default("") | tojson }}}
"""
"""The file that the credential type "Pomerium ACME account" injects."""

PUBLISHER = """\
{"type": "rfc2136", "server": {{ server | tojson }}, "port": {{ port | default("") | tojson }},
"zone": {{ zone | default("") | tojson }}, "key_name": {{ key_name | tojson }},
"key_algorithm": {{ key_algorithm | default("") | tojson }}, "key_secret": {{ key_secret | tojson }}}
"""
"""The file that the credential type "Pomerium DNS by RFC 2136" injects."""

SETTINGS = {
    "ANSIBLE_FORCE_COLOR": "True",
    "ANSIBLE_HOST_KEY_CHECKING": "False",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
    "ANSIBLE_PARAMIKO_RECORD_HOST_KEYS": "False",
    "ANSIBLE_RETRY_FILES_ENABLED": "False",
    "ANSIBLE_SSH_CONTROL_PATH_DIR": str(PRIVATE / "cp"),
    "ANSIBLE_COLLECTIONS_PATH": (
        f"{PRIVATE}/requirements_collections:~/.ansible/collections:/usr/share/ansible/collections"
    ),
    "ANSIBLE_ROLES_PATH": f"{PRIVATE}/requirements_roles:~/.ansible/roles:/usr/share/ansible/roles:/etc/ansible/roles",
    "AWX_HOST": "https://awx.example.com",
    "INVENTORY_ID": "2",
    "MAX_EVENT_RES": "700000",
    "PROJECT_REVISION": "5d9a3cf1c2c9c1d5f9b6f8c8de1cf0a8c5b9a2d7",
}
"""The environment of every job."""

META_VARIABLES = {
    "job_launch_type": "manual",
    "job_template_id": 9,
    "job_template_name": "Pomerium certificate",
    "execution_node": "node1",
    "inventory_id": 2,
    "inventory_name": "Fleet",
    "project_revision": SETTINGS["PROJECT_REVISION"],
    "project_scm_branch": "",
    "user_id": 1,
    "user_name": "admin",
    "user_email": "admin@example.com",
    "user_first_name": "",
    "user_last_name": "",
}
"""Variables of every job, each by two names."""


@dataclass(frozen=True)
class Credentials:
    """What jobs may do: the inputs of the account's credential, the private key of the machine's, and the inputs of the
    name server's, where there is one."""

    account: t.Mapping[str, str]
    ssh_key: str
    name_server: t.Mapping[str, str] | None = None


@dataclass
class Template:
    """A job template, with what it is launched with; `inventory` is as `ansible-inventory --list` gives one."""

    inventory: t.Mapping[str, t.Any]
    playbook: str = "site.yml"
    variables: t.Mapping[str, t.Any] = field(default_factory=dict)
    survey: t.Mapping[str, t.Any] = field(default_factory=dict)
    job_type: t.Literal["run", "check"] = "run"
    limit: str = ""
    verbosity: int = 0
    show_changes: bool = False
    privilege_escalation: bool = False

    def arguments(self) -> list[str]:
        """Those of ansible-playbook, with the user that AWX names where the credential names none."""
        arguments = ["--check"] if self.job_type == "check" else []
        arguments += ["-u", "root"]
        arguments += ["--become"] if self.privilege_escalation else []
        arguments += ["--diff"] if self.show_changes else []
        arguments += ["-l", self.limit] if self.limit else []
        return [*arguments, *([f"-{'v' * self.verbosity}"] if self.verbosity else [])]


def lay_out(
    private: Path, number: int, *, project: Path, template: Template, credentials: Credentials
) -> dict[str, t.Any]:
    """Lay out the private data directory of a job; give the parameters of ansible-runner."""
    for name in ("inventory", "env", "cp"):
        (private / name).mkdir(mode=0o700, parents=True)
    shutil.copytree(project, private / "project", ignore=shutil.ignore_patterns(".git"), symlinks=True)
    script = f"#! /usr/bin/env python3\n# -*- coding: utf-8 -*-\nprint({json.dumps(template.inventory)!r})\n"
    _write(private / "inventory/hosts", script, mode=0o700)
    meta = {**META_VARIABLES, "job_id": number}
    awx = {f"{prefix}_{name}": value for prefix in ("awx", "tower") for name, value in meta.items()}
    variables = {**template.variables, **template.survey, **awx}
    _write(private / "env/extravars", dump_variables(variables, trusted=template.variables))
    arguments = [*template.arguments(), *_inject(private, credentials)]
    _write(private / "env/cmdline", ansible_runner.utils.args2cmdline(*arguments))
    settings = {"job_timeout": 0, "suppress_ansible_output": True, "suppress_output_file": True}
    _write(private / "env/settings", json.dumps(settings))
    return {
        "ident": number,
        "private_data_dir": str(private),
        "playbook": template.playbook,
        "envvars": {**SETTINGS, "AWX_PRIVATE_DATA_DIR": str(private), "JOB_ID": str(number)},
        "passwords": {"^Enter passphrase for .*:\\s*?$": ""},
        "suppress_env_files": True,
        "fact_cache_type": "",
        "ssh_key": credentials.ssh_key,
    }


def _inject(private: Path, credentials: Credentials) -> list[str]:
    """Write the files of the credentials; give the arguments that name them. What is empty is not given."""
    arguments = []
    for name, template, inputs in (
        ("account", ACCOUNT, credentials.account),
        ("publisher", PUBLISHER, credentials.name_server),
    ):
        if inputs is not None:
            content = jinja2.Template(template).render({key: value for key, value in inputs.items() if value})
            _write(private / f"env/tmp-{name}", content)
            variables = dump_variables({f"certificate_{name}_file": f"{PRIVATE}/env/tmp-{name}"})
            _write(private / f"env/tmp-{name}-vars", variables, mode=0o400)
            arguments += ["-e", f"@{PRIVATE}/env/tmp-{name}-vars"]
    return arguments


def dump_variables(variables: t.Mapping[str, t.Any], trusted: t.Mapping[str, t.Any] | None = None) -> str:
    """As AWX writes them: every string is `!unsafe`, but for variables of the template, which may be Jinja."""
    return "".join(
        yaml.dump({name: value}, Dumper=yaml.SafeDumper if name in (trusted or {}) else _Unsafe)
        for name, value in variables.items()
    )


class _Unsafe(yaml.SafeDumper):
    def represent_data(self, data: t.Any) -> yaml.Node:
        return self.represent_scalar("!unsafe", data) if isinstance(data, str) else super().represent_data(data)


def _write(path: Path, text: str, *, mode: int = 0o600) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)
