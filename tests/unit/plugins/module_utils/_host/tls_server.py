# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TLS server that treats its files as Pomerium does, in little: the host's units run it under Python 3.8.

`python tls_server.py -config FILE [--picks-up poll|signal|start] [--named pomerium]`. FILE has lines `key: value`.
A pair that does not load leaves the old one in place; at the start it is fatal.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
import ssl
import sys


def read_settings(path: str) -> dict[str, str]:
    with open(path, encoding="utf-8") as file:
        return dict(line.strip().split(": ", 1) for line in file if ": " in line)


def load(settings: dict[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings["certificate_file"], settings["certificate_key_file"])
    if settings.get("client_ca"):
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(settings["client_ca"])
    if settings.get("maximum") == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def serve(connection: socket.socket, context: ssl.SSLContext, *, wants_proxy: bool) -> None:
    connection.settimeout(5)
    if wants_proxy:
        header = connection.recv(6)
        if header != b"PROXY ":
            return
        while not header.endswith(b"\r\n"):
            header += connection.recv(1)
    with context.wrap_socket(connection, server_side=True) as tls:
        tls.recv(1)


def main() -> None:
    config_path = sys.argv[sys.argv.index("-config") + 1]
    picks_up = sys.argv[sys.argv.index("--picks-up") + 1] if "--picks-up" in sys.argv else "poll"
    if "--named" in sys.argv:
        ctypes.CDLL(None).prctl(15, sys.argv[sys.argv.index("--named") + 1].encode(), 0, 0, 0)
    settings = read_settings(config_path)
    context = load(settings)
    hung_up: list[int] = []
    if picks_up != "start":
        signal.signal(signal.SIGHUP, lambda number, _frame: hung_up.append(number))
    listener = socket.create_server(("127.0.0.1", int(settings["port"])))
    while True:
        connection, _peer = listener.accept()
        if picks_up == "poll" or hung_up:
            hung_up.clear()
            with contextlib.suppress(OSError, KeyError, ValueError):
                settings = read_settings(config_path)
                context = load(settings)
        with connection, contextlib.suppress(OSError):
            serve(connection, context, wants_proxy=bool(settings.get("use_proxy_protocol")))


if __name__ == "__main__":
    main()
