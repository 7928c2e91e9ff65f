# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The looks of one run at its hosts, as files: how what hosts keep gets from one task to the next.

    STORE/lineages/<name>/looks/<digest of the host's name>.json

Never through variables: 500 looks are too large for an argument. A look is public, carries no key, and is of this run
only; nobody reads it in another one. Each has an `id` of its own, so that one that was merged is not merged again.
Private to this collection.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import typing as t

from .. import _files

LookFile = t.Dict[str, t.Any]
"""`host`, `id`, what the run says of it (`limit`, `batch`, `play_hosts`, `identifiers`), and the host's `answer`, None
where it gave none."""


def write_look(store_path: str, name: str, host: str, answer: t.Any, **said: t.Any) -> None:
    """Write the look at a host, or (with the answer None) that it is looked at."""
    look = {"host": host, "id": f"{time.time_ns():x}-{os.getpid():x}", "answer": answer, **said}
    _write(_path(store_path, name, host), look)


def read_look(store_path: str, name: str, host: str) -> LookFile | None:
    """Give the look at a host, None where there is none."""
    return _read(_path(store_path, name, host))


def change_look(store_path: str, name: str, host: str, change: t.Callable[[LookFile], None]) -> None:
    """Change the look at a host, which keeps its id, where there is one: what was sent to it since is known to be
    there."""
    path = _path(store_path, name, host)
    look = _read(path)
    if look is not None:
        change(look)
        _write(path, look)


def take_look(store_path: str, name: str, host: str) -> LookFile | None:
    """Give the look at a host, once: whoever takes it is about to change the host."""
    path = _path(store_path, name, host)
    look = _read(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return look


def read_looks(store_path: str, name: str) -> list[LookFile]:
    """Give all looks for a lineage, sorted by the hosts' names."""
    folder = _folder(store_path, name)
    names = os.listdir(folder) if os.path.isdir(folder) else []
    looks = [_read(os.path.join(folder, one)) for one in names if not one.startswith(".")]
    return sorted((look for look in looks if look is not None), key=lambda look: str(look["host"]))


def names_with_looks(store_path: str) -> list[str]:
    """List the lineages for which there are looks."""
    folder = os.path.join(store_path, "lineages")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name for name in names if os.path.isdir(_folder(store_path, name))]


def _folder(store_path: str, name: str) -> str:
    return os.path.join(store_path, "lineages", name, "looks")


def _path(store_path: str, name: str, host: str) -> str:
    """An inventory's name for a host may hold anything, so the file is named by its digest."""
    return os.path.join(_folder(store_path, name), f"{hashlib.sha256(host.encode()).hexdigest()[:32]}.json")


def _write(path: str, look: LookFile) -> None:
    _files.make_directory(os.path.dirname(path))
    _files.write_file(path, json.dumps(look).encode())


def _read(path: str) -> LookFile | None:
    try:
        look = json.loads(_files.read_bytes(path))
    except (OSError, ValueError):
        return None
    return look if isinstance(look, dict) and "host" in look else None
