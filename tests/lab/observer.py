# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whoever uses Pomerium while it is given a certificate: a client of each host that shakes hands without a pause."""

from __future__ import annotations

import threading
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.zerotrust.pomerium.tests.lab.handshake import look

if t.TYPE_CHECKING:
    from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_seen import SeenPomerium


@dataclass
class Seen:
    """What one client saw: how many handshakes went well, what the others said, and each leaf by its serial number
    with the time (seconds of the epoch) at which it was first there, in the order in which they came."""

    handshakes: int = 0
    failures: list[str] = field(default_factory=list)
    leaves: list[tuple[float, int]] = field(default_factory=list)


class Observers:
    """One client for each host; use it as a context manager. `seen` has what each saw, by the host's name."""

    def __init__(self, hosts: t.Iterable[SeenPomerium], *, server_name: str = "app.corp.example.com") -> None:
        self._server_name = server_name
        self._is_over = threading.Event()
        self.seen = {host.name: Seen() for host in hosts}
        self._threads = [threading.Thread(target=self._watch, args=(host,), daemon=True) for host in hosts]

    def __enter__(self) -> Observers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, host: SeenPomerium) -> None:
        seen = self.seen[host.name]
        while not self._is_over.is_set():
            try:
                leaf = look(host.port, self._server_name, address=host.address).leaf.serial_number
            except OSError as error:
                seen.failures.append(str(error))
                continue
            seen.handshakes += 1
            if not seen.leaves or seen.leaves[-1][1] != leaf:
                seen.leaves.append((time.time(), leaf))
