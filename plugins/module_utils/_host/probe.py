# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a TLS client is served at an address: one handshake from this host, with SNI, trusting nothing.

A handshake is the only trustworthy answer (Pomerium's health endpoints say 200 while a pair is mismatched).
Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import socket
import ssl
import typing as t
from dataclasses import dataclass

_CLIENT_CERTIFICATE_ALERTS = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE")


@dataclass(frozen=True)
class Target:
    """Where to knock, under which name, and whether the listener wants to hear the PROXY protocol first."""

    address: str
    port: int
    server_name: str | None = None
    proxy_protocol: bool = False


@dataclass(frozen=True)
class Served:
    """What was seen. `state` is one of

    served: `der` is the leaf; client_certificate_required: the leaf cannot be seen without one (TLS 1.2);
    not_listening: nothing has the port; no_answer: no TCP or TLS answer in time; no_tls: something else speaks there.
    """

    state: str
    der: bytes = b""
    error: str = ""

    @property
    def sha256(self) -> str | None:
        """Digest of the leaf's DER (hex), or None where no leaf was seen."""
        return hashlib.sha256(self.der).hexdigest() if self.der else None


def probe(target: Target, *, within: float = 5.0) -> Served:
    """Shake hands once and say what was seen; never raises for what the other side does."""
    try:
        connection = socket.create_connection((target.address, target.port), timeout=within)
    except socket.timeout:
        return Served("no_answer", error=f"no connection within {within:g} s")
    except OSError as error:
        state = "not_listening" if error.errno == errno.ECONNREFUSED else "no_answer"
        return Served(state, error=error.strerror or str(error))
    with connection:
        return _shake_hands(connection, target)


def _shake_hands(connection: socket.socket, target: Target) -> Served:
    try:
        if target.proxy_protocol:
            connection.sendall(_proxy_header(connection))
        return Served("served", der=_fetch_leaf(connection, target.server_name))
    except socket.timeout:
        return Served("no_answer", error="no TLS answer in time")
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        is_alert = any(alert in reason for alert in _CLIENT_CERTIFICATE_ALERTS)
        return Served("client_certificate_required" if is_alert else "no_tls", error=reason)
    except OSError as error:
        return Served("no_tls", error=error.strerror or str(error))


def _fetch_leaf(connection: socket.socket, server_name: str | None) -> bytes:
    """Shake hands over a socket that stays ours: SSLSocket leaves one open where the peer resets it early."""
    received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _trust_nothing().wrap_bio(received, to_send, server_hostname=server_name)
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            connection.sendall(to_send.read())
            data = connection.recv(65536)
            if data:
                received.write(data)
            else:
                received.write_eof()
        else:
            connection.sendall(to_send.read())
            return tls.getpeercert(binary_form=True) or b""


def _trust_nothing() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLError):
        context.set_ciphers("ALL:@SECLEVEL=0")  # the system's policy must not hide a weak certificate
    return context


def _proxy_header(connection: socket.socket) -> bytes:
    """Write the PROXY protocol's version 1 line for a connection as it is."""
    family = "TCP6" if connection.family == socket.AF_INET6 else "TCP4"
    source: tuple[t.Any, ...] = connection.getsockname()
    target: tuple[t.Any, ...] = connection.getpeername()
    return f"PROXY {family} {source[0]} {target[0]} {source[1]} {target[1]}\r\n".encode("ascii")
