# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One host of the fleet, on loopback: a directory with etc/pomerium, a port, and a Pomerium process.

The process is the real Pomerium where POMERIUM_BIN or PATH has one, else the stand-in; `is_real` and the lab's output
say which. Several hosts share the machine: each has its own paths, which its inventory entry names.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import secrets
import shutil
import signal
import sys
import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.handshake import look
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_seen import SeenPomerium
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.process import Child, StartFailed, plain_environment
from ansible_collections.zerotrust.pomerium.tests.lab.sshd import Sshd
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

STANDIN = "ansible_collections.zerotrust.pomerium.tests.lab.pomerium_standin"
COLLECTIONS = Path(__file__).resolve().parents[5]
"""The directory that holds ansible_collections/, where this file is in a tree copy."""

CONFIGURED = """\
# Pomerium on {name}: kept by hand, and quoted as people quote.
# To run on :443 set AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd override
address: {address}  # no root in the lab, so no :443
grpc_address: "127.0.0.1:{grpc_port}"
health_check_addr: '127.0.0.1:{health_port}'

# head -c32 /dev/urandom | base64
shared_secret: "{shared_secret}"
cookie_secret: {cookie_secret}
LOG_LEVEL: info

# certificate_file: /etc/pomerium/fullchain.pem
# certificate_key_file: /etc/pomerium/privkey.pem

routes:
  - from: https://app.corp.example.com
    to: http://127.0.0.1:8080
    allow_public_unauthenticated_access: true
  - from: 'https://grafana.corp.example.com'   # the team's own
    to: "http://127.0.0.1:3000"
    set_request_headers: {{"X-Note": "it's: #1"}}
    policy:
      - allow: {{or: [{{domain: {{is: example.com}}}}]}}
"""
PACKAGED = """\
# To run on :443 set AmbientCapabilities=CAP_NET_BIND_SERVICE
# in a systemd override
address: {address}
grpc_address: 127.0.0.1:{grpc_port}
health_check_addr: 127.0.0.1:{health_port}

authenticate_service_url: https://authenticate.corp.example.com
certificates:
  - cert: {etc}/cert.pem
    key: {etc}/key.pem
shared_secret: {shared_secret}
cookie_secret: {cookie_secret}

policy:
  - from: https://app.corp.example.com
    to: http://127.0.0.1:8080
    allowed_users:
      - user@example.com
"""


class PomeriumHost(SeenPomerium):
    """A host; use it as a context manager, which starts its Pomerium where its configuration lets it start."""

    def __init__(
        self,
        directory: Path,
        name: str,
        *,
        config: t.Literal["configured", "packaged"] = "configured",
        environment: t.Mapping[str, str] | None = None,
        door: Sshd | None = None,
    ) -> None:
        """Lay the host out below `directory`. `environment` is what its unit would give to the process, `door` an SSH
        server to come in by.

        `configured` runs on Pomerium's own self-signed certificate; `packaged` names files that do not exist, as the
        package ships it, so that Pomerium does not start.
        """
        self.name, self.directory, self._door = name, directory, door
        self.etc = directory / "etc/pomerium"
        self.etc.mkdir(parents=True, exist_ok=True)
        self.config_path = self.etc / "config.yaml"
        self.tls_directory = directory / "etc/pomerium-tls"
        self.port, self._grpc_port, self._health_port = (LEASES.lease() for _each in range(3))
        self.shared_secret, self.cookie_secret = (new_secret() for _each in range(2))
        self._write_config(PACKAGED if config == "packaged" else CONFIGURED)
        self.original_config_text = self.config_text
        real = find_pomerium()
        self.is_real = real is not None
        command = [str(real)] if real else [sys.executable, "-m", STANDIN]
        self._child = Child(
            f"Pomerium on {name}",
            [*command, "-config", self.config_path],
            log_path=directory / "pomerium.log",
            environment=plain_environment(**self._private_directories(), **(environment or {})),
            directory=directory,
        )

    @property
    def config_text(self) -> str:
        return self.config_path.read_text()

    @property
    def log(self) -> str:
        return self._child.log

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child.is_running

    def __enter__(self) -> PomeriumHost:
        self.attempt()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Start Pomerium and wait until it accepts connections; raises StartFailed with its log where it does not."""
        self._child.start()
        self._child.wait_until(lambda: look(self.port, None), what="a TLS handshake", within=30)

    def attempt(self) -> bool:
        """Start Pomerium; whether it came up. One that ends by itself is a host whose Pomerium is down."""
        try:
            self.start()
        except StartFailed:
            if self._child.exit_code is None:
                raise
        return self.is_running

    def stop(self) -> None:
        self._child.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        """SIGHUP."""
        self._child.signal(signal.SIGHUP)

    def close(self) -> None:
        """Stop it and give its ports back."""
        self.stop()
        for port in (self.port, self._grpc_port, self._health_port):
            LEASES.release(port)

    def health(self, path: str = "/healthz") -> tuple[int, dict[str, t.Any]]:
        """What Pomerium says of its own health: the status of the answer, and the record of each check."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._health_port, timeout=10)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def wait_log(self, text: str, *, since: int = 0, within: float = 5) -> None:
        """Wait until the log, from character `since` on, contains `text`."""
        until(lambda: text in self.log[since:], what=f"{text!r} in the log of {self.name}", within=within)

    def inventory(self) -> dict[str, t.Any]:
        """The host's variables: where it is, and where its Pomerium has its files."""
        local = {"ansible_connection": "local", "ansible_remote_tmp": str(self.directory / "tmp")}
        return {
            **(local if self._door is None else self._door.variables()),
            "ansible_python_interpreter": sys.executable,
            "pomerium_config_path": str(self.config_path),
            "pomerium_directory": str(self.tls_directory),
        }

    def _write_config(self, template: str) -> None:
        self.config_path.touch(mode=0o640)
        self.config_path.write_text(
            template.format(
                name=self.name,
                etc=self.etc,
                address=f"127.0.0.1:{self.port}",
                grpc_port=self._grpc_port,
                health_port=self._health_port,
                shared_secret=self.shared_secret,
                cookie_secret=self.cookie_secret,
            )
        )

    def _private_directories(self) -> dict[str, str]:
        """A real Pomerium unpacks Envoy into TMPDIR and removes what others unpacked there."""
        places = {"TMPDIR": "run/tmp", "XDG_CACHE_HOME": "run/cache", "XDG_DATA_HOME": "run/data"}
        for place in places.values():
            (self.directory / place).mkdir(parents=True, exist_ok=True)
        own = {variable: str(self.directory / place) for variable, place in places.items()}
        return {**own, "HOME": str(self.directory), "PYTHONPATH": str(COLLECTIONS)}


def find_pomerium() -> Path | None:
    """The real Pomerium, where POMERIUM_BIN or PATH has one."""
    named = os.environ.get("POMERIUM_BIN") or shutil.which("pomerium")
    return Path(named) if named else None


def new_secret() -> str:
    """A secret as Pomerium wants them: 32 octets in base64."""
    return base64.b64encode(secrets.token_bytes(32)).decode()
