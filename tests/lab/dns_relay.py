# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hands DNS on from port 53 of a loopback address to a name server at another place, both over UDP and over TCP.

Authoritative servers are asked at port 53, and BIND listens only on addresses that an interface has, which 127.77.1.2
is not. Taking port 53 takes root.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import typing as t

from ansible_collections.zerotrust.pomerium.tests.lab import serving


class DnsRelay:
    """The relay, on threads of this process; use it as a context manager."""

    def __init__(self, address: str, *, to: tuple[str, int], port: int = 53) -> None:
        """Listen at `address` and hand all on to `to`, address and port."""
        self._place, self._to = (address, port), to
        self._servers: list[socketserver.BaseServer] = []

    def __enter__(self) -> DnsRelay:
        relay = self

        class Datagram(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, answering = self.request
                with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
                    upstream.settimeout(5)
                    upstream.connect(relay._to)
                    upstream.send(data)
                    answering.sendto(upstream.recv(65535), self.client_address)

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError), socket.create_connection(relay._to, timeout=5) as upstream:
                    answers = upstream.makefile("rb")
                    for received, send in ((self.rfile, upstream.sendall), (answers, self.wfile.write)):
                        send(_message(received))

        for kind, handler in ((_Udp, Datagram), (_Tcp, Connection)):
            server = kind(self._place, handler)
            self._servers.append(server)
            serving.begin(server, "DNS relay")
        return self

    def __exit__(self, *_exception: object) -> None:
        for server in self._servers:
            serving.end(server)


class _Udp(socketserver.ThreadingUDPServer):
    allow_reuse_address = True
    daemon_threads = True


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def _message(stream: t.Any) -> bytes:
    """Read one message with its length (RFC 1035 section 4.2.2)."""
    length = stream.read(2)
    return bytes(length + stream.read(struct.unpack("!H", length)[0])) if len(length) == 2 else b""
