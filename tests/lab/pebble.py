# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pebble, Let's Encrypt's ACME server for tests, strict, on ports and with certificates of its own.

Its memory is all it has: `restart()` is a CA that forgot every account and order and has a new root.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import typing as t
import urllib.request
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab import acme_server
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.process import Child, plain_environment

RESOURCES = {
    "directory": "/dir",
    "newNonce": "/nonce-plz",
    "newAccount": "/sign-me-up",
    "account": "/my-account/",
    "newOrder": "/order-plz",
    "order": "/my-order/",
    "authorization": "/authZ/",
    "challenge": "/chalZ/",
    "finalize": "/finalize-order/",
    "certificate": "/certZ/",
    "revokeCert": "/revoke-cert",
    "keyChange": "/rollover-account-key",
    "renewalInfo": "/draft-ietf-acme-ari-03/renewalInfo/",
}
"""Where Pebble has each ACME resource: a whole path, or (with a slash at its end) the beginning of one."""

DAY = 86400
DEFAULT_PROFILES = {"default": {"description": "The lab's only profile", "validityPeriod": 90 * DAY}}
_SERVED = re.compile(r"^Pebble \S+ \S+ (?P<method>[A-Z]+) (?P<path>/\S*) -> calling handler\(\)$", re.MULTILINE)


class Request(acme_server.Request):
    """One request that Pebble has served. `path` is the handler's (`/my-order/`), which is what its log tells."""

    resources = RESOURCES


class Pebble(acme_server.AcmeServer):
    """A running Pebble; use it as a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        dns_server: str,
        nonce_reject: int = 20,
        authz_reuse: int = 0,
        chain_length: int = 1,
        alternate_roots: int = 0,
        profiles: t.Mapping[str, t.Mapping[str, t.Any]] | None = None,
        eab_keys: t.Mapping[str, str] | None = None,
        eab_required: bool = False,
        retry_after: t.Mapping[str, int] | None = None,
        key_algorithm: str = "ecdsa",
        domain_blocklist: t.Sequence[str] = (),
    ) -> None:
        """Prepare it in `directory`; `dns_server` is the `address:port` that it asks, over TCP.

        `nonce_reject` and `authz_reuse` are in percent. `profiles` is exactly one by default, because Pebble picks one
        at random for an order that names none. `eab_keys` maps a key id to its base64url HMAC key. `retry_after` has
        `authz` and `order` in seconds.
        """
        super().__init__(directory, number_of_ports=2)
        self.authority = Authority("Lab CA for Pebble's own HTTPS")
        self.ca_path = directory / "pebble-ca.pem"
        self.eab_keys = dict(eab_keys or {})
        self._config: dict[str, t.Any] = {
            **self._places(),
            "externalAccountBindingRequired": eab_required,
            "externalAccountMACKeys": self.eab_keys,
            "domainBlocklist": list(domain_blocklist),
            "keyAlgorithm": key_algorithm,
            "profiles": profiles or DEFAULT_PROFILES,
            "retryAfter": dict(retry_after or {}),
        }
        knobs = {
            "PEBBLE_VA_NOSLEEP": 1,
            "PEBBLE_WFE_NONCEREJECT": nonce_reject,
            "PEBBLE_AUTHZREUSE": authz_reuse,
            "PEBBLE_CHAIN_LENGTH": chain_length,
            "PEBBLE_ALTERNATE_ROOTS": alternate_roots,
        }
        self._child = self._prepare(dns_server, {name: str(value) for name, value in knobs.items()})

    def _prepare(self, dns_server: str, environment: dict[str, str]) -> Child:
        """Write the configuration and the certificates for its HTTPS; the process that reads them."""
        config_path = self.directory / "pebble.json"
        self.ca_path.write_bytes(self.authority.pem)
        pair = self.authority.issue("localhost", "127.0.0.1")
        pair.write(Path(self._config["certificate"]), Path(self._config["privateKey"]))
        config_path.write_text(json.dumps({"pebble": self._config}, indent=2))
        return Child(
            "Pebble",
            [
                acme_server.find_program("pebble", "PEBBLE_BIN"),
                "-strict",
                "-config",
                config_path,
                "-dnsserver",
                dns_server,
            ],
            log_path=self.directory / "pebble.log",
            environment=plain_environment(**environment),
        )

    def _places(self) -> dict[str, t.Any]:
        return {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self._ports[1]}",
            "httpPort": 5002,
            "tlsPort": 5001,
            "certificate": str(self.directory / "pebble-cert.pem"),
            "privateKey": str(self.directory / "pebble-key.pem"),
        }

    @property
    def directory_url(self) -> str:
        return f"https://127.0.0.1:{self.port}{RESOURCES['directory']}"

    @property
    def management_url(self) -> str:
        return f"https://127.0.0.1:{self._ports[1]}"

    @property
    def about(self) -> str:
        return f"Pebble, strict; root: curl -sk {self.management_url}/roots/0"

    def requests(self, since: int = 0) -> list[Request]:
        """The ACME requests served after the mark `since`, refused ones (badNonce) included, in order."""
        return [Request(m["method"], m["path"]) for m in _SERVED.finditer(self.log)][since:]

    def root_pem(self, number: int = 0) -> bytes:
        """The root that its certificates end at; `number` above 0 is an alternate one."""
        return self._management(f"/roots/{number}")

    def intermediate_pem(self, number: int = 0) -> bytes:
        return self._management(f"/intermediates/{number}")

    def cert_status(self, serial: str) -> dict[str, t.Any]:
        """What it knows of a certificate by its serial in hexadecimal: `Status`, `Reason` where it is revoked."""
        status: dict[str, t.Any] = json.loads(self._management(f"/cert-status-by-serial/{serial}"))
        return status

    def _management(self, path: str) -> bytes:
        context = ssl.create_default_context(cafile=str(self.ca_path))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(self.management_url + path, timeout=10) as answer:
            return bytes(answer.read())

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return bool(self.root_pem())
