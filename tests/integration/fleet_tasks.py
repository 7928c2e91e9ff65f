# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fleet that is its own store: machines reached over SSH, and controllers that forget everything after each run."""

from __future__ import annotations

import json
import shutil
import typing as t
from pathlib import Path

import yaml
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import chain as chains
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import Ansible, PlaybookRun
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import COLLECTIONS
from ansible_collections.zerotrust.pomerium.tests.lab.secret_forms import key_forms

SITE = "zerotrust.pomerium.site"
HOME = "pomerium"
"""The directory of the bundle below a host's TLS directory."""


class Fleet:
    """Machines without a certificate, one account, and a CA whose requests are counted from now on.

    Every run has a directory of its own that is gone afterwards: only the account key is at hand, as a file that a
    credential of AWX would be.
    """

    def __init__(self, lab: Lab, directory: Path, *machines: Machine) -> None:
        self.lab, self.machines, self._directory = lab, list(machines), directory
        self.account_key = key_pem(new_key("ec-256"))
        self.host_variables: dict[str, dict[str, t.Any]] = {}
        self._runs = 0
        self._mark = lab.ca.mark()
        self.lab.clear_records()

    def machine(self, name: str) -> Machine:
        return next(machine for machine in self.machines if machine.name == name)

    def controller(self, **variables: t.Any) -> Ansible:
        """Make an empty controller; `variables` beat those that every run has, None leaves one out."""
        self._runs += 1
        home = self._directory / f"controller{self._runs}"
        home.mkdir()
        account = home / "account.json"
        account.touch(mode=0o600)
        account.write_text(json.dumps({"account_key_content": self.account_key.decode(), "account_uri": ""}))
        own = {
            **self.lab.variables(),
            "certificate_store_path": "",
            "certificate_account_key_path": "",
            "certificate_account_file": str(account),
            "pomerium_become": True,
            **variables,
        }
        vars_path, inventory_path = home / "vars.yml", home / "inventory.yml"
        vars_path.write_text(yaml.safe_dump({name: value for name, value in own.items() if value is not None}))
        hosts = {m.name: {**m.inventory(), **self.host_variables.get(m.name, {})} for m in self.machines}
        inventory_path.write_text(yaml.safe_dump({"pomerium": {"hosts": hosts}}))
        ansible = Ansible(home, collections=COLLECTIONS, inventory_path=inventory_path, vars_path=vars_path)
        (ansible.home / "ansible.cfg").write_text("[ssh_connection]\npipelining = true\n")
        return ansible

    def run(
        self, playbook: str | Path = SITE, *arguments: str, rc: int = 0, down: t.Sequence[str] = (), **variables: t.Any
    ) -> PlaybookRun:
        """Run a playbook from an empty controller; the machines `down` cannot be reached."""
        before = self.host_variables
        self.host_variables = {**before, **{name: {**before.get(name, {}), "ansible_port": 1} for name in down}}
        try:
            ansible = self.controller(**variables)
        finally:
            self.host_variables = before
        run = ansible.run(playbook, *arguments)
        assert run.rc == rc, run.output
        assert not self.leaked(run.output)
        shutil.rmtree(ansible.home.parent)
        return run

    def order(self, **how: t.Any) -> PlaybookRun:
        """Run the playbook that places an order, and add its records to the zone."""
        run = self.run(**how)
        assert len(run.record_lines) == 2, run.output
        self.lab.paste(run.record_lines)
        return run

    def have_certificate(self) -> None:
        """Order, publish, finish and install, in one run."""
        self.run(certificate_publisher=self.lab.publisher)
        assert self.serves_one()

    def playbook(self, plays: list[dict[str, t.Any]]) -> Path:
        """Write a playbook of a user's own."""
        path = self._directory / "play.yml"
        path.write_text(yaml.safe_dump(plays, sort_keys=False))
        return path

    @property
    def orders(self) -> int:
        """How many orders were placed since the fleet began."""
        return [request.resource for request in self.lab.ca.requests(self._mark)].count("newOrder")

    def serves_one(self) -> bool:
        """Tell whether all machines serve one and the same certificate."""
        leaves = [machine.served(None) for machine in self.machines]
        return None not in leaves and len({leaf.leaf.serial_number for leaf in leaves if leaf}) == 1

    def keeps(self, name: str) -> dict[str, bytes]:
        """What a machine keeps for the fleet between runs: the files by their names."""
        home = self.machine(name).tls_directory / HOME
        files = [*(home / "pending").glob("*"), home / "state.json"]
        return {path.name: path.read_bytes() for path in files if path.is_file()}

    def change(self, name: str, file: str, data: bytes | None, *, mode: int = 0o600) -> None:
        """Write a file below a machine's home of the bundle, or remove it, as its root could."""
        path = self.machine(name).tls_directory / HOME / file
        if data is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(mode)

    def secrets(self) -> dict[str, str]:
        """Every secret there is: the account key, what the machines serve with and keep, and their own."""
        found = {"TSIG key": self.lab.tsig_secret}
        for machine in self.machines:
            found.update(machine.secrets())
            for path in machine.tls_directory.rglob("privkey.pem") if machine.tls_directory.is_dir() else ():
                found.update({f"{machine.name}: {what}": form for what, form in _forms(path).items()})
        account = self._directory / "account.pem"
        account.write_bytes(self.account_key)
        found.update({f"account key: {what}": form for what, form in key_forms(account).items()})
        return found

    def leaked(self, text: str) -> list[str]:
        """Which secrets are in `text`, by what they are."""
        return [what for what, secret in self.secrets().items() if secret in text]


def _forms(path: Path) -> dict[str, str]:
    try:
        return key_forms(path)
    except (ValueError, OSError):  # one that a test has damaged
        return {}


def leaf_of(machine: Machine) -> chains.Facts:
    """Describe what a machine serves."""
    served = machine.served(None)
    assert served is not None
    return chains.describe(served.leaf)
