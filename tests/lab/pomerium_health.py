# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the stand-in says of itself to those who ask: health endpoints, metrics, systemd. Much of it lies.

As Pomerium 0.33: what only the watcher of files noticed is no error of health, an error of a configuration that was
rebuilt stays until the next rebuild, and the metric of the last reload is right for nobody.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHECKS = ("config.databroker.build", "xds.cluster", "xds.listener")
"""Those of Pomerium's checks that certificates can move; it has more of them."""

LONGEST_STATUS = 80


class Health:
    """The records, one of each check; an error is told to systemd at once, its end never is."""

    def __init__(self, *, has_systemd: bool) -> None:
        self._records: dict[str, str | None] = dict.fromkeys(CHECKS, "not reported yet")
        self._has_systemd = has_systemd
        self.is_ready = False

    @property
    def is_good(self) -> bool:
        return not any(self._records.values())

    @property
    def records(self) -> dict[str, dict[str, str]]:
        """What `/status` shows."""
        seen = self._records.items()
        return {check: {"status": "RUNNING", **({"error": error} if error else {})} for check, error in seen}

    def report(self, check: str, error: object = None) -> None:
        """Take down how it went, None for well. systemd is told once when all is, and then never that it is not."""
        self._records[check] = None if error is None else str(error)
        if error is not None:
            status = f"STATUS=Error in {check}: {error}".replace("\n", " ")
            self._tell(status if len(status) <= LONGEST_STATUS else f"{status[:LONGEST_STATUS]}...")
        elif self.is_good and not self.is_ready:
            self.is_ready = True
            self._tell("READY=1")

    def stop(self) -> None:
        self._tell("STOPPING=1")

    def watch_over(self) -> None:
        """Send heartbeats at half the interval that systemd asks for, whatever the records say."""
        interval = float(os.environ.get("WATCHDOG_USEC") or 0) / 1e6
        if interval:
            threading.Thread(target=self._beat, args=(interval / 2,), daemon=True).start()

    def _beat(self, every: float) -> None:
        while True:
            time.sleep(every)
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if self._has_systemd:
            notify(state)


def notify(state: str) -> None:
    """Tell systemd, where it asks to be told (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


class Reloads:
    """The metrics about reloads. A success is counted for `all`, a failure for nobody, so that each stays for ever;
    the checksum is that of the options, which name files: what stands in these does not move it."""

    def __init__(self) -> None:
        self.has_failed = False
        self.checksum = 0

    @property
    def text(self) -> str:
        name = "pomerium_config_last_reload_success"
        failed = f'{name}{{service=""}} 0\n' if self.has_failed else ""
        checksum = f'pomerium_config_checksum_decimal{{service="all"}} {self.checksum}\n'
        return f'# TYPE {name} gauge\n{failed}{name}{{service="all"}} 1\n{checksum}'


Answer = t.Callable[[], t.Tuple[int, str]]


def answer_health(health: Health) -> dict[str, Answer]:
    """The pages of the health endpoint."""

    def records() -> str:
        return json.dumps(health.records, indent=2)

    def probe() -> tuple[int, str]:
        return (200 if health.is_good else 503), records()

    return {
        "/healthz": probe,
        "/readyz": probe,
        "/startupz": lambda: (200 if health.is_ready else 503, records()),
        "/status": lambda: (200, records()),
    }


def serve(address: tuple[str, int], pages: t.Mapping[str, Answer]) -> None:
    """Answer these pages on a thread until the process ends; raises OSError where the address cannot be had."""

    class Page(BaseHTTPRequestHandler):
        server_version, sys_version = "pomerium-standin", ""

        def do_GET(self) -> None:
            status, text = pages.get(self.path, lambda: (404, "404 page not found\n"))()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: t.Any) -> None:
            """No access log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def server_bind(self) -> None:
            """Without the look-up of the host's own name, which asks DNS."""
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_name, self.server_port = address

    threading.Thread(target=Server(address, Page).serve_forever, daemon=True).start()
