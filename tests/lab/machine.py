# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A whole host of the fleet: a machine with systemd, sshd, a network of its own, and Pomerium as the package runs it.

systemd-nspawn boots it, in less than a second, from an overlay of this machine's /, so nothing that it does stays. It
has users, a HOME and units of its own, and is reached over SSH only, by a pair of network interfaces that nobody else
has. It needs root and systemd-container, openssh-server, iproute2 and sudo; `what_is_missing` says what is not there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import (
    COLLECTIONS,
    CONFIGURED,
    PACKAGED,
    STANDIN,
    find_pomerium,
    new_secret,
)
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_seen import SeenPomerium
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.process import Child, descendants, plain_environment
from ansible_collections.zerotrust.pomerium.tests.lab.sshd import CONFIG, Keys, is_ssh
from ansible_collections.zerotrust.pomerium.tests.lab.sshd import what_is_missing as what_ssh_lacks
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PORT = 8443
PYTHON = f"bin/python{sys.version_info.major}.{sys.version_info.minor}"

UNIT = """\
[Unit]
Description=Pomerium
Documentation=https://www.pomerium.com
After=network.target

[Service]
Type=notify
WatchdogSec=30s
User=pomerium
Group=pomerium
Environment=AUTOCERT_DIR=/etc/pomerium/
ExecStart=/usr/sbin/pomerium -config /etc/pomerium/config.yaml

[Install]
WantedBy=multi-user.target
"""
"""As packaged since 0.31: no ExecReload, no Restart, no capabilities, no EnvironmentFile."""

PROGRAM = f"""\
#!/bin/sh
export PYTHONPATH=/opt/lab/collections:/opt/lab/packages LD_LIBRARY_PATH=/opt/lab/python/lib PYTHONDONTWRITEBYTECODE=1
exec /opt/lab/python/{PYTHON} -m {STANDIN} "$@"
"""

LAYER = {
    "etc/systemd/system/lab.target": "[Unit]\nRequires=basic.target lab-sshd.service\nAfter=basic.target\n",
    "etc/systemd/system/lab-sshd.service": (
        "[Service]\nRuntimeDirectory=sshd\nExecStart=/usr/sbin/sshd -D -e -f /etc/ssh/lab_config\n"
    ),
    "usr/lib/systemd/system/pomerium.service": UNIT,
    "etc/ssh/lab_config": f"{CONFIG}HostKey /etc/ssh/lab_host_key\nAuthorizedKeysFile /etc/ssh/lab_authorized_keys\n",
    "etc/sudoers.d/lab": "ops ALL=(ALL) NOPASSWD: ALL\n",
}
"""Files of every machine, beside its keys, its users and the program `pomerium`."""

HIDDEN = ("root", "home", "var/log", "etc/systemd/system", "etc/pomerium", "etc/pomerium-tls")
"""Directories in which nothing of this machine is seen."""

MODES = {"root": 0o700, "etc/sudoers.d/lab": 0o440, "etc/ssh/lab_host_key": 0o600, "etc/shadow": 0o640}
USERS = {"pomerium": (987, "/", "/sbin/nologin"), "ops": (986, "/home/ops", "/bin/bash")}


