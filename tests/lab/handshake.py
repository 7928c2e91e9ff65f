# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""See what a TLS server serves, as anybody who connects to it sees it: with and without verification."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import typing as t
from dataclasses import dataclass

from cryptography import x509

PROXY_HEADER = b"PROXY TCP4 192.0.2.1 127.0.0.1 50000 443\r\n"


@dataclass(frozen=True)
class Served:
    """The certificates that came in a handshake, the leaf first."""

    leaf: x509.Certificate
    chain: list[x509.Certificate]
    tls_version: str


@dataclass(frozen=True)
class Visit:
    """An answer over TLS that was verified as a browser does it: chain, dates and host name."""

    served: Served
    status: int
    headers: dict[str, str]
    body: str


def look(port: int, server_name: str | None, *, address: str = "127.0.0.1", has_proxy_protocol: bool = False) -> Served:
    """Shake hands with `address`:`port` and take whatever is served; nothing is verified."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with _secured((address, port), context, server_name, has_proxy_protocol) as connection:
        return _served(connection)


def visit(
    port: int, server_name: str, *, root_pem: bytes, address: str = "127.0.0.1", has_proxy_protocol: bool = False
) -> Visit:
    """Get https://`server_name`/ from `address`:`port`, trusting `root_pem` alone.

    Raises ssl.SSLCertVerificationError where a browser would show its warning.
    """
    context = ssl.create_default_context(cadata=root_pem.decode())
    with _secured((address, port), context, server_name, has_proxy_protocol) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {server_name}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        body = answer.read().decode()
        return Visit(_served(connection), answer.status, dict(answer.getheaders()), body)


@contextlib.contextmanager
def _secured(
    target: tuple[str, int], context: ssl.SSLContext, server_name: str | None, has_proxy_protocol: bool
) -> t.Iterator[ssl.SSLSocket]:
    with socket.create_connection(target, timeout=10) as plain:
        if has_proxy_protocol:
            plain.sendall(PROXY_HEADER)
        with context.wrap_socket(plain, server_hostname=server_name) as connection:
            yield connection


def _served(connection: ssl.SSLSocket) -> Served:
    chain = [x509.load_der_x509_certificate(der) for der in _chain_der(connection)]
    return Served(chain[0], chain, connection.version() or "")


def _chain_der(connection: t.Any) -> list[bytes]:
    """All certificates as they were sent. Public since Python 3.13; before, the same method of the inner object."""
    if hasattr(connection, "get_unverified_chain"):
        return list(connection.get_unverified_chain())
    return [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in connection._sslobj.get_unverified_chain()]
