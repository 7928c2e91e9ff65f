# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real DNS servers for these tests: the lab's scriptable one as resolver, and as name servers on port 53."""

from __future__ import annotations

import contextlib
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
        from ansible_collections.zerotrust.pomerium.tests.lab.ports import loopback_network

        self.network = loopback_network()
        self._folder = folder
        self._stack = stack
        self._zones: dict[str, Path] = {}
        self.file = self._write("example.com", servers=(1, 2))
        self._let_the_resolver_know_all()

    def _write(self, zone: str, *lines: str, servers: t.Sequence[int]) -> Path:
        file = self._folder / f"{zone}.zone"
        names = [line for n in servers for line in (f"@ IN NS ns{n}", f"ns{n} IN A {self.network}.{n}")]
        text = ["$TTL 60", "@ IN SOA ns1 hostmaster 1 60 60 60 60", *names, *lines]
        file.write_text("".join(f"{line}\n" for line in text))
        self._zones[zone] = file
        return file

    def _let_the_resolver_know_all(self) -> None:
        self.server = self.serve(*self._zones, address="127.0.0.1", port=0)
        self.resolve_by(self.server)

    def start(self, address: str, *, port: int = 53) -> DnsServer:
        """Serve example.com at one more address; skips the test where that takes root."""
        return self.serve("example.com", address=address, port=port)

    def serve(self, *zones: str, address: str, port: int = 53) -> DnsServer:
        """Serve these zones at one more address; skips the test where that takes root."""
        from ansible_collections.zerotrust.pomerium.tests.lab.dns_server import DnsServer

        server = DnsServer({zone: self._zones[zone] for zone in zones}, address=address, port=port)
        self._stack.callback(server.close)
        try:
            server.start()
        except PermissionError as error:
            pytest.skip(f"a name server on port {port} needs root: {error}")
        return server

    def start_name_servers(self) -> tuple[DnsServer, DnsServer]:
        """Serve example.com at ns1 and ns2."""
        return self.start(f"{self.network}.1"), self.start(f"{self.network}.2")

    def add_zone(self, zone: str, *lines: str, servers: t.Sequence[int] = (3,)) -> list[DnsServer]:
        """Start one more zone at name servers with these numbers; the resolver, which is another one then, knows it."""
        self._write(zone, *lines, servers=servers)
        self._let_the_resolver_know_all()
        return [self.serve(zone, address=f"{self.network}.{n}") for n in servers]

    def serve_root(self) -> None:
        """Let the resolver know the root zone, so that it denies names instead of refusing them."""
        self._zones["."] = self._folder / "root.zone"
        self._zones["."].write_text("$TTL 60\n. IN SOA a.root. hostmaster. 1 60 60 60 60\n. IN NS a.root.\n")
        self._let_the_resolver_know_all()

    def resolve_by(self, *servers: DnsServer) -> None:
        """Take these servers for the resolvers."""
        from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.lookup import Resolvers

        self.resolvers = Resolvers([server.resolver for server in servers])

    def add(self, *lines: str, zone: str = "example.com") -> None:
        """Append lines to a zone's file; all its servers see them at once."""
        with self._zones[zone].open("a") as file:
            file.writelines(line + "\n" for line in lines)

    def delegate(self, below: str) -> None:
        """Cut a zone off below example.com, whose name server has the number 3."""
        self.add(f"{below} IN NS ns3.{below}", f"ns3.{below} IN A {self.network}.3")

    def remove(self, line: str, zone: str = "example.com") -> None:
        """Take a line that was added out again."""
        file = self._zones[zone]
        file.write_text(file.read_text().replace(line + "\n", ""))


@pytest.fixture
def dns_lab(tmp_path: Path) -> t.Iterator[Dns]:
    with contextlib.ExitStack() as stack:
        yield Dns(tmp_path, stack)


@pytest.fixture
def dns_inside(tmp_path: Path) -> t.Iterator[Dns]:
    """Another view of the same zone, on servers of its own."""
    folder = tmp_path / "inside"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        yield Dns(folder, stack)