class Machine(SeenPomerium):
    """A machine; use it as a context manager. `config` is as for PomeriumHost, which here may be not started yet.

    `python` is a prefix of a Python that Ansible uses there, in place of the system's.
    """

    port = PORT
    config_path = Path("/etc/pomerium/config.yaml")

    def __init__(
        self,
        directory: Path,
        name: str,
        *,
        config: t.Literal["configured", "packaged"] = "configured",
        is_started: bool = True,
        python: Path | None = None,
    ) -> None:
        self.name, self.directory = name, directory
        directory.mkdir(parents=True, exist_ok=True)
        self._number = LEASES.lease()  # below 2^15: a network of four addresses for each, in 198.18.0.0/15
        self._id = f"zp{self._number}"
        self._gateway, self.address = (_address(self._number, last) for last in (1, 2))
        self._config, self._is_started, self._python = config, is_started, python
        self._keys = Keys(directory / "ssh")
        self.shared_secret, self.cookie_secret = new_secret(), new_secret()
        self.is_real = find_pomerium() is not None
        self._child: Child | None = None
        self._leader = 0

    def __enter__(self) -> Machine:
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def root(self) -> Path:
        """Its / as it sees it, tmpfs and all; an absolute link in there is resolved out here."""
        return Path(f"/proc/{self._leader}/root")

    @property
    def etc(self) -> Path:
        """Pomerium's own directory, seen from here."""
        return self.root / "etc/pomerium"

    @property
    def tls_directory(self) -> Path:
        """Where we install, seen from here."""
        return self.root / "etc/pomerium-tls"

    @property
    def config_text(self) -> str:
        return (self.etc / "config.yaml").read_text()

    @property
    def log(self) -> str:
        """What the unit has logged."""
        return self.run("journalctl", "--unit=pomerium", "--output=cat", "--no-pager", check=False)

    @property
    def pid(self) -> int:
        """Pomerium's process, as the machine numbers it; 0 where it is down."""
        return int(self.show("MainPID"))

    @property
    def state(self) -> str:
        """ActiveState of the unit."""
        return self.show("ActiveState")

    def show(self, what: str, unit: str = "pomerium") -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--property", what, "--value", unit).strip()

    def run(self, *command: str, stdin: bytes = b"", check: bool = True) -> str:
        """Run a command in there as root, not over SSH, and give all its output; raises RuntimeError with it."""
        done = subprocess.run(
            [*self.entering(), *command], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            env={"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        output = done.stdout.decode(errors="replace")
        if check and done.returncode != 0:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {done.returncode}\n{output}")
        return output

    def entering(self) -> list[str]:
        """What stands before a command that is to run in there."""
        nsenter = ["nsenter", f"--target={self._leader}", "--all", "--root", "--"]
        return [*nsenter, "sh", "-c", 'cd / && exec "$@"', "sh"]  # with --wd=/ it would be our /

    def write(self, path: str, text: str | bytes, *, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file in there, with its directories."""
        data = text if isinstance(text, bytes) else text.encode()
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chown "$2" "$1" && chmod "$3" "$1"'
        self.run("sh", "-c", script, "sh", path, owner, f"{mode:o}", stdin=data)

    def set_up(self, **settings: str) -> None:
        """Override the unit by a drop-in with these settings of [Service], and read it."""
        lines = "".join(f"{key}={value}\n" for key, value in settings.items())
        self.write("/etc/systemd/system/pomerium.service.d/override.conf", f"[Service]\n{lines}")
        self.run("systemctl", "daemon-reload")

    def restart(self) -> None:
        """Restart Pomerium and wait until it serves; raises RuntimeError with its log where it does not start."""
        self.run("systemctl", "reset-failed", "pomerium", check=False)
        try:
            self.run("systemctl", "restart", "pomerium")
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{self.log}") from None
        until(lambda: self.served(None), what=f"{self.name} to serve")

    def inventory(self) -> dict[str, t.Any]:
        """The host's variables: where it is, and that the packaged places are its places."""
        interpreter = f"{self._python}/bin/{_python_name(self._python)}" if self._python else self.python
        return {
            **self._keys.variables(self.address, 22, "ops"),
            "ansible_python_interpreter": interpreter,
            "ansible_become": True,
            "pomerium_config_path": "",
            "pomerium_directory": "/etc/pomerium-tls",
        }

    @property
    def python(self) -> str:
        """The system's Python, or the lab's where there is none."""
        return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else f"/opt/lab/python/{PYTHON}"

    @property
    def traffic(self) -> int:
        """Bytes that have gone over its wire, both ways."""
        counters = _interface(self._id) / "statistics"
        return sum(int((counters / f"{way}_bytes").read_text()) for way in ("rx", "tx"))

    def connections(self) -> list[int]:
        """The processes that keep connections to it open for Ansible."""
        return self._keys.connections()

    def hang_up(self) -> None:
        """End these connections."""
        self._keys.hang_up()

    def close(self) -> None:
        """Switch it off. Its files, processes and interfaces are gone then."""
        self._keys.close()
        if self._child is not None:
            self._child.kill()
            until(lambda: not _interface(self._id).exists(), what=f"{self._id} to be gone")
            _ip([f"route del {self._closed}"], is_checked=False)  # it may have failed before there was one
            for group in self._groups:
                _remove_group(group)
        LEASES.release(self._number)

    def _boot(self) -> None:
        layer, scratch = self.directory / "layer", self.directory / "scratch"
        scratch.mkdir()
        self._lay(layer)
        script = Path(__file__).with_name("machine_boot.sh")
        apart = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
        groups = " ".join(str(group) for group in self._groups)
        command = [*apart, "sh", script, layer, scratch, self._id, self.name, groups, *self._binds()]
        self._child = Child(
            f"machine {self.name}",
            [str(part) for part in command],
            log_path=self.directory / "boot.log",
            environment=plain_environment(),
        )
        self._child.start()
        self._child.wait_until(self._find_leader, what="its init")
        self._connect()
        self._child.wait_until(lambda: is_ssh(self.address, 22), what="an SSH banner")
        if self._is_started and self._config == "configured":
            self.restart()
        elif self._is_started:
            self.run("systemctl", "start", "pomerium", check=False)

    def _lay(self, layer: Path) -> None:
        """Lay down what is different there from here."""
        files: dict[str, str | bytes] = {
            **LAYER,
            "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {self.name}\n",
            "etc/ssh/lab_host_key": self._keys.host_key.read_bytes(),
            "etc/ssh/lab_authorized_keys": self._keys.authorized,
            "etc/pomerium/config.yaml": self._config_text(),
            **_accounts(),
        }
        if not self.is_real:
            files["usr/sbin/pomerium"] = PROGRAM
        for place in ("home/ops", *HIDDEN):
            (layer / place).mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            (layer / path).parent.mkdir(parents=True, exist_ok=True)
            (layer / path).write_bytes(content if isinstance(content, bytes) else content.encode())
            (layer / path).chmod(MODES.get(path, 0o755 if "sbin" in path else 0o644))
        for place in HIDDEN:
            os.setxattr(layer / place, "trusted.overlay.opaque", b"y")
        (layer / "root").chmod(MODES["root"])
        (layer / "etc/pomerium-tls").rmdir()
        os.chown(layer / "home/ops", USERS["ops"][0], USERS["ops"][0])
        for path in ("etc/pomerium", "etc/pomerium/config.yaml"):  # as the package's postinstall leaves it
            os.chown(layer / path, USERS["pomerium"][0], USERS["pomerium"][0])
        (layer / "etc/pomerium").chmod(0o750)

    def _config_text(self) -> str:
        return (PACKAGED if self._config == "packaged" else CONFIGURED).format(
            name=self.name,
            etc="/etc/pomerium",
            address=f":{PORT}",
            grpc_port=5443,
            health_port=28080,
            shared_secret=self.shared_secret,
            cookie_secret=self.cookie_secret,
        )

    def _binds(self) -> list[str]:
        binds = {
            "/opt/lab/python": Path(sys.base_prefix),
            "/opt/lab/packages": Path(sysconfig.get_path("purelib")),
            "/opt/lab/collections/ansible_collections": COLLECTIONS / "ansible_collections",
        }
        real = find_pomerium()
        if real is not None:
            binds["/usr/sbin/pomerium"] = real
        if self._python is not None:
            binds[str(self._python)] = self._python  # where it was built to be
        return [f"--bind-ro={source.resolve()}:{target}" for target, source in binds.items()]

    @property
    def _groups(self) -> list[Path]:
        """A control group of its own in each hierarchy that there is: without a systemd out here, nspawn takes the one
        that it is started in."""
        return [hierarchy / self._id for hierarchy in CGROUPS if (hierarchy / "cgroup.procs").exists()]

    def _find_leader(self) -> bool:
        """Find the init: the number 1 below nspawn, which is a number 1 itself, so that nothing outlives it."""
        for pid in descendants(self._child.pid if self._child else 0):
            status = Path(f"/proc/{pid}/status").read_text()
            if re.search(r"^NSpid:\s+\d+\s+\d+\s+1$", status, re.MULTILINE) and _interface(self._id).exists():
                self._leader = pid
        return bool(self._leader)

    @property
    def _closed(self) -> str:
        """A route that holds when its interface is gone: what is meant for it must not leave by the default route."""
        return f"unreachable {_address(self._number, 0)}/30 metric 4096"

    def _connect(self) -> None:
        """Give both ends of its wire their addresses."""
        wire = _interface(self._id).name
        _ip([f"route add {self._closed}", f"address add {self._gateway}/30 dev {wire}", f"link set {wire} up"])
        inside = [f"address add {self.address}/30 dev host0", "link set host0 up", "link set lo up"]
        _ip(inside, before=["nsenter", f"--target={self._leader}", "--net", "--"])


def what_is_missing() -> str | None:
    """Say in a word for the skipped test why no machine can be booted here; None where it can."""
    if os.geteuid() != 0:
        return "root"
    missing = [name for name in ("systemd-nspawn", "ip", "nsenter", "sudo", "unshare") if shutil.which(name) is None]
    missing += list(filter(None, [what_ssh_lacks()]))
    missing += [] if Path("/usr/lib/systemd/systemd").exists() else ["systemd"]
    return ", ".join(missing) or None


def _address(number: int, last: int) -> str:
    """Give an address of network `number` of four in 198.18.0.0/15, the range for tests of networks (RFC 2544)."""
    value = (198 << 24) + (18 << 16) + number * 4 + last
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def _interface(machine: str) -> Path:
    return Path(f"/sys/class/net/ve-{machine}")


def _ip(commands: t.Sequence[str], *, before: t.Sequence[str] = (), is_checked: bool = True) -> None:
    batch = "".join(f"{command}\n" for command in commands).encode()
    command = [*before, "ip", "-batch", "-"]
    done = subprocess.run(command, input=batch, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if is_checked and done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout.decode(errors='replace')}")


def _accounts() -> dict[str, str]:
    """This machine's accounts, with the two of a Pomerium host in place of any of their names."""
    lines = {"passwd": {}, "shadow": {}, "group": {}}  # type: dict[str, dict[str, str]]
    for file, own in lines.items():
        for line in Path("/etc", file).read_text().splitlines():
            own[line.partition(":")[0]] = line
    for name, (number, home, shell) in USERS.items():
        lines["passwd"][name] = f"{name}:x:{number}:{number}::{home}:{shell}"
        lines["shadow"][name] = f"{name}:*:20000:0:99999:7:::"
        lines["group"][name] = f"{name}:x:{number}:"
    return {f"etc/{file}": "".join(f"{line}\n" for line in own.values()) for file, own in lines.items()}


def _python_name(prefix: Path) -> str:
    return next(path.name for path in sorted((prefix / "bin").glob("python3.*")) if path.name.count(".") == 1)


def _remove_group(group: Path) -> None:
    """Remove a control group and those below, which are empty now or in a moment."""
    if not group.is_dir():
        return
    for below in [*group.iterdir()]:
        if below.is_dir():
            _remove_group(below)
    until(lambda: _is_removed(group), what=f"{group} to be empty")


def _is_removed(group: Path) -> bool:
    group.rmdir()
    return True
