# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for acme-dns: its HTTP API as its source has it (github.com/joohoi/acme-dns, v1.1), and DNS for its zone.

The original's are: registration with `allowfrom`, an update that takes the place of the older of exactly two values (by
whole seconds), the 43 characters, status and body of each refusal, and that nothing can be removed.
"""

from __future__ import annotations

import ipaddress
import json
import re
import secrets
import ssl
import threading
import time
import typing as t
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab import serving
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.dns_server import DnsServer
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES

_VALUE = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class AcmeDnsStandin:
    """The server, on threads of this process; use it as a context manager.

    `updates` are the values written, in order, as (fulldomain, value); `capacity` is how many it still registers, None
    for all: then it fails, as one whose disk is full. `registered` is called for each account before the answer.
    """

    def __init__(
        self, directory: Path, *, domain: str = "auth.example.org", zones: t.Mapping[str, Path] | None = None
    ) -> None:
        """Prepare it in `directory`, to be authoritative for `domain`; and for `zones`, of which CNAMEs lead there."""
        directory.mkdir(parents=True, exist_ok=True)
        authority = Authority("Lab root of acme-dns")
        self.domain, self.ca_path = domain, directory / "acme-dns-ca.pem"
        self.ca_path.write_bytes(authority.pem)
        self._pair = directory / "acme-dns.pem", directory / "acme-dns-key.pem"
        authority.issue("localhost", "127.0.0.1").write(*self._pair)
        self._zone_path = directory / "acme-dns.zone"
        self._rows: dict[str, list[tuple[int, str]]] = {}
        self._write_zone()
        self._dns = DnsServer({domain: self._zone_path, **(zones or {})})
        self._port = LEASES.lease()
        self._guard = threading.Lock()
        self.accounts: dict[str, dict[str, t.Any]] = {}
        self.updates: list[tuple[str, str]] = []
        self.capacity: int | None = None
        self.registered: t.Callable[[], object] = lambda: None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def resolver(self) -> str:
        """`address:port` where it answers DNS."""
        return self._dns.resolver

    def entries(self, fulldomain: str) -> list[str]:
        """The values at a name, sorted."""
        return sorted(value for _at, value in self._rows[fulldomain.partition(".")[0]] if value)

    def __enter__(self) -> AcmeDnsStandin:
        self._dns.start()
        self._server = _Server(self, self._port)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self._pair)
        serving.begin(self._server, "acme-dns", tls=context)
        return self

    def __exit__(self, *_exception: object) -> None:
        serving.end(self._server)
        self._dns.close()
        LEASES.release(self._port)

    def register(self, body: bytes) -> tuple[int, dict[str, t.Any]]:
        """Answer POST /register."""
        try:
            allowed = json.loads(body).get("allowfrom", []) if body else []
        except (ValueError, AttributeError):
            return 400, {"error": "malformed_json_payload"}
        if not all(_is_network(network) for network in allowed):
            return 400, {"error": "invalid_allowfrom_cidr"}
        with self._guard:
            if self.capacity is not None:
                if self.capacity == 0:
                    return 500, {"error": "database or disk is full"}
                self.capacity -= 1
            subdomain, username = str(uuid.uuid4()), str(uuid.uuid4())
            account = {
                "username": username,
                "password": secrets.token_urlsafe(30),
                "fulldomain": f"{subdomain}.{self.domain}",
                "subdomain": subdomain,
                "allowfrom": allowed,
            }
            self.accounts[username] = account
            self._rows[subdomain] = [(0, ""), (0, "")]
        self.registered()
        return 201, account

    def update(self, username: str, password: str, address: str, body: bytes) -> tuple[int, dict[str, t.Any]]:
        """Answer POST /update."""
        account = self.accounts.get(username, {"password": ""})
        if not password or account["password"] != password or not _is_allowed(address, account["allowfrom"]):
            return 401, {"error": "forbidden"}
        try:
            asked = json.loads(body)
        except ValueError:
            asked = {}
        if asked.get("subdomain") != account["subdomain"]:
            return 401, {"error": "forbidden"}
        if not _VALUE.match(str(asked.get("txt"))):
            return 400, {"error": "bad_txt"}
        with self._guard:
            rows = self._rows[account["subdomain"]]
            older = min(range(2), key=lambda number: rows[number][0])
            rows[older] = int(time.time()), asked["txt"]
            self.updates.append((account["fulldomain"], asked["txt"]))
            self._write_zone()
        return 200, {"txt": asked["txt"]}

    def _write_zone(self) -> None:
        head = (
            f"$ORIGIN {self.domain}.\n$TTL 1\n@ IN SOA ns1 hostmaster 1 60 60 60 1\n@ IN NS ns1\nns1 IN A 127.0.0.1\n"
        )
        values = {(subdomain, value) for subdomain, rows in self._rows.items() for _at, value in rows if value}
        self._zone_path.write_text(head + "".join(f"{subdomain} IN TXT {value}\n" for subdomain, value in values))


def _is_network(text: t.Any) -> bool:
    try:
        return "/" in text and bool(ipaddress.ip_network(text, strict=False))
    except (ValueError, TypeError):
        return False


def _is_allowed(address: str, networks: t.Sequence[str]) -> bool:
    return not networks or any(
        ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False) for network in networks
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, standin: AcmeDnsStandin, port: int) -> None:
        self.standin = standin
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: t.Any) -> None:
        """What was written is in `updates`."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path not in ("/register", "/update"):
            return self.do_GET()
        if self.path == "/register":
            status, document = self.server.standin.register(body)
        else:
            names = self.headers.get("X-Api-User", ""), self.headers.get("X-Api-Key", "")
            status, document = self.server.standin.update(*names, self.client_address[0], body)
        return serving.send_json(self, status, document)
