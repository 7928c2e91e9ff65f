# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pairs, servers and hosts for the units of `_host`, on the standard library and the `openssl` command alone."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SERVER = Path(__file__).with_name("tls_server.py")


@dataclass(frozen=True)
class Pair:
    """A self-signed certificate with its key, PEM."""

    fullchain: bytes
    key: bytes

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.fullchain.decode())

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.der).hexdigest()


@pytest.fixture(scope="session")
def make_pair(tmp_path_factory: pytest.TempPathFactory) -> t.Callable[[str], Pair]:
    """Make pairs by name, each name once."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl on this machine")
    made: dict[str, Pair] = {}

    def make(name: str) -> Pair:
        if name not in made:
            place = tmp_path_factory.mktemp("pair")
            command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
            kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            files = ["-keyout", str(place / "key"), "-out", str(place / "certificate")]
            subprocess.run([*command, *kind, *files], check=True, stderr=subprocess.DEVNULL)
            made[name] = Pair((place / "certificate").read_bytes(), (place / "key").read_bytes())
        return made[name]

    return make


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: t.Callable[[], t.Any], *, within: float = 10.0) -> t.Any:
    """Return the first true value; fails when the time is over."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            value = condition()
            if value:
                return value
        time.sleep(0.02)
    raise AssertionError("not in time")


@dataclass
class Host:
    """A host's directories, its configuration, and what the module would be told about it."""

    root: Path
    port: int
    processes: list[t.Any] = field(default_factory=list)

    @property
    def config_path(self) -> Path:
        return self.root / "etc" / "config.yaml"

    @property
    def directory(self) -> Path:
        return self.root / "tls"

    @property
    def home(self) -> Path:
        return self.directory / "pomerium"

    def configure(self, **settings: object) -> None:
        self.config_path.parent.mkdir(exist_ok=True)
        lines = [f"port: {self.port}", *(f"{key}: {value}" for key, value in settings.items())]
        self.config_path.write_text("".join(f"{line}\n" for line in lines))

    def configured_for_current(self, **settings: object) -> bytes:
        """What the configuration says when it points at `current`."""
        current = self.home / "current"
        lines = [
            f"port: {self.port}",
            f"certificate_file: {current / 'fullchain.pem'}",
            f"certificate_key_file: {current / 'privkey.pem'}",
            *(f"{key}: {value}" for key, value in settings.items()),
        ]
        return "".join(f"{line}\n" for line in lines).encode()

    def start(self, *arguments: str) -> t.Any:
        """Start the server, named pomerium; it is ready when this returns."""
        command = [sys.executable, str(SERVER), "-config", str(self.config_path), "--named", "pomerium", *arguments]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={"PATH": os.defpath, "ADDRESS": "x:1"})
        self.processes.append(process)
        until(lambda: socket.create_connection(("127.0.0.1", self.port), timeout=1).close() is None)
        return process

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def params(self, **changes: t.Any) -> dict[str, t.Any]:
        """What AnsibleModule would hand over, every option of the module present."""
        probe = {"enabled": True, "address": "127.0.0.1", "port": self.port, "server_name": "app.example.com"}
        return {
            "name": "pomerium",
            "directory": str(self.directory),
            "config_path": str(self.config_path),
            "service": "pomerium",
            "probe": {**probe, "timeout": 2.0, **changes.pop("probe", {})},
            "proxy_protocol": None,
            "owner": None,
            "group": None,
            "leaf_sha256": None,
            "paths": None,
            "version": None,
            "files": None,
            "config_sha256": None,
            "config_text": None,
            "record": None,
            "reload": "auto",
            "keep_versions": 3,
            "versions": False,
            "kept": False,
            "state": None,
            "order_uri": None,
            "hold": None,
            "lift": False,
            **changes,
        }

    def install(self, pair: Pair, version: str, **changes: t.Any) -> dict[str, t.Any]:
        """The parameters of an install of this pair over the configuration as it is now."""
        files = {"fullchain.pem": (pair.fullchain, "0644"), "privkey.pem": (pair.key, "0640")}
        config = changes.pop("config", None)
        return self.params(
            step="apply",
            version=version,
            leaf_sha256=pair.sha256,
            files=[
                {"name": name, "content": base64.b64encode(data).decode(), "mode": mode}
                for name, (data, mode) in files.items()
            ],
            config_sha256=hashlib.sha256(self.config_path.read_bytes()).hexdigest(),
            config_text=None if config is None else base64.b64encode(config).decode(),
            record={"keys": {}},
            **changes,
        )

    def snapshot(self) -> dict[str, tuple[t.Any, ...]]:
        """Every file below the host with its content, mode and target, save the lock and the directories' times."""
        found: dict[str, tuple[t.Any, ...]] = {}
        for path in sorted(self.root.rglob("*")):
            if path.name == ".lock":
                continue
            mode = path.lstat().st_mode
            content: t.Any = None
            if path.is_symlink():
                content = os.readlink(str(path))
            elif path.is_file():
                content = path.read_bytes()
            found[str(path.relative_to(self.root))] = (oct(mode), content)
        return found

    def record(self) -> dict[str, t.Any]:
        return t.cast("t.Dict[str, t.Any]", json.loads((self.home / "proven.json").read_bytes()))


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[Host]:
    made = Host(tmp_path, free_port())
    made.configure()
    yield made
    made.stop()
