# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two places where AWX runs a job: a container from nothing for each, and nothing of it stays.

A `Pod` is Kubernetes: ansible-runner is in the container, uid 1000 with gid 0, and HOME cannot be written. A `Node` is
a virtual machine: ansible-runner is outside and puts ansible-playbook, as root, into a container. podman makes both
from a bare directory in place of an image. Its programs, Python and the collection are this machine's, read-only;
nothing else of this machine is seen but its network. `what_is_missing` says what is not there for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import COLLECTIONS
from ansible_collections.zerotrust.pomerium.tests.lab.process import plain_environment

COLLECTION = Path("ansible_collections/zerotrust/pomerium")
BIN = Path(sys.prefix).resolve() / "bin"
HOME = Path("/home/runner")
PRIVATE = Path("/runner")
"""Where a job finds its private data directory."""

ENVIRONMENT = {"HOME": str(HOME), "LANG": "C.UTF-8", "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/usr/sbin"}
"""What the image of an execution environment sets."""

HOMELESS = {"ANSIBLE_HOME": "/tmp/ansible", "ANSIBLE_REMOTE_TEMP": "/tmp/ansible/modules"}
"""What it has to set where HOME cannot be written: without these Ansible runs no module on localhost, whosever."""

ETC = {
    "passwd": f"root:x:0:0::/root:/bin/sh\nrunner:x:1000:0::{HOME}:/bin/sh\n",
    "group": "root:x:0:\n",
    "hosts": "127.0.0.1 localhost\n",
}
LONGEST = 300
"""Seconds after which a container is ended, whatever became of who started it."""

SEEN = ("bin", "lib", "lib32", "lib64", "libexec", "local", "sbin")
"""Directories of /usr that are there; its `share` has collections alone, as an execution environment has them."""

ENGINE = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
tmp_dir = "{directory}/tmp"
"""
STORAGE = '[storage]\ndriver = "vfs"\ngraphroot = "{directory}/graph"\nrunroot = "{directory}/run"\n'


class Place:
    """Where jobs run. `directory` holds what podman has to remember, so that it knows no container but ours."""

    image: t.ClassVar[t.Mapping[str, str]] = ENVIRONMENT
    """The environment that is set in its containers before ansible-runner's own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        for name, text in {"engine": ENGINE, "storage": STORAGE}.items():
            (directory / f"{name}.conf").write_text(text.format(directory=directory))

    @property
    def environment(self) -> dict[str, str]:
        """That of whoever calls podman."""
        own = {"CONTAINERS_CONF": "engine", "CONTAINERS_STORAGE_CONF": "storage"}
        files = {variable: str(self._directory / f"{name}.conf") for variable, name in own.items()}
        return {**plain_environment(), "PATH": f"{ENVIRONMENT['PATH']}:/sbin:/bin", **files}

    def command(self, number: int) -> list[str]:
        """The worker of ansible-runner for a job, which takes what is transmitted on its stdin."""
        raise NotImplementedError

    def parameters(self, number: int) -> dict[str, t.Any]:
        """What is transmitted to the worker beside the job itself."""
        raise NotImplementedError

    def kill(self, number: int) -> None:
        """End a job's container at once, as a cancelled job, a time-out and a lost node do."""
        command = ["podman", "kill", "--signal=KILL", _name(number)]
        subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def remove(self, number: int) -> None:
        """Leave no container of a job."""
        command = ["podman", "rm", "--force", "--ignore", _name(number)]
        subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def _options(self) -> list[str]:
        """How a container differs from podman's usual ones; `--rootfs` takes the place of the image that follows."""
        base, venv = Path(sys.base_prefix).resolve(), BIN.parent
        volumes = {Path("/usr", name): Path("/usr", name) for name in SEEN if Path("/usr", name).is_dir()}
        volumes.update({venv: venv, COLLECTIONS / COLLECTION: Path("/usr/share/ansible/collections", COLLECTION)})
        if not base.is_relative_to("/usr"):
            volumes[base] = base
        options = [f"--volume={source}:{target}:ro" for source, target in volumes.items()]
        options += [f"--env={name}={value}" for name, value in self.image.items()]
        return [*options, "--network=host", "--no-hosts", f"--timeout={LONGEST}", "--rootfs"]

    def _make_root(self, number: int) -> Path:
        """Lay out a root file system with nothing in it but what every program wants."""
        root = self._directory / f"root-{number}"
        for path in ("etc", "usr", "root", "runner", "tmp", "home/runner"):
            (root / path).mkdir(parents=True)
        for name, text in ETC.items():
            (root / "etc" / name).write_text(text)
        for name in ("bin", "lib", "lib64", "sbin"):
            (root / name).symlink_to(f"usr/{name}")
        (root / "tmp").chmod(0o1777)
        (root / "runner").chmod(0o775)
        return root


class Pod(Place):
    """A pod of a container group."""

    image: t.ClassVar = {**ENVIRONMENT, **HOMELESS}

    def command(self, number: int) -> list[str]:
        run = ["podman", "run", "--rm", "--interactive", "--quiet", f"--name={_name(number)}", "--user=1000:0"]
        worker = [str(BIN / "ansible-runner"), "worker", f"--private-data-dir={PRIVATE}"]
        return [*run, f"--workdir={PRIVATE}", *self._options(), str(self._make_root(number)), *worker]

    def parameters(self, number: int) -> dict[str, t.Any]:
        return {}


class Node(Place):
    """An execution node."""

    def command(self, number: int) -> list[str]:
        worker = [str(BIN / "ansible-runner"), "worker"]
        return [*worker, f"--private-data-dir={self._directory / f'awx_{number}'}", "--delete"]

    def parameters(self, number: int) -> dict[str, t.Any]:
        return {
            "container_image": str(self._make_root(number)),
            "process_isolation": True,
            "process_isolation_executable": "podman",
            "container_options": ["--user=root", *self._options()],
        }


def what_is_missing() -> str | None:
    """Say in a word for the skipped test why no job can be run here; None where it can."""
    if os.geteuid() != 0:
        return "root"
    return ", ".join(name for name in ("podman", "runc", "ssh-agent") if shutil.which(name) is None) or None


def _name(number: int) -> str:
    """The name that ansible-runner gives to the container of a job."""
    return f"ansible_runner_{number}"
