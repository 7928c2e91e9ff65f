# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""BIND 9, the real name server: zones that are changed by signed updates (RFC 2136), and secondaries that follow them.

Any user can run it, on loopback, at a port of its own. Authoritative servers are asked at port 53, which takes root.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import typing as t
from pathlib import Path

import dns.exception
import dns.query
import dns.rcode
import dns.rdatatype
import dns.xfr
import dns.zone
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.process import Child, plain_environment

KEY_NAME = "lab-key"
POLICY = f"grant {KEY_NAME} zonesub TXT;"
"""What updates are allowed, as BIND's update-policy has it: TXT records anywhere in the zone."""

_CONFIG = """\
options {{
  directory "{directory}";
  pid-file none;
  session-keyfile none;
  listen-on port {port} {{ {address}; }};
  listen-on-v6 {{ none; }};
  recursion {recursion};
  forward only;
  forwarders {{ {upstream}; }};
  dnssec-validation no;
  empty-zones-enable no;
  notify explicit;
  notify-delay 0;
  allow-transfer {{ 127.0.0.0/8; }};
}};
controls {{ }};
key {key_name} {{ algorithm {algorithm}; secret "{secret}"; }};
"""
_PRIMARY = """\
zone "{zone}" {{ type primary; file "{zone}.zone"; update-policy {{ {policy} }}; also-notify {{ {secondaries} }}; }};
"""
_SECONDARY = """\
zone "{zone}" {{ type secondary; file "{zone}.zone"; primaries {{ {primary}; }}; masterfile-format text; }};
"""


class Bind:
    """A running named; use it as a context manager."""

    def __init__(
        self,
        directory: Path,
        zones: t.Mapping[str, str] | None = None,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        policy: str = POLICY,
        algorithm: str = "hmac-sha256",
        primary: Bind | None = None,
        is_resolver: bool = False,
        upstream: str = "127.0.0.1 port 1",
    ) -> None:
        """Serve `zones` (origin to the text of its master file), or those of the `primary`, whose secondary it is.

        With `is_resolver` it follows CNAMEs from one of its zones to another; what it does not know it asks `upstream`
        for (nobody, unless given), and keeps the answer as long as that says.
        A secondary is made before its primary is started, which then notifies it. Port 0 is a free one; below 1024 it
        takes root.
        """
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.address, self.port = address, port or LEASES.lease(address)
        self.key_algorithm = algorithm
        self.key_secret = base64.b64encode(os.urandom(32)).decode()
        self._zones = dict(zones or {})
        self._policy, self._primary = policy, primary
        self._is_resolver, self._upstream = is_resolver, upstream
        self._secondaries: list[Bind] = []
        if primary is not None:
            self._zones = primary._zones
            primary._secondaries.append(self)
        config = directory / "named.conf"
        self._child = Child(
            "BIND",
            [find_named(), "-4", "-n", "1", "-g", "-c", config],
            log_path=directory / "named.log",
            environment=plain_environment(),
        )

    @property
    def resolver(self) -> str:
        """`address:port`, as Pebble and the option `resolvers` want it."""
        return f"{self.address}:{self.port}"

    @property
    def log(self) -> str:
        return self._child.log

    def publisher(self, **changed: t.Any) -> dict[str, t.Any]:
        """The option `publisher` that changes its zones, with some sub-options other than right."""
        right = {"type": "rfc2136", "server": self.address, "port": self.port, "key_name": KEY_NAME}
        return {**right, "key_secret": self.key_secret, "key_algorithm": self.key_algorithm, **changed}

    def __enter__(self) -> Bind:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Start it, with the zones as they were at the beginning where it is new, and wait until it has them all."""
        self._write_config()
        self._child.start()
        self._child.wait_until(self._has_its_zones, what="all zones to be there")

    def stop(self) -> None:
        """Stop it, and keep its port and its zones: a name server that is down."""
        self._child.stop()

    def close(self) -> None:
        """Stop it and give its port back."""
        self.stop()
        LEASES.release(self.port)

    def txt(self, zone: str) -> dict[str, set[str]]:
        """All TXT values that a zone holds now, by name without final dot; in a transfer, so past all caches."""
        found: dict[str, set[str]] = {}
        for name, _ttl, rdata in self._transfer(zone).iterate_rdatas(dns.rdatatype.TXT):
            absolute = name.derelativize(dns.name.from_text(zone)).to_text(omit_final_dot=True)
            found.setdefault(absolute, set()).add(b"".join(rdata.strings).decode())  # type: ignore[attr-defined]
        return found

    def _transfer(self, zone: str) -> dns.zone.Zone:
        transferred = dns.zone.Zone(zone)
        dns.query.inbound_xfr(self.address, transferred, port=self.port, timeout=5, lifetime=5)
        return transferred

    def _has_its_zones(self) -> bool:
        with contextlib.suppress(OSError, EOFError, dns.exception.DNSException, dns.xfr.TransferError):
            socket.create_connection((self.address, self.port), timeout=5).close()
            return all(self._transfer(zone).get_soa() is not None for zone in self._zones)
        return False

    def _write_config(self) -> None:
        config = _CONFIG.format(
            directory=self.directory,
            recursion="yes" if self._is_resolver else "no",
            upstream=self._upstream,
            port=self.port,
            address=self.address,
            key_name=KEY_NAME,
            algorithm=self.key_algorithm,
            secret=self.key_secret,
        )
        for zone, text in self._zones.items():
            file = self.directory / f"{zone}.zone"
            if self._primary is not None:
                config += _SECONDARY.format(zone=zone, primary=self._primary._place)
                continue
            if not file.exists():
                file.write_text(text)
            secondaries = " ".join(f"{one._place};" for one in self._secondaries)
            config += _PRIMARY.format(zone=zone, policy=self._policy, secondaries=secondaries)
        (self.directory / "named.conf").write_text(config)

    @property
    def _place(self) -> str:
        return f"{self.address} port {self.port}"


def find_named() -> Path:
    """The named to run. Raises RuntimeError where there is none."""
    found = shutil.which("named", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    if found is None:
        raise RuntimeError("named was not found: install BIND 9 (Debian's package is bind9).")
    return Path(found)


def why_missing() -> str | None:
    """Why tests that need BIND have to be skipped; None where they need not."""
    try:
        find_named()
    except RuntimeError as error:
        return str(error)
    return None
