# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run pomerium_certificate on lab hosts, as users do or without Ansible: what its tests share."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import socket
import threading
import typing as t
from datetime import datetime, timezone
from pathlib import Path

import yaml
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._bundle import Sources, make_bundle
from ansible_collections.zerotrust.pomerium.tests.integration.kill_points import Installer
from ansible_collections.zerotrust.pomerium.tests.integration.warm_actions import act
from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import WarmModules
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import Ansible, PlaybookRun
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import COLLECTIONS, PomeriumHost
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.plugin_utils.host_in_process import Site as InProcess

RESULT = re.compile(r"result of (\S+): ([A-Za-z0-9+/=]+)")
NAMES = ("*.corp.example.com", "corp.example.com")


class Site:
    """Hosts, and certificates in files on the controller.

    `run` and `install` are plays. `act` runs the action plugin alone, on the first host, where that is on loopback: for
    what is about Pomerium and not about Ansible.
    """

    def __init__(self, directory: Path, *hosts: PomeriumHost | Machine, modules: WarmModules | None = None) -> None:
        self.directory, self.hosts, self._modules = directory, hosts, modules
        self.authority = Authority("Lab CA")
        self.sources = directory / "sources"
        self.sources.mkdir()
        self._results: dict[str, dict[str, t.Any]] = {}
        self.inventory_path, vars_path = directory / "inventory.yml", directory / "vars.yml"
        inventory = {"pomerium": {"hosts": {host.name: host.inventory() for host in hosts}}}
        self.inventory_path.write_text(yaml.safe_dump(inventory))
        vars_path.write_text("{}\n")
        self.ansible = Ansible(
            directory, collections=COLLECTIONS, inventory_path=self.inventory_path, vars_path=vars_path
        )

    @property
    def host(self) -> t.Any:
        """The first one, a PomeriumHost or a Machine: both are seen by the same names."""
        return self.hosts[0]

    @property
    def current(self) -> Path:
        return self.host.tls_directory / "pomerium" / "current"

    def issue(self, *names: str, **how: t.Any) -> Issued:
        """Issue a certificate and lay it where the task takes it from."""
        issued = self.authority.issue(*(names or NAMES), **how)
        self.lay(issued)
        return issued

    def lay(self, issued: Issued) -> None:
        issued.write(self.sources / "fullchain.pem", self.sources / "privkey.pem")

    def serve(self, *names: str, **how: t.Any) -> Issued:
        """Issue one and have the host serve it, without a play: how a test begins that is about something later."""
        issued = self.issue(*names, **how)
        if isinstance(self.host, Machine):
            Installer(self.host).install(issued)
        else:
            serve(self.host, self.sources)
        return issued

    def run(self, *arguments: str, module: str = "pomerium_certificate", rc: int = 0, **options: t.Any) -> PlaybookRun:
        """Run the module in a play on the hosts; `result` has what it gives for each of them."""
        own = {"config_path": "{{ pomerium_config_path }}", "directory": "{{ pomerium_directory }}"}
        given = {**self._options(module), **own, **options}
        task = {"name": "Install", f"zerotrust.pomerium.{module}": given, "register": "result"}
        show = {
            "name": "Show the result",
            "ansible.builtin.debug": {
                "msg": "result of {{ inventory_hostname }}: {{ result | to_json | b64encode }}",
            },
        }
        task["ignore_errors"] = True
        play = {"name": "Play", "hosts": "pomerium", "gather_facts": False, "tasks": [task, show]}
        playbook = self.directory / "play.yml"
        playbook.write_text(yaml.safe_dump([play], sort_keys=False))
        run = self.ansible.run(playbook, *arguments)
        self._results = {host: json.loads(base64.b64decode(text)) for host, text in RESULT.findall(run.stdout)}
        assert run.rc == rc, run.output
        return run

    def act(
        self, module: str = "pomerium_certificate", *, check: bool = False, diff: bool = False, **options: t.Any
    ) -> dict[str, t.Any]:
        """Run the action plugin, and give its result."""
        assert self._modules is not None
        own = {"config_path": str(self.host.config_path), "directory": str(self.host.tls_directory)}
        return act(self._modules, module, {**self._options(module), **own, **options}, check=check, diff=diff)

    def _options(self, module: str) -> dict[str, t.Any]:
        if module != "pomerium_certificate":
            return {}
        return {**{kind: str(self.sources / file) for kind, file in SOURCES.items()}, "probe": {"timeout": 2}}

    def install(self, *arguments: str, **options: t.Any) -> dict[str, t.Any]:
        """Run it and give the result of the first host."""
        self.run(*arguments, **options)
        return self.result()

    def result(self, host: str | None = None) -> dict[str, t.Any]:
        """What the last run gave for a host."""
        return self._results[host or self.host.name]

    def snapshot(self) -> dict[str, t.Any]:
        """The configuration's directory and the installed files, byte for byte; the lock is no file of the bundle."""
        found: dict[str, t.Any] = {}
        for path in [*self.host.etc.rglob("*"), *self.host.tls_directory.rglob("*")]:
            if path.name != ".lock":
                content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
                found[str(path)] = (path.lstat().st_mode, content)
        return found


SOURCES = {"fullchain_src": "fullchain.pem", "private_key_src": "privkey.pem"}


PARTS = {
    "fullchain": "fullchain.pem",
    "private_key": "privkey.pem",
    "authority": "ca.pem",
    "meta": "meta.json",
    "signature": "meta.sig",
}
"""What may lie in a directory, as the store has it."""


@contextlib.contextmanager
def sites(directory: Path, modules: WarmModules) -> t.Iterator[t.Callable[..., Site]]:
    """Give a function that makes hosts and what is run on them; the hosts are stopped at the end."""
    made: list[PomeriumHost] = []

    def make(*names: str, config: t.Any = "configured", **environment: str) -> Site:
        for name in names or ("pom1",):
            host = PomeriumHost(directory / "hosts" / name, name, config=config, environment=environment)
            made.append(host)
            host.attempt()
        return Site(directory, *made, modules=modules)

    try:
        yield make
    finally:
        for host in made:
            host.close()


def serve(host: PomeriumHost, place: Path, **options: t.Any) -> None:
    """Have a host serve what lies in a directory, as Site.serve does."""
    found = {part: (place / name).read_bytes() for part, name in PARTS.items() if (place / name).is_file()}
    bundle = make_bundle(Sources(**found), expect_names=[], now=datetime.now(timezone.utc))
    assert InProcess(host).install(bundle, **options)["served"]["is_ours"] is True


def executions(run: PlaybookRun) -> int:
    """How many modules ran on the host, as -vvv tells."""
    return run.output.count("Using module file")


class Plain:
    """A server that is no TLS server."""

    def __enter__(self) -> int:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                connection, _peer = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 mail.example.com ready\r\n")

    def __exit__(self, *_exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
