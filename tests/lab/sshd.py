# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OpenSSH between the controller and a host of the lab: keys of its own, and a server that only they open.

`Keys` are one host's, for a server that a machine starts itself; `Sshd` is such a server on loopback, with nothing
but directories of its own, for where there is no machine.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.process import Child, plain_environment


class Keys:
    """A host key and a client key below `directory`, and what a client has to be told."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.host_key, self.client_key = directory / "host_key", directory / "client_key"
        for path in (self.host_key, self.client_key):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        self.authorized = self.client_key.with_suffix(".pub").read_text()
        self._known_hosts = directory / "known_hosts"
        self._sockets: Path | None = None

    def variables(self, address: str, port: int, user: str) -> dict[str, t.Any]:
        """What an inventory says of a host that is reached with these keys; kept connections are ours to end."""
        public = " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])
        self._known_hosts.write_text(f"[{address}]:{port} {public}\n{address} {public}\n")
        if self._sockets is None:  # short: the path of a socket may have 104 characters
            self._sockets = Path(tempfile.mkdtemp(prefix="zp-ssh-"))
        options = {"UserKnownHostsFile": self._known_hosts, "StrictHostKeyChecking": "yes", "IdentitiesOnly": "yes"}
        return {
            "ansible_connection": "ssh",
            "ansible_host": address,
            "ansible_port": port,
            "ansible_user": user,
            "ansible_ssh_private_key_file": str(self.client_key),
            "ansible_ssh_common_args": f"-F none {shlex.join(f'-o{key}={value}' for key, value in options.items())}",
            "ansible_control_path_dir": str(self._sockets),
        }

    def connections(self) -> list[int]:
        """The processes that keep connections open for Ansible."""
        said = "".join(self._control("check"))
        return [int(pid) for pid in re.findall(r"pid=(\d+)", said)]

    def hang_up(self) -> None:
        """End the connections that Ansible keeps open."""
        self._control("exit")

    def close(self) -> None:
        """End them, and let nothing of them stay."""
        self.hang_up()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    def _control(self, what: str) -> list[str]:
        """Tell each process that keeps a connection something; give what it says."""
        said = []
        for path in self._sockets.iterdir() if self._sockets is not None else ():
            command = ["ssh", "-F", "none", "-o", f"ControlPath={path}", "-O", what, "nobody"]
            done = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            said.append(done.stdout + done.stderr)
        return said


CONFIG = """\
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Subsystem sftp internal-sftp
"""


class Sshd:
    """A server on loopback for the user that runs the lab, with a HOME of its own; use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        self._keys = Keys(directory / "ssh")
        self._port = LEASES.lease()
        self.home = directory / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        authorized, config = directory / "ssh/authorized_keys", directory / "ssh/sshd_config"
        authorized.write_text(self._keys.authorized)
        config.write_text(
            f"{CONFIG}ListenAddress 127.0.0.1:{self._port}\nHostKey {self._keys.host_key}\nPidFile none\n"
            f"AuthorizedKeysFile {authorized}\nStrictModes no\nSetEnv HOME={self.home}\n"
        )
        command = [find_sshd() or "sshd", "-D", "-e", "-f", str(config)]
        self._child = Child("sshd", command, log_path=directory / "ssh/log", environment=plain_environment())

    def __enter__(self) -> Sshd:
        with contextlib.suppress(OSError):  # an sshd of root wants it, and makes it only where its unit starts it
            Path("/run/sshd").mkdir(mode=0o755)
        self._child.start()
        self._child.wait_until(lambda: is_ssh("127.0.0.1", self._port), what="an SSH banner")
        return self

    def __exit__(self, *_exception: object) -> None:
        self._keys.close()
        self._child.stop()
        LEASES.release(self._port)

    def variables(self) -> dict[str, t.Any]:
        """What an inventory says of it."""
        own = {"ansible_remote_tmp": str(self.home / "tmp")}  # Ansible takes ~USER for home, whatever HOME says
        return {**self._keys.variables("127.0.0.1", self._port, getpass.getuser()), **own}


def find_sshd() -> str | None:
    """OpenSSH's server, which ordinary users do not have on their PATH."""
    return shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))


def what_is_missing() -> str | None:
    """Say in a word for the skipped test what an Sshd lacks here; None where nothing is missing."""
    missing = [name for name in ("ssh", "ssh-keygen") if shutil.which(name) is None]
    return ", ".join([*missing, *([] if find_sshd() else ["sshd"])]) or None


def is_ssh(address: str, port: int) -> bool:
    """Tell whether an SSH server answers there."""
    with socket.create_connection((address, port), timeout=2) as connection:
        return connection.recv(4) == b"SSH-"
