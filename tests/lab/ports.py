# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lease ports that nobody else gets: not another lab of this user, not a client's ephemeral port.

A port is leased by a lock on one byte of a file shared by all labs of a user, so that the kernel ends the lease when
the process ends, however it ends. Leased ports lie below the ephemeral range, where no outgoing connection can take
one between its lease and its use.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
import threading
from pathlib import Path

LOWEST = 10240
RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortLeases:
    """The ports that this process holds; one object for each process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._held: set[int] = set()
        self._file: int | None = None

    def lease(self, address: str = "127.0.0.1") -> int:
        """Return a port that is free on `address` for TCP and UDP, held until `release` or the end of the process."""
        with self._guard:
            ports = list(range(LOWEST, _ephemeral_start()))
            random.shuffle(ports)
            for port in ports:
                if port not in self._held and self._lock(port):
                    if _is_free(address, port):
                        self._held.add(port)
                        return port
                    self._unlock(port)
        raise RuntimeError(f"no free port on {address} between {ports[0]} and {ports[-1]}")

    def release(self, port: int) -> None:
        """Give a leased port back; one that is not held is ignored."""
        with self._guard:
            if port in self._held:
                self._held.discard(port)
                self._unlock(port)

    def _lock(self, port: int) -> bool:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        return True

    def _unlock(self, port: int) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, port)


def _ephemeral_start() -> int:
    try:
        return max(int(RANGE_FILE.read_text().split()[0]), LOWEST + 1000)
    except (OSError, ValueError, IndexError):
        return 32768


def _is_free(address: str, port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:  # a port in TIME_WAIT is free to those who ask like this, as servers do
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def loopback_network() -> str:
    """The first three numbers of a network on loopback, by chance: for servers that have to be at one certain port."""
    return f"127.{random.randint(1, 254)}.{random.randint(1, 254)}"


LEASES = PortLeases(Path(tempfile.gettempdir()) / f"zerotrust-pomerium-lab-{os.getuid()}.ports")
