# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A CA that answers by script over real sockets, and is strict: what it does not expect it notes as an error."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import ssl
import struct
import threading
import typing as t
from dataclasses import dataclass, field

CUT = "cut the connection"
RESET = "reset the connection"


@dataclass
class Answer:
    """`breaks_off`: the connection ends before the body does."""

    status: int = 200
    body: t.Any = None
    headers: dict[str, str] = field(default_factory=dict)
    nonce: bool | str = True
    breaks_off: bool = False


def problem(kind: str, *, status: int = 400, **headers: str) -> Answer:
    body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": f"said {kind}"}
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class Server(http.server.ThreadingHTTPServer):
    """Without the standard library's traceback for a client that went away."""

    daemon_threads = True

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Say nothing: a client may refuse our certificate."""


class ScriptedCa:
    """Answers POSTs (and GETs) with `script`, in turn, newNonce with fresh nonces; each nonce is good once.

    `heads` are answers to newNonce that come before the usual ones. With `repeats_last` the script never ends.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.script: list[t.Any] = []
        self.heads: list[t.Any] = []
        self.requests: list[str] = []
        self.paths: list[str] = []
        self.payloads: list[bytes] = []
        self.user_agents: set[str] = set()
        self.errors: list[str] = []
        self.repeats_last = False
        self.connections: set[t.Any] = set()
        self._lock = threading.Lock()
        self._nonces = 0
        self._open: set[str] = set()
        self._http = Server(("127.0.0.1", 0), _handler(self))
        if context is not None:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._http.server_port}/"

    def directory(self, **meta: str) -> Answer:
        """The answer that is a directory of this CA."""
        urls = {name: f"{self.url}{name}" for name in ("newNonce", "newAccount", "newOrder")}
        return Answer(200, {**urls, "meta": meta}, nonce=False)

    def order(self, *names: str, status: str = "pending", location: bool = True, number: int = 1) -> Answer:
        """The answer that is an order with one authorization."""
        body = {
            "status": status,
            "identifiers": [{"type": "dns", "value": name} for name in names],
            "authorizations": [f"{self.url}authorization/{number}"],
            "finalize": f"{self.url}finalize/{number}",
        }
        return Answer(201, body, {"Location": f"{self.url}order/{number}"} if location else {})

    def authorization(self, name: str, **other: t.Any) -> Answer:
        """The answer that is a pending authorization; its challenge is of dns-01 unless there are `other` members."""
        members = other or {"type": "dns-01", "token": "abc"}
        challenge = {"url": f"{self.url}challenge/1", "status": "pending", **members}
        body = {"identifier": {"type": "dns", "value": name}, "status": "pending", "challenges": [challenge]}
        return Answer(200, body)

    def new_nonce(self) -> str:
        with self._lock:
            self._nonces += 1
            nonce = f"nonc{self._nonces:04d}"  # base64url without padding
            self._open.add(nonce)
            return nonce

    def answer_head(self) -> t.Any:
        self.requests.append("HEAD")
        return self.heads.pop(0) if self.heads else Answer()

    def answer(self, method: str, path: str, jws: dict[str, str] | None) -> t.Any:
        with self._lock:
            self.requests.append(method)
            self.paths.append(path)
            if jws is not None:
                nonce = json.loads(base64.urlsafe_b64decode(jws["protected"] + "=="))["nonce"]
                if nonce not in self._open:
                    self.errors.append(f"nonce {nonce} was used before")
                self._open.discard(nonce)
                self.payloads.append(base64.urlsafe_b64decode(jws["payload"] + "=="))
            if not self.script:
                self.errors.append("an unexpected request")
                return Answer(500)
            return self.script[0] if self.repeats_last and len(self.script) == 1 else self.script.pop(0)

    def close(self) -> None:
        """Stop, and tell what went against the script."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        if self.script and not self.repeats_last:
            self.errors.append(f"{len(self.script)} answers were not asked for")
        if self.errors:
            raise RuntimeError("; ".join(self.errors))


def _handler(ca: ScriptedCa) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_HEAD(self) -> None:
            self.send(ca.answer_head())

        def do_GET(self) -> None:
            self.send(ca.answer("GET", self.path, None))

        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send(ca.answer("POST", self.path, document))

        def send(self, answer: t.Any) -> None:
            ca.user_agents.add(self.headers["User-Agent"])
            ca.connections.add(self.client_address)
            if answer in (CUT, RESET):
                self.close_connection = True
                if answer == RESET:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body or {}).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.nonce:
                self.send_header("Replay-Nonce", answer.nonce if isinstance(answer.nonce, str) else ca.new_nonce())
            self.send_header("Content-Length", str(len(body) + answer.breaks_off))
            self.end_headers()
            self.close_connection = self.close_connection or answer.breaks_off
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: t.Any) -> None:
            """Say nothing."""

    return Handler
