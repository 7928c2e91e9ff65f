# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host keeps for the fleet between two runs: the pending order with its key, and what was learned.

    <directory>/<name>/pending/    order.json, privkey.pem; of an order that is finished, in its place, fullchain.pem,
                                   meta.json and meta.sig
    <directory>/<name>/state.json

All of it is root's alone. The key is there before the order that names it, and goes after it: a kill in between leaves
no order without its key. A look carries no key; `fetch` gives the one that is asked for.
Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import typing as t

from .. import _files
from .._errors import UserError
from .._lock import hold_lock
from .._versions import Versions
from .home import check_directory, choose_owner, make_home
from .in_use import find_problem
from .pem import first_leaf
from .process import find_process

ORDER, KEY, CHAIN = "order.json", "privkey.pem", "fullchain.pem"
STAGED = (KEY, CHAIN, "meta.json", "meta.sig", ORDER)
"""In the order in which they are written; they are removed the other way round."""

STATE = "state.json"
LARGEST = 262_144
"""Octets of one of these files: a chain has some 5,000, an order with a hundred names 30,000."""

LOCK_SECONDS = 60.0
SPARE = 4 * 1024 * 1024
"""Octets that must be free on the disk before a host counts as one that can keep an order and its key."""


def pending_path(home: str, *name: str) -> str:
    """Name the directory of what is pending, or a file in it."""
    return os.path.join(home, "pending", *name)


def describe_kept(home: str, directory: str) -> dict[str, t.Any]:
    """Say what the host keeps for the fleet: its bundles (in use, or finished and not yet installed), the pending
    order, whether its key is there, what was learned. Public parts only."""
    key = _read(pending_path(home, KEY)) or b""
    return {
        "bundles": [
            {**bundle, "is_current": is_current}
            for place, is_current in ((os.path.join(home, "current"), True), (pending_path(home), False))
            for bundle in _describe_bundle(place)
        ],
        "order": _text(_read(pending_path(home, ORDER))),
        "has_key": key.startswith(b"-----BEGIN "),
        "state": _text(_read(os.path.join(home, STATE))),
        "is_writable": _is_writable(directory, home),
    }


def _describe_bundle(place: str) -> list[dict[str, t.Any]]:
    """Give the chain in a directory, with what was noted about it, and what is wrong with the pair; none, or one."""
    chain = _read(os.path.join(place, CHAIN))
    if chain is None:
        return []
    noted = {name: _text(_read(os.path.join(place, name))) for name in ("meta.json", "meta.sig")}
    return [
        {
            "chain": _text(chain),
            "meta": noted["meta.json"],
            "signature": noted["meta.sig"],
            "problem": find_problem(place),
        }
    ]


def _read(path: str) -> bytes | None:
    try:
        data = _files.read_plain(path)[0]
    except OSError:
        return None
    return data if len(data) <= LARGEST else None


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _is_writable(directory: str, home: str) -> bool:
    """Tell whether an order could be kept here: found out without writing, since a look changes nothing."""
    place = home if os.path.isdir(home) else directory
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    found = os.statvfs(place)
    return os.access(place, os.W_OK) and not found.f_flag & os.ST_RDONLY and found.f_bavail * found.f_frsize >= SPARE


def is_over(home: str) -> bool:
    """Tell whether the pending key is that of the version in use: its order is finished, and installed here."""
    key = _read(pending_path(home, KEY))
    return key is not None and key == _read(os.path.join(home, "current", KEY))


def find_litter(home: str) -> list[str]:
    """Name what a killed run left here: all that is pending where that is over, else files half written."""
    folder = pending_path(home)
    if is_over(home):
        return [folder]
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) and os.access(folder, os.R_OK) else []
    half = [os.path.join(folder, name) for name in names if name not in STAGED]
    return half + _files.find_leftovers(os.path.join(home, STATE))


def drop_pending(home: str) -> None:
    """Forget what is pending."""
    folder = pending_path(home)
    for name in reversed(STAGED):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(pending_path(home, name))
    if os.path.isdir(folder):
        _files.sync_directory(folder)
    _files.remove_tree(folder)


def stage(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Keep just what is sent, `files` in `pending` and `state`; what is None stays as it is. Tell whether it is new."""
    check_directory(params["directory"])
    process = find_process(params["service"], config_path=params["config_path"])
    owner = choose_owner(params["owner"], params["group"], process)
    try:
        home = make_home(params["directory"], params["name"], owner)
        with hold_lock(os.path.join(home, ".lock"), within=LOCK_SECONDS):
            changed = False
            if params["files"] is not None:
                changed = _keep(home, {file["name"]: base64.b64decode(file["content"]) for file in params["files"]})
            if params["state"] is not None:
                changed |= _write(os.path.join(home, STATE), base64.b64decode(params["state"]))
    except OSError as error:
        raise UserError(
            "This host cannot keep the order and its key",
            name=error.filename or params["directory"],
            answer=error.strerror,
            remedy="Mend it (space, rights, a read-only mount); another host keeps them as well.",
        ) from error
    return {"changed": changed}


def _keep(home: str, files: t.Mapping[str, bytes]) -> bool:
    """Make `pending` hold just these files. The old order goes before anything else does."""
    folder = pending_path(home)
    if not files:
        is_there = os.path.lexists(folder)
        drop_pending(home)
        return is_there
    if os.path.islink(folder) or (os.path.isdir(folder) and not _files.has_mode(folder, 0o700, (os.geteuid(), -1))):
        _files.remove_any(folder)  # not as we make it
    _files.make_directory(folder)
    changed = False
    if _read(pending_path(home, ORDER)) != files.get(ORDER):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(pending_path(home, ORDER))
    for name in STAGED:
        if name in files:
            changed |= _write(pending_path(home, name), files[name])
    for name in set(os.listdir(folder)) - set(files):
        _files.remove_any(pending_path(home, name))
        changed = True
    return changed


def _write(path: str, data: bytes) -> bool:
    if _read(path) == data and _files.has_mode(path, 0o600, (os.geteuid(), -1)):
        return False
    _files.write_file(path, data)
    return True


def fetch(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Give the keys that the controller lacks: that of the certificate with `leaf_sha256`, that of `order_uri`."""
    home = os.path.join(params["directory"], params["name"])
    places = [Versions(home).link, pending_path(home)]
    of_leaf = [place for place in places if params["leaf_sha256"] and _leaf_sha256(place) == params["leaf_sha256"]]
    of_order = [places[1]] if params["order_uri"] and _order_uri(home) == params["order_uri"] else []
    return {
        kind: next((_text(key) for key in (_read(os.path.join(place, KEY)) for place in found) if key), None)
        for kind, found in (("leaf", of_leaf), ("order", of_order))
    }


def _leaf_sha256(place: str) -> str | None:
    leaf = first_leaf(_read(os.path.join(place, CHAIN)) or b"")
    return hashlib.sha256(leaf).hexdigest() if leaf else None


def _order_uri(home: str) -> t.Any:
    try:
        return json.loads(_read(pending_path(home, ORDER)) or b"")["order"]["order_uri"]
    except (ValueError, LookupError, TypeError):
        return None
