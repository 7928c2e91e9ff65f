# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep a lineage by acme_certificate in the tests' own process: no playbook, so that many faults can be tried."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import made
from ansible_collections.zerotrust.pomerium.tests.integration.modules_in_process import Module
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import serve
from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy
from ansible_collections.zerotrust.pomerium.tests.lab.lab import IDENTIFIERS, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.pebble import Pebble


class Keeper:
    """Keeps one lineage, with names and an account of its own, at the CA behind a proxy; many may share the CA."""

    def __init__(self, lab: Lab, proxy: FaultProxy | Pebble, home: Path, *names: str) -> None:
        self.lab, self.proxy, self.names = lab, proxy, names
        self.lineage = home / "store/lineages/pomerium"
        self.warnings: list[str] = []
        self._before = made(lab)
        self._module = Module("acme_certificate")
        self._options = {
            "acme_directory": proxy.directory_url,
            "ca_path": str(proxy.ca_path),
            "account_key_path": str(home / "account.pem"),
            "store_path": str(home / "store"),
            "identifiers": list(names),
            "terms_agreed": True,
            "verify_dns": "recursive",
            "resolvers": [lab.dns.resolver],
            "propagation_timeout": 0,
        }

    def run(self, **options: t.Any) -> dict[str, t.Any]:
        """Run the module once. Raises UserError where it fails; `warnings` are those of this run."""
        self.warnings = []
        return self._module.run({**self._options, **options}, warn=self.warnings.append)

    def fail(self, **options: t.Any) -> str:
        """Run the module once, which must fail with an error for users; its message."""
        try:
            result = self.run(**options)
        except UserError as error:
            return str(error)
        raise AssertionError(f"it did not fail: {result}")

    def order(self, **options: t.Any) -> dict[str, t.Any]:
        """Run it until records are asked for, and add them to the zone."""
        ordered = self.run(**options)
        self.publish(ordered)
        return ordered

    def publish(self, ordered: t.Mapping[str, t.Any]) -> None:
        """Add the records that a run asks for to the zone."""
        if ordered["phase"] != "waiting_for_dns":
            raise AssertionError(f"no records are asked for: {ordered}")
        self.lab.paste([line for line in ordered["instructions"] if "  IN  TXT  " in line])

    def certificates(self) -> list[Path]:
        """All certificate files that there are."""
        return sorted(self.lineage.glob("versions/*/fullchain.pem"))

    def made(self) -> dict[str, int]:
        """How many accounts, orders and certificates the CA has made since this keeper is there."""
        return {what: number - self._before[what] for what, number in made(self.lab).items()}


def have_certificate(lab: Lab, **options: t.Any) -> None:
    """Have another certificate in the store of the lab's playbooks, ordered by their account, without any of them."""
    keeper = Keeper(lab, lab.pebble, lab.store_path.parent, *IDENTIFIERS)
    keeper.order(**options)
    assert keeper.run(**options)["phase"] == "issued"


def have_served(lab: Lab, **options: t.Any) -> None:
    """Have the lab's hosts serve another certificate: what a test begins with that is about something later."""
    have_certificate(lab, **options)
    for host in lab.hosts:
        serve(host, lab.store_path / "lineages/pomerium/current", authority="always")
