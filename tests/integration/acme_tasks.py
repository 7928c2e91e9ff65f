# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the ACME modules with what the lab makes necessary filled in: warm, or in plays on localhost as users do.

The result is what a playbook registers, also that of a task that failed. Several tasks may share one play.
"""

from __future__ import annotations

import base64
import json
import os
import re
import tempfile
import typing as t
from dataclasses import dataclass
from pathlib import Path

import yaml
from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import WarmModules
from ansible_collections.zerotrust.pomerium.tests.lab.lab import IDENTIFIERS, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import PlaybookRun
from cryptography import x509
from cryptography.hazmat.primitives import serialization

Tasks = t.Sequence[t.Tuple[str, t.Mapping[str, t.Any]]]
_RESULT = re.compile(r"result (\d+): ([A-Za-z0-9+/=]+)")
QUICK = {"retry_after": {"authz": 1, "order": 1}}
"""Arguments for Pebble, which else asks to wait three and five seconds."""


@dataclass(frozen=True)
class Done:
    """The registered result of one task, and the play that it was part of where it was part of one."""

    values: dict[str, t.Any]
    run: PlaybookRun | None = None

    def __getitem__(self, key: str) -> t.Any:
        if key not in self.values:
            raise KeyError(f"{key} is not in the result: {json.dumps(self.values, indent=2)}")
        return self.values[key]

    @property
    def ok(self) -> Done:
        """The same, of a task that must not have failed."""
        if self.values.get("failed"):
            raise AssertionError(f"the task failed: {json.dumps(self.values, indent=2)}")
        return self

    @property
    def error(self) -> str:
        """The message of a task that must have failed with one, and not with a traceback."""
        crashed = ("Traceback (most recent", "Module failed: ", "MODULE FAILURE")
        if not self.values.get("failed") or any(sign in json.dumps(self.values) for sign in crashed):
            raise AssertionError(f"no clear failure: {json.dumps(self.values, indent=2)}")
        return str(self["msg"])

    @property
    def warnings(self) -> str:
        """All warnings of the task, as one text."""
        return "\n".join(str(warning) for warning in self.values.get("warnings") or ())


class Controller:
    """Where a user of the lab's CA runs the modules. Options given as None are left out; `check` and `diff` are modes.

    `run` runs a module alone. `play` has Ansible run it: for what Ansible has a part in, and once for each module.
    """

    def __init__(self, lab: Lab, modules: WarmModules) -> None:
        self.lab, self._modules = lab, modules
        self.home = lab.directory / "controller"
        self.state_path = self.home / "order.json"
        self.key_path = self.home / "tls/privkey.pem"
        self.fullchain_path = self.home / "tls/fullchain.pem"
        self.key_path.parent.mkdir(exist_ok=True)
        self.lineage = lab.store_path / "lineages/pomerium"

    def options(self, module: str) -> dict[str, t.Any]:
        """What a task of this module has unless a test says otherwise."""
        lab = self.lab
        if module in ("acme_dns_account", "acme_dns_record"):
            return {}
        options: dict[str, t.Any] = {
            "acme_directory": lab.directory_url,
            "ca_path": str(lab.ca.ca_path),
            "account_key_path": str(lab.account_key_path),
        }
        if module in ("acme_order", "acme_finalize", "acme_certificate"):
            options.update(resolvers=[lab.dns.resolver], verify_dns="recursive")
        if module in ("acme_order", "acme_certificate"):
            options["identifiers"] = IDENTIFIERS
        if module in ("acme_order", "acme_finalize"):
            options["state_path"] = str(self.state_path)
        if module == "acme_finalize":
            options.update(private_key_dest=str(self.key_path), fullchain_path=str(self.fullchain_path))
        if module in ("acme_finalize", "acme_certificate"):
            options["propagation_timeout"] = 0
        if module in ("acme_account", "acme_certificate"):
            options["terms_agreed"] = True
        if module == "acme_certificate":
            options["store_path"] = str(lab.store_path)
        return options

    def run(self, module: str, *, check: bool = False, diff: bool = False, **options: t.Any) -> Done:
        """Run a module."""
        given = _without_none({**self.options(module), **options, "_ansible_check_mode": check, "_ansible_diff": diff})
        return Done(self._modules.run(module, given, self.lab.ansible.environment))

    def run_all(self, tasks: Tasks) -> list[Done]:
        """Run modules one after the other, whether or not one of them fails."""
        return [self.run(module, **options) for module, options in tasks]

    def play(self, module: str, *arguments: str, env: t.Mapping[str, str] | None = None, **options: t.Any) -> Done:
        """Run one task by ansible-playbook, with these arguments."""
        return self.play_all([(module, options)], *arguments, env=env)[0]

    def play_all(self, tasks: Tasks, *arguments: str, env: t.Mapping[str, str] | None = None) -> list[Done]:
        """Run tasks in one play, whether or not one of them fails."""
        playbook = self._playbook(tasks)
        try:
            run = self.lab.playbook(playbook, *arguments, env=env)
        finally:
            playbook.unlink()
        found = {int(number): json.loads(base64.b64decode(text)) for number, text in _RESULT.findall(run.stdout)}
        if sorted(found) != list(range(len(tasks))):
            raise AssertionError(f"not every task has a result:\n{run.output}")
        return [Done(found[number], run) for number in range(len(tasks))]

    def _playbook(self, tasks: Tasks) -> Path:
        written: list[dict[str, t.Any]] = []
        for number, (module, given) in enumerate(tasks):
            options = _without_none({**self.options(module), **given})
            keywords: dict[str, t.Any] = {"register": f"result_{number}", "ignore_errors": True}
            if options.pop("check", False):
                keywords["check_mode"] = True
            if options.pop("diff", False):
                keywords["diff"] = True
            written += [
                {f"zerotrust.pomerium.{module}": options, **keywords},
                {"ansible.builtin.debug": {"msg": f"result {number}: {{{{ result_{number} | to_json | b64encode }}}}"}},
            ]
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
            "tasks": written,
        }
        descriptor, path = tempfile.mkstemp(dir=self.home, prefix="tasks-", suffix=".yml")
        with os.fdopen(descriptor, "w") as file:
            yaml.safe_dump([play], file, sort_keys=False)
        return Path(path)

    def paste(self, done: Done) -> None:
        """Do what `instructions` say: add the records to the zone."""
        self.lab.paste([line for line in done["instructions"] if "  IN  TXT  " in line])

    def order(self, **options: t.Any) -> Done:
        """Open the account and place an order: how tests of later steps begin."""
        self.run("acme_account").ok  # noqa: B018
        return self.run("acme_order", **options).ok


def _without_none(options: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in options.items() if value is not None}


def entries(done: Done) -> list[str]:
    """All TXT values that a result asks for."""
    return sorted(entry for record in done["dns_records"] for entry in record["entries"])


def printed(runs: t.Sequence[Done]) -> str:
    """All that these runs have printed, and all that was registered."""
    return "".join({run.run.output for run in runs if run.run}) + "".join(str(run.values) for run in runs)


def resources(lab: Lab, since: int = 0) -> list[str]:
    """The ACME names of what the CA served (and did not refuse for its nonce, which is random) since a mark."""
    return [request.resource for request in lab.ca.requests(since)]


def made(lab: Lab) -> dict[str, int]:
    """How many accounts, orders and certificates the CA has made so far, by what its log says."""
    log = lab.pebble.log
    return {
        "accounts": log.count("accounts in memory"),
        "orders": log.count("Added order "),
        "certificates": log.count("Issued certificate serial "),
    }


def is_pair(certificate_path: Path, key_path: Path) -> bool:
    """Tell whether a certificate is for a key."""
    leaf = x509.load_pem_x509_certificates(certificate_path.read_bytes())[0]
    key = serialization.load_pem_private_key(key_path.read_bytes(), None)
    return bool(leaf.public_key() == key.public_key())


def tree(path: Path) -> dict[str, bytes]:
    """Every file below a directory with its content, links included, but for locks, which name their last holder."""
    return {
        str(one.relative_to(path)): str(one.readlink()).encode() if one.is_symlink() else one.read_bytes()
        for one in sorted(path.rglob("*"))
        if one.name != "lock" and (one.is_symlink() or one.is_file())
    }
