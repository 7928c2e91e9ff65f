# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TLS reverse proxy between ACME clients and Pebble: it counts requests, and does wrong what its rules tell.

A test adds rules as objects or as text (`inject("newOrder:429:3600")`); by hand, `make lab FAULTS="..."` takes the same
text, and `python tests/lab/lab.py --help` lists all of it.

Host is passed on unchanged, so the URLs that Pebble makes of it, and the ones that clients sign, name the proxy.
Strict: a rule that never fired, an error of the proxy's own and a CA that does not answer fail `check()`, which the
end of a `with` block calls.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import struct
import tempfile
import threading
import traceback
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab import serving
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued
from ansible_collections.zerotrust.pomerium.tests.lab.pebble import RESOURCES, Pebble
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import (
    CUT,
    Change,
    Cut,
    Hold,
    LoseAnswer,
    Outcome,
    Refuse,
    Reply,
    Request,
    Respond,
    Rewrite,
    Rule,
    SpoilHandshake,
    resource_of,
)
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_text import parse_rule

HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding"}
T = t.TypeVar("T", bound=Rule)


class FaultProxy:
    """The proxy, on threads of this process; use it as a context manager around the requests it is to see."""

    def __init__(self, pebble: Pebble, directory: Path) -> None:
        """Stand before `pebble`, with a certificate of its CA: its `ca_path` serves for the proxy too."""
        self.port = LEASES.lease()
        self.ca_path = pebble.ca_path
        self._upstream_port = pebble.port
        self._upstream_tls = ssl.create_default_context(cafile=str(pebble.ca_path))
        directory.mkdir(parents=True, exist_ok=True)
        self._authority, self._directory = pebble.authority, directory
        self._tls = self._server_context(pebble.authority.issue("localhost", "127.0.0.1"))
        self._guard = threading.Lock()
        self._rules: list[Rule] = []
        self._requests: list[Request] = []
        self.errors: list[str] = []
        self.closing = threading.Event()
        self._server: _Server | None = None

    @property
    def directory_url(self) -> str:
        return f"https://127.0.0.1:{self.port}{RESOURCES['directory']}"

    def __enter__(self) -> FaultProxy:
        self.start()
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_exception: object) -> None:
        self.close()
        if exception_type is None:
            self.check()

    def start(self) -> None:
        """Listen; whoever connects from now on is served."""
        self._server = _Server(self)
        serving.begin(self._server, "fault proxy")

    def close(self) -> None:
        """Stop listening, let go of clients that are held, and give the port back."""
        self.closing.set()
        if self._server is not None:
            serving.end(self._server)
        LEASES.release(self.port)

    def add(self, rule: T) -> T:
        """Have `rule` applied from now on; rules are asked in the order in which they were added, the first acts."""
        with self._guard:
            self._rules.append(rule)
        return rule

    def inject(self, text: str) -> Rule:
        """Add a rule that is written as text: `newOrder:429:3600`, `order:status:valid=processing,times=always`."""
        return self.add(parse_rule(text))

    def lose_answer(self, resource: str, **rule: t.Any) -> Rule:
        """Let the CA do what is asked, and lose its answer. `resource` is an ACME name (`newOrder`) or a path."""
        return self.add(LoseAnswer(resource, **rule))

    def refuse(self, resource: str, **rule: t.Any) -> Rule:
        """Cut the connection before the CA sees the request."""
        return self.add(Refuse(resource, **rule))

    def respond(
        self,
        resource: str,
        status: int,
        *,
        headers: t.Mapping[str, str] | None = None,
        body: bytes = b"",
        **rule: t.Any,
    ) -> Rule:
        """Answer in the CA's place."""
        return self.add(Respond(resource, Reply(status, headers or {}, body), **rule))

    def rewrite(self, resource: str, *changes: Change, **rule: t.Any) -> Rule:
        """Pass a good answer of the CA through all of `changes`."""
        return self.add(Rewrite(resource, *changes, **rule))

    @property
    def rules(self) -> list[Rule]:
        """All rules that were added, in their order."""
        return list(self._rules)

    def mark(self) -> int:
        """How many requests came so far: what `requests(since=...)` takes."""
        return len(self._requests)

    def requests(self, since: int = 0) -> list[Request]:
        """The requests that came after the mark `since`, whatever became of them."""
        return list(self._requests)[since:]

    def resources(self, since: int = 0) -> list[str]:
        """The ACME names of what was requested after the mark `since`, in order."""
        return [resource_of(request.path) for request in self.requests(since)]

    def check(self) -> None:
        """Raise AssertionError where a rule has not fired as often as it was to, or the proxy itself had an error."""
        unfired = [f"{rule!r} is still to fire {rule.missing} times" for rule in self._rules if rule.missing]
        if unfired or self.errors:
            seen = ", ".join(f"{request.method} {request.path}" for request in self._requests)
            raise AssertionError("\n".join([*self.errors, *unfired, f"requests seen: {seen}"]))

    def outcome(self, request: Request) -> Outcome:
        """What the client gets for `request`: by the rules, else the CA's answer."""
        with self._guard:
            self._requests.append(request)
            about = [rule for rule in self._rules if rule.is_about(request)]
            for rule in about:
                outcome = rule.before(request)
                if outcome is not None:
                    return outcome
        try:
            reply = self._forward(request)
        except (OSError, http.client.HTTPException) as error:
            self.errors.append(f"the CA did not answer {request.method} {request.path}: {error!r}")
            return CUT
        with self._guard:
            for rule in about:
                outcome = rule.after(request, reply)
                if outcome is not None:
                    return outcome
        return reply

    def context_for_next(self) -> ssl.SSLContext | None:
        """How to shake hands on the next connection: as a rule has it, None for not at all."""
        with self._guard:
            spoils = (rule for rule in self._rules if isinstance(rule, SpoilHandshake))
            how = next((rule.how for rule in spoils if rule.on_connection()), None)
        if how is None:
            return self._tls
        if how == "reset":
            return None
        authority = Authority("A CA that nobody knows") if how == "untrusted" else self._authority
        names = ["elsewhere.example"] if how == "misnamed" else ["localhost", "127.0.0.1"]
        return self._server_context(authority.issue(*names, days=-1 if how == "expired" else 30))

    def _server_context(self, pair: Issued) -> ssl.SSLContext:
        with tempfile.TemporaryDirectory(dir=self._directory) as directory:
            certificate_path, key_path = Path(directory) / "cert.pem", Path(directory) / "key.pem"
            pair.write(certificate_path, key_path)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate_path, key_path)
        return context

    def _forward(self, request: Request) -> Reply:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._upstream_port, timeout=60, context=self._upstream_tls
        )
        with contextlib.closing(connection):
            connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    connection.putheader(name, value)
            if request.body:
                connection.putheader("Content-Length", str(len(request.body)))
            connection.endheaders(request.body or None)
            answer = connection.getresponse()
            return Reply(answer.status, _joined(answer.getheaders()), answer.read())


