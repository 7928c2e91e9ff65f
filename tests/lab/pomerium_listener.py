# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stand-in's main listener: PROXY protocol where it is on, TLS, and a small page with Pomerium's HSTS header."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import typing as t
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_tls import Certificates

HSTS = "max-age=31536000; includeSubDomains; preload"
PROXY_V1, PROXY_V2 = b"PROXY ", b"\r\n\r\n\x00\r\nQUIT\n"
LONGEST_PROXY_LINE = 107


@dataclass(frozen=True)
class Serving:
    """What is in force from one reload to the next; a connection keeps what it began with."""

    certificates: Certificates
    is_insecure: bool = False
    uses_proxy_protocol: bool = False
    has_hsts: bool = True
    hosts: t.AbstractSet[str] = frozenset()


class Listener:
    """Accepts connections and serves each on a thread of its own, by what is in force when it begins."""

    def __init__(self) -> None:
        self._address: tuple[str, int] | None = None
        self._socket: socket.socket | None = None
        self.serving: Serving | None = None

    def take(self, address: tuple[str, int], serving: Serving) -> None:
        """Serve this from now on. A new address is bound before the old one is given up, as Envoy warms a listener up
        before it drains the other; raises OSError where the port is not ours to have, and nothing is changed then."""
        if address != self._address:
            bound = socket.create_server(address, backlog=128)
            self.close()
            self._socket, self._address, self.serving = bound, address, serving
            threading.Thread(target=self._accept, args=(bound,), daemon=True).start()
        self.serving = serving

    def close(self) -> None:
        """Stop accepting; connections under way end with the process."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, client = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection, client), daemon=True).start()

    def _serve(self, connection: socket.socket, client: t.Any) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            connection.settimeout(30)
            serving = self.serving
            if serving is None or (serving.uses_proxy_protocol and not _take_proxy_header(connection)):
                return
            if serving.is_insecure:
                _Page(connection, client, self, serving)
            else:
                with serving.certificates.context.wrap_socket(connection, server_side=True) as secured:
                    _Page(secured, client, self, serving)


def _take_proxy_header(connection: socket.socket) -> bool:
    """Read a PROXY header, version 1 or 2, and not an octet more; False where there is none (Envoy then closes)."""
    start = _exactly(connection, len(PROXY_V1))
    if start == PROXY_V1:
        line = start
        while not line.endswith(b"\r\n"):
            if len(line) >= LONGEST_PROXY_LINE:
                return False
            line += _exactly(connection, 1)
        return True
    if start + _exactly(connection, len(PROXY_V2) - len(start)) == PROXY_V2:
        (length,) = struct.unpack("!xxH", _exactly(connection, 4))
        _exactly(connection, length)
        return True
    return False


def _exactly(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        more = connection.recv(length - len(received))
        if not more:
            raise OSError("the client closed within the PROXY header")
        received += more
    return received


class _Page(BaseHTTPRequestHandler):
    """What a route would answer; 404 for hosts that no route names."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "pomerium-standin", ""

    def __init__(self, connection: socket.socket, client: t.Any, listener: Listener, serving: Serving) -> None:
        self._listener, self._serving = listener, serving
        super().__init__(connection, client, t.cast(t.Any, None))

    def log_message(self, format: str, *args: t.Any) -> None:
        """No access log."""

    def do_GET(self) -> None:
        """Answer; a connection from before a rotation is told to close, as Envoy drains its old listener."""
        host = (self.headers.get("Host") or "").partition(":")[0].lower()
        is_known = host in self._serving.hosts or self.path == "/ping"
        body = f"A stand-in of Pomerium answers for {host}.\n".encode() if is_known else b"no such route\n"
        self.send_response(200 if is_known else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if self._serving.has_hsts:
            self.send_header("Strict-Transport-Security", HSTS)
        if self._listener.serving is not self._serving:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_GET
