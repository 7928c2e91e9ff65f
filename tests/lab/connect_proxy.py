# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP proxy of a company network: it opens tunnels (CONNECT) to loopback, and counts them."""

from __future__ import annotations

import contextlib
import selectors
import socket
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ansible_collections.zerotrust.pomerium.tests.lab import serving
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES


class ConnectProxy:
    """The proxy, on threads of this process; a context manager. `tunnels` are the targets asked for, as `host:port`.

    With `refuses` it answers every CONNECT with 407, as one does that wants a password. `stand_ins` are ports of
    loopback by the target that they stand in for.
    """

    def __init__(self, *, refuses: bool = False, stand_ins: t.Mapping[str, int] | None = None) -> None:
        self.port = LEASES.lease()
        self.refuses = refuses
        self.stand_ins = dict(stand_ins or {})
        self.tunnels: list[str] = []
        self._server = _Server(self)

    @property
    def url(self) -> str:
        """What HTTPS_PROXY is set to."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ConnectProxy:
        serving.begin(self._server, "CONNECT proxy")
        return self

    def __exit__(self, *_exception: object) -> None:
        serving.end(self._server)
        LEASES.release(self.port)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: ConnectProxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", proxy.port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: t.Any) -> None:
        """The proxy remembers its tunnels; it prints none."""

    def do_CONNECT(self) -> None:
        self.server.proxy.tunnels.append(self.path)
        self.close_connection = True
        stand_in = self.server.proxy.stand_ins.get(self.path)
        host, _colon, port = (f"127.0.0.1:{stand_in}" if stand_in else self.path).rpartition(":")
        if self.server.proxy.refuses:
            self.send_error(407)
        elif host != "127.0.0.1":
            self.send_error(403, "only to loopback")
        else:
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=10) as target:
                self.send_response_only(200)
                self.end_headers()
                _relay(self.connection, target)


def _relay(client: socket.socket, target: socket.socket) -> None:
    """Pass bytes both ways until either side ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(client, selectors.EVENT_READ, target)
        selector.register(target, selectors.EVENT_READ, client)
        while True:
            for key, _events in selector.select():
                data = t.cast("socket.socket", key.fileobj).recv(65536)
                if not data:
                    return
                key.data.sendall(data)