def _joined(headers: t.Iterable[tuple[str, str]]) -> dict[str, str]:
    """Repeated headers (Link) as one, comma separated (RFC 9110 section 5.3)."""
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", proxy.port), _Handler)

    def finish_request(self, request: t.Any, client_address: t.Any) -> None:
        """Shake hands in the connection's own thread; a client that does not like us is its own affair."""
        request.settimeout(60)
        context = self.proxy.context_for_next()
        if context is None:
            # Not before the client's hello: CPython's wrap_socket leaks a socket whose peer is gone by then, and the
            # tests' client is in the tests' process.
            with contextlib.suppress(OSError):
                request.recv(1)
            _reset(request)
            return
        try:
            secured = context.wrap_socket(request, server_side=True)
        except OSError:
            return
        with contextlib.suppress(OSError), secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        self.proxy.errors.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: t.Any) -> None:
        """The proxy remembers its requests; it prints none."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            outcome = self.server.proxy.outcome(Request(self.command, self.path, dict(self.headers.items()), body))
        except Exception:
            self.server.proxy.errors.append(traceback.format_exc())
            outcome = CUT
        if isinstance(outcome, Reply):
            self._send(outcome)
        else:
            self._end(outcome)

    do_GET = do_HEAD = do_POST = _serve

    def _send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        headers = {name: value for name, value in reply.headers.items() if name.lower() not in HOP_BY_HOP}
        for name, value in {"Date": self.date_time_string(), **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self._write(reply.body[: reply.stops_at], reply.drip)
        if reply.then is not None:
            self._end(reply.then)

    def _write(self, body: bytes, drip: float) -> None:
        if not drip:
            self.wfile.write(body)
            return
        for number in range(len(body)):
            self.wfile.write(body[number : number + 1])
            if self.server.proxy.closing.wait(drip):
                return

    def _end(self, how: Cut | Hold) -> None:
        """Close with a TCP reset (no answer, no orderly end of TLS), or say nothing until the client gives up."""
        self.close_connection = True
        if isinstance(how, Cut):
            _reset(socket.socket(fileno=self.connection.detach()))
            return
        while not self.server.proxy.closing.wait(0.02) and not select.select([self.connection], [], [], 0)[0]:
            pass


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
