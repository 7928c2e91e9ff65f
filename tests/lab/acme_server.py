# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every CA of the lab is: a process with an ACME directory, a root to trust it by, and the requests it served."""

from __future__ import annotations

import os
import re
import shutil
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.process import Child


@dataclass(frozen=True)
class Request:
    """One request that a CA has served; `path` is what its log tells."""

    resources: t.ClassVar[t.Mapping[str, str]] = {}
    """The expression for the path of each ACME resource, by its name."""

    method: str
    path: str

    @property
    def resource(self) -> str:
        """The ACME name of what was asked for (`newOrder`), or the path where it has none."""
        return next((name for name, path in self.resources.items() if re.fullmatch(path, self.path)), self.path)


class AcmeServer:
    """A running CA; use it as a context manager."""

    about: str
    """What it is, and where its root is to be had, in a few words."""
    ca_path: Path
    """The root that clients trust the server's own HTTPS by, and `authority` its key."""
    authority: Authority
    directory_url: str
    eab_keys: t.Mapping[str, str] = {}

    def __init__(self, directory: Path, *, number_of_ports: int) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._ports = [LEASES.lease() for _number in range(number_of_ports)]
        self._child: Child

    @property
    def port(self) -> int:
        """Where its ACME directory is."""
        return self._ports[0]

    @property
    def log(self) -> str:
        return self._child.log

    @property
    def pid(self) -> int:
        return self._child.pid

    def __enter__(self) -> t.Self:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Start and wait until all of its ports answer; no ACME request is made for it."""
        self._child.start()
        self._child.wait_until(self._answers, what="all ports to answer")

    def stop(self) -> None:
        """Stop it but keep its ports: a CA that is down."""
        self._child.stop()

    def restart(self) -> None:
        """Stop and start at the same address. The log and its requests go on."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it and give its ports back."""
        self.stop()
        for port in self._ports:
            LEASES.release(port)

    def mark(self) -> int:
        """How many ACME requests it has served so far: what `requests(since=...)` takes."""
        return len(self.requests())

    def requests(self, since: int = 0) -> t.Sequence[Request]:
        """The ACME requests served after the mark `since`, refused ones (badNonce) included, in order."""
        raise NotImplementedError

    def root_pem(self) -> bytes:
        """The root that its certificates end at."""
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


def find_program(name: str, variable: str) -> Path:
    """The program to run: what the environment variable names, what `make` keeps in .cache/bin, or the one on PATH."""
    here = Path(__file__).resolve()
    candidates = [os.environ.get(variable), *(root / "bin" / name for root in _cache_directories(here))]
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    on_path = shutil.which(name)
    if on_path is None:
        raise RuntimeError(f"{name} was not found: run `make {name}`, or set {variable} to its binary.")
    return Path(on_path)


def _cache_directories(here: Path) -> list[Path]:
    """`.cache` above a tree copy (.cache/ansible_collections/...), or inside of a checkout."""
    return [parent for parent in here.parents if parent.name == ".cache"] + [here.parents[2] / ".cache"]
