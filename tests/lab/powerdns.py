# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PowerDNS, a DNS server with an HTTP API: what a DNS provider is, on loopback and for real.

Its API replaces all values at a name by those that it is given, as many providers' do. Debian has it in the packages
pdns-server and pdns-backend-sqlite3.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sqlite3
import typing as t
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype
from ansible_collections.zerotrust.pomerium.tests.lab import serving
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.process import Child, plain_environment

SCHEMA = Path("/usr/share/doc/pdns-backend-sqlite3/schema.sqlite3.sql")
PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


def what_is_missing() -> str | None:
    """What PowerDNS needs and this machine lacks, None where nothing."""
    if shutil.which("pdns_server", path=PATH) is None:
        return "pdns_server (Debian: pdns-server)"
    return None if SCHEMA.is_file() else f"{SCHEMA} (Debian: pdns-backend-sqlite3)"


class PowerDns:
    """A running PowerDNS; use it as a context manager."""

    def __init__(self, directory: Path, *zones: str) -> None:
        """Prepare it in `directory`; it is to serve these zones."""
        directory.mkdir(parents=True, exist_ok=True)
        self.key = secrets.token_urlsafe(24)
        self._zones = zones
        self._dns_port, self._api_port = LEASES.lease(), LEASES.lease()
        database = directory / "pdns.sqlite3"
        with sqlite3.connect(database) as made:
            made.executescript(SCHEMA.read_text())
        made.close()
        config = directory / "pdns.conf"
        config.touch(mode=0o600)
        config.write_text("".join(f"{name}={value}\n" for name, value in self._settings(directory, database).items()))
        self._child = Child(
            "PowerDNS",
            [shutil.which("pdns_server", path=PATH) or "pdns_server", f"--config-dir={directory}"],
            log_path=directory / "pdns.log",
            environment=plain_environment(),
        )

    def _settings(self, directory: Path, database: Path) -> dict[str, str | int]:
        uncached = ("cache-ttl", "negquery-cache-ttl", "query-cache-ttl", "zone-cache-refresh-interval")
        return {
            "launch": "gsqlite3",
            "gsqlite3-database": str(database),
            "local-address": "127.0.0.1",
            "local-port": self._dns_port,
            "webserver-address": "127.0.0.1",
            "webserver-port": self._api_port,
            "api": "yes",
            "api-key": self.key,
            "socket-dir": str(directory),
            "security-poll-suffix": "",
            **{name: 0 for name in uncached},
        }

    @property
    def url(self) -> str:
        """What lexicon calls `pdns_server`."""
        return f"http://127.0.0.1:{self._api_port}"

    @property
    def resolver(self) -> str:
        """`address:port` where it answers DNS."""
        return f"127.0.0.1:{self._dns_port}"

    @property
    def log(self) -> str:
        return self._child.log

    def __enter__(self) -> PowerDns:
        self._child.start()
        self._child.wait_until(lambda: self._ask("GET", ""), what="its API to answer")
        for zone in self._zones:
            kept = {"name": f"{zone}.", "kind": "Native", "nameservers": [f"ns1.{zone}."]}
            self._ask("POST", "/zones", kept)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._child.stop()
        for port in (self._dns_port, self._api_port):
            LEASES.release(port)

    def put(self, zone: str, name: str, *entries: str) -> None:
        """Have exactly these TXT values at a name, whoever wrote what is there."""
        records = [{"content": f'"{entry}"', "disabled": False} for entry in entries]
        change = {"name": f"{name}.", "type": "TXT", "ttl": 60, "changetype": "REPLACE", "records": records}
        self._ask("PATCH", f"/zones/{zone}.", {"rrsets": [change]})

    def entries(self, name: str) -> list[str]:
        """The TXT values at a name as DNS has them, sorted."""
        query = dns.message.make_query(name, dns.rdatatype.TXT)
        answer, _by_tcp = dns.query.udp_with_fallback(query, "127.0.0.1", timeout=5, port=self._dns_port)
        return sorted(b"".join(one.strings).decode() for rrset in answer.answer for one in rrset)

    @contextlib.contextmanager
    def losing_writes(self, number: int) -> t.Iterator[str]:
        """A URL of the same API that says 204 to the first changes of records, and forgets them."""
        server = _LosingServer(self.url, number)
        serving.begin(server, "PowerDNS that loses writes")
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            serving.end(server)

    def _ask(self, method: str, path: str, body: t.Mapping[str, t.Any] | None = None) -> t.Any:
        headers = {"X-API-Key": self.key, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.url}/api/v1/servers/localhost{path}"
        return json.loads(_send(urllib.request.Request(url, data, headers, method=method)) or b"null")


class _LosingServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, url: str, writes: int) -> None:
        self.url, self.writes_to_lose = url, writes
        super().__init__(("127.0.0.1", 0), _LosingHandler)


class _LosingHandler(BaseHTTPRequestHandler):
    server: _LosingServer

    def log_message(self, format: str, *args: t.Any) -> None:
        """PowerDNS has a log of its own."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {"X-API-Key": self.headers["X-API-Key"]}
        answer = _send(urllib.request.Request(self.server.url + self.path, body or None, headers, method=self.command))
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_PATCH(self) -> None:
        if not self.server.writes_to_lose:
            return self.do_GET()
        self.server.writes_to_lose -= 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        return self.end_headers()


def _send(request: urllib.request.Request) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=10) as answer:
        return bytes(answer.read())
