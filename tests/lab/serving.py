# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the lab's own servers begin and end: on a thread of this process, over TLS where they have a context for it."""

from __future__ import annotations

import json
import socketserver
import ssl
import threading
import typing as t
from http.server import BaseHTTPRequestHandler


def begin(server: socketserver.BaseServer, name: str, *, tls: ssl.SSLContext | None = None) -> None:
    """Have a server that is bound already answer from now on."""
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), name=name, daemon=True).start()


def end(server: socketserver.BaseServer) -> None:
    """Have it answer no more, and give its place back."""
    server.shutdown()
    server.server_close()


def send_json(handler: BaseHTTPRequestHandler, status: int, document: t.Any) -> None:
    """Answer a request with JSON."""
    body = json.dumps(document).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
