# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real DNS servers for these tests: the lab's scriptable one as resolver, and as name servers on port 53."""

from __future__ import annotations

import contextlib
import random
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:
    from ansible_collections.zerotrust.pomerium.tests.lab.dns_server import DnsServer

# The collection is imported in functions: pytest loads this file before pytest-ansible's own importer is in place, and
# packages that the usual importer has begun cannot be continued by that one.


class Dns:
    """The zone example.com: a master file, a resolver that knows it, and the name servers `ns1`, `ns2` where started.

    Each has a loopback network of its own, `127.A.B.x` by chance, since authoritative servers are always on port 53.
    """

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.network = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}"
        self.file = folder / "example.com.zone"
        self.file.write_text(
            "$TTL 60\n@ IN SOA ns1 hostmaster 1 60 60 60 60\n@ IN NS ns1\n@ IN NS ns2\n"
            f"ns1 IN A {self.network}.1\nns2 IN A {self.network}.2\n"
        )
        self._stack = stack
        self.server = self.start("127.0.0.1", port=0)
        self.resolve_by(self.server)

    def start(self, address: str, *, port: int = 53) -> DnsServer:
        """Serve the zone at one more address; skips the test where that takes root."""
        return self._serve("example.com", self.file, address=address, port=port)

    def _serve(self, zone: str, file: Path, *, address: str, port: int) -> DnsServer:
        from ansible_collections.zerotrust.pomerium.tests.lab.dns_server import DnsServer

        server = DnsServer({zone: file}, address=address, port=port)
        self._stack.callback(server.close)
        try:
            server.start()
        except PermissionError as error:
            pytest.skip(f"a name server on port {port} needs root: {error}")
        return server

    def start_name_servers(self) -> tuple[DnsServer, DnsServer]:
        """Serve the zone at ns1 and ns2."""
        return self.start(f"{self.network}.1"), self.start(f"{self.network}.2")

    def serve_root(self) -> None:
        """Let the resolver know the root zone, so that it denies names instead of refusing them."""
        root = self.file.with_name("root.zone")
        root.write_text("$TTL 60\n. IN SOA a.root. hostmaster. 1 60 60 60 60\n. IN NS a.root.\n")
        self.resolve_by(self._serve(".", root, address="127.0.0.1", port=0))

    def resolve_by(self, *servers: DnsServer) -> None:
        """Take these servers for the resolvers."""
        from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.lookup import Resolvers

        self.resolvers = Resolvers([server.resolver for server in servers])

    def add(self, *lines: str) -> None:
        """Append lines to the zone's file; all servers see them at once."""
        with self.file.open("a") as file:
            file.writelines(line + "\n" for line in lines)


@pytest.fixture
def dns_lab(tmp_path: Path) -> t.Iterator[Dns]:
    with contextlib.ExitStack() as stack:
        yield Dns(tmp_path, stack)
