# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in for Cloudflare's API (v4), with what a client needs to write records: other than at PowerDNS, each value
is a record with an id, and nothing is ever replaced. Written after its documentation; nobody has compared the two.
"""

from __future__ import annotations

import itertools
import json
import ssl
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from ansible_collections.zerotrust.pomerium.tests.lab import serving
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES

HOST = "api.cloudflare.com"
Reply = t.Tuple[int, t.Dict[str, t.Any]]


class CloudflareStandin:
    """The server, on threads of this process; a context manager. `calls` are the requests served, without queries.

    It takes `token` for these zones; `records` are the TXT records, whose `content` is kept in quotes.
    """

    token = "cloudflare-token-of-the-lab"

    def __init__(self, directory: Path, *zones: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        authority = Authority("Lab root of Cloudflare")
        self.ca_path, pair = directory / "ca.pem", (directory / "cert.pem", directory / "key.pem")
        self.ca_path.write_bytes(authority.pem)
        authority.issue(HOST).write(*pair)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*pair)
        self._zones = [{"id": f"zone{number}", "name": zone} for number, zone in enumerate(zones)]
        self._numbers = itertools.count(1)
        self.records: list[dict[str, t.Any]] = []
        self.calls: list[str] = []
        self.port = LEASES.lease()

    def __enter__(self) -> CloudflareStandin:
        self._server = _Server(self)
        serving.begin(self._server, "Cloudflare", tls=self._context)
        return self

    def __exit__(self, *_exception: object) -> None:
        serving.end(self._server)
        LEASES.release(self.port)

    def put(self, name: str, content: str, *, type: str = "TXT") -> None:
        """Add a record, whoever it is from."""
        self.records.append({"id": f"record{next(self._numbers)}", "name": name, "type": type, "content": content})

    def answer(self, method: str, path: str, asked: dict[str, str], body: dict[str, t.Any]) -> Reply:
        """Answer a request that is allowed."""
        self.calls.append(f"{method} {path}")
        if (method, path) == ("GET", "/client/v4/zones"):
            return _page(self._zones)
        zone, _slash, what = path[len("/client/v4/zones/") :].partition("/")
        if zone not in [known["id"] for known in self._zones]:
            return _refusal(404, 7003, "Could not route to it, perhaps your object identifier is invalid?")
        if (method, what) == ("GET", "dns_records"):
            fields = {field: asked[field] for field in ("type", "name", "content") if field in asked}
            return _page([record for record in self.records if fields.items() <= record.items()])
        if (method, what) == ("POST", "dns_records"):
            return self._add(body)
        if method == "DELETE" and what.startswith("dns_records/"):
            self.records = [record for record in self.records if f"dns_records/{record['id']}" != what]
            return 200, {"success": True, "result": {"id": what.partition("/")[2]}}
        return _refusal(405, 10000, "Method not allowed")

    def _add(self, body: dict[str, t.Any]) -> Reply:
        name, content = body["name"], f'"{body["content"]}"'
        if any((record["name"], record["content"]) == (name, content) for record in self.records):
            return _refusal(400, 81058, "An identical record already exists.")
        self.put(name, content)
        return 200, {"success": True, "result": {**self.records[-1], "ttl": body["ttl"]}}


def _page(found: t.Sequence[t.Mapping[str, t.Any]]) -> Reply:
    whole = {"page": 1, "per_page": 100, "count": len(found), "total_count": len(found), "total_pages": 1}
    return 200, {"success": True, "errors": [], "result": [{"ttl": 60, **one} for one in found], "result_info": whole}


def _refusal(status: int, code: int, message: str) -> Reply:
    return status, {"success": False, "errors": [{"code": code, "message": message}], "result": None}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, standin: CloudflareStandin) -> None:
        self.standin = standin
        super().__init__(("127.0.0.1", standin.port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: t.Any) -> None:
        """What was asked is in `calls`."""

    def do_GET(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.headers.get("Authorization") != f"Bearer {self.server.standin.token}":
            status, document = _refusal(403, 9109, "Invalid access token")
        else:
            status, document = self.server.standin.answer(self.command, url.path, asked, body)
        serving.send_json(self, status, document)

    do_POST = do_DELETE = do_GET
