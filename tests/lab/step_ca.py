# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""step-ca, the CA that people run themselves: another ACME server than Pebble, as its defaults make it.

Its root is private and is what both its HTTPS and its certificates are verified with. It offers no ARI, no profiles
and no terms of service, sends no Retry-After, validates while a challenge is being answered, issues while an order is
being finalized, and keeps accounts and orders over a restart. Certificates live for a day.
"""

from __future__ import annotations

import json
import socket
import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab import acme_server
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.process import Child, plain_environment

PROVISIONER = "lab"
_ID = "[^/]+"


class Request(acme_server.Request):
    """One request that step-ca has served, below its ACME provisioner."""

    resources = {
        name: f"/acme/{PROVISIONER}/{path}"
        for name, path in {
            "directory": "directory",
            "newNonce": "new-nonce",
            "newAccount": "new-account",
            "account": f"account/{_ID}",
            "orders": f"account/{_ID}/orders",
            "newOrder": "new-order",
            "order": f"order/{_ID}",
            "finalize": f"order/{_ID}/finalize",
            "authorization": f"authz/{_ID}",
            "challenge": f"challenge/{_ID}/{_ID}",
            "certificate": f"certificate/{_ID}",
            "revokeCert": "revoke-cert",
            "keyChange": "key-change",
        }.items()
    }


class StepCa(acme_server.AcmeServer):
    """A running step-ca; use it as a context manager."""

    def __init__(self, directory: Path, *, dns_server: str) -> None:
        """Prepare it in `directory`; `dns_server` is the `address:port` that it asks, over UDP."""
        super().__init__(directory, number_of_ports=1)
        self.authority = Authority("Lab root of step-ca")
        self.ca_path = directory / "root.pem"
        self.ca_path.write_bytes(self.authority.pem)
        intermediate = Authority("Lab intermediate of step-ca", issuer=self.authority)
        intermediate.pair.write(directory / "intermediate.pem", directory / "intermediate-key.pem")
        config_path = directory / "ca.json"
        config_path.write_text(json.dumps(self._config(), indent=2))
        self._child = Child(
            "step-ca",
            [find_step_ca(), "-resolver", dns_server, config_path],
            log_path=directory / "step-ca.log",
            environment=plain_environment(STEPPATH=str(directory)),
        )

    def _config(self) -> dict[str, t.Any]:
        return {
            "root": str(self.ca_path),
            "crt": str(self.directory / "intermediate.pem"),
            "key": str(self.directory / "intermediate-key.pem"),
            "address": f"127.0.0.1:{self.port}",
            "dnsNames": ["127.0.0.1", "localhost"],
            "logger": {"format": "json"},
            "db": {"type": "bbolt", "dataSource": str(self.directory / "step-ca.db")},
            "authority": {"provisioners": [{"type": "ACME", "name": PROVISIONER}]},
        }

    @property
    def about(self) -> str:
        return f"step-ca; root: {self.ca_path}"

    @property
    def directory_url(self) -> str:
        return f"https://127.0.0.1:{self.port}/acme/{PROVISIONER}/directory"

    def requests(self, since: int = 0) -> list[Request]:
        """The ACME requests served after the mark `since`, refused ones (badNonce) included, in order."""
        entries = [json.loads(line) for line in self.log.splitlines() if line.startswith("{") and line.endswith("}")]
        return [Request(e["method"], e["path"]) for e in entries if e.get("path", "").startswith("/acme/")][since:]

    def root_pem(self) -> bytes:
        return self.authority.pem

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True


def find_step_ca() -> Path:
    """The step-ca to run. Raises RuntimeError where there is none."""
    return acme_server.find_program("step-ca", "STEP_CA_BIN")


def why_missing() -> str | None:
    """Why tests that need step-ca have to be skipped; None where they need not."""
    try:
        find_step_ca()
    except RuntimeError as error:
        return str(error)
    return None
