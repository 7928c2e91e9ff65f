# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Pomerium as it is seen from outside: what it serves to whom."""

from __future__ import annotations

from ansible_collections.zerotrust.pomerium.tests.lab.handshake import Served, Visit, look, visit
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until


class SeenPomerium:
    """What listens at `address`:`port`."""

    name: str
    address = "127.0.0.1"
    port: int
    shared_secret: str
    cookie_secret: str

    def served(self, server_name: str | None = "app.corp.example.com") -> Served:
        """What a handshake with this host's Pomerium shows, unverified."""
        return look(self.port, server_name, address=self.address)

    def visit(self, server_name: str, *, root_pem: bytes) -> Visit:
        """Get https://`server_name`/ from this host as a browser would that trusts `root_pem` alone."""
        return visit(self.port, server_name, root_pem=root_pem, address=self.address)

    def wait_served(
        self, serial_number: int, *, server_name: str = "app.corp.example.com", within: float = 5
    ) -> Served:
        """Wait until the leaf with this serial number is served."""

        def has_it() -> Served | None:
            served = self.served(server_name)
            return served if served.leaf.serial_number == serial_number else None

        served: Served = until(has_it, what=f"{self.name} to serve {serial_number:x}", within=within)
        return served

    def secrets(self) -> dict[str, str]:
        """What must never be seen outside of this host, by what it is."""
        return {
            f"shared_secret of {self.name}": self.shared_secret,
            f"cookie_secret of {self.name}": self.cookie_secret,
        }
