# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything the controller has to know of a host, in one call that changes nothing and carries no secret.

Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import glob
import hashlib
import os
import re
import stat
import typing as t

from .. import _files
from .._errors import BadInput, UserError
from .._versions import Versions
from .hold import read_hold
from .home import check_directory, choose_owner
from .in_use import find_problem, order_by_use, read_history
from .leftovers import find_leftovers
from .pem import CERTIFICATE, first_leaf
from .pending import describe_kept
from .probe import Served, Target, probe
from .process import DEFAULT_CONFIG_PATHS, Process, choose_config_path, find_process
from .record import read_record

_PATH = re.compile(rb"/[^\s\0\"',\[\]{}]+")


def look(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Look at process, configuration, what is installed and what is served.

    `leaf_sha256` is the leaf that the controller has at hand: it is not sent back where it is met again.
    """
    process = find_process(params["service"], config_path=params["config_path"])
    config_path = choose_config_path(params["config_path"], process)
    home = os.path.join(params["directory"], params["name"])
    record = read_record(home)
    target = choose_target(params, record)
    served = probe(target) if target is not None else None
    owner, problem = _ground(params, process)
    hold = read_hold(home)
    return {
        "process": {
            "state": process.state,
            "unit": process.unit,
            "pid": process.pid,
            "environment": process.environment,
            "config_path": process.config_path,
        },
        "config": describe_config(config_path, process),
        "installed": describe_installed(home, params["leaf_sha256"]),
        "leftovers": find_leftovers(home, config_path),
        "hold": hold,
        "versions": describe_versions(home) if params["versions"] or hold else [],
        "kept": describe_kept(home, params["directory"]) if params["kept"] else None,
        "owner": owner,
        "problem": problem,
        "record": record,
        "served": None if target is None or served is None else report(served, target, params["leaf_sha256"]),
    }


def _ground(params: t.Mapping[str, t.Any], process: Process) -> tuple[list[int], str | None]:
    """Say whose the files will be, and what speaks against the place (an install refuses it, a report shows it)."""
    try:
        check_directory(params["directory"])
        return list(choose_owner(params["owner"], params["group"], process)), None
    except BadInput as error:
        return [-1, -1], str(error)


def choose_target(params: t.Mapping[str, t.Any], record: t.Mapping[str, t.Any] | None) -> Target | None:
    """Choose where to knock: as given, else as proven last; None where neither says or nobody wants to know."""
    given, is_behind_proxy = params["probe"], params["proxy_protocol"]
    known = (record or {}).get("probe")
    known = known if isinstance(known, dict) else {}
    port = given["port"] or known.get("port")
    if not given["enabled"] or not port:
        return None
    return Target(
        address=given["address"] or known.get("address") or "127.0.0.1",
        port=int(port),
        server_name=given["server_name"] or known.get("server_name"),
        proxy_protocol=bool(known.get("proxy_protocol") if is_behind_proxy is None else is_behind_proxy),
    )


def report(served: Served, target: Target, known_sha256: str | None = None) -> dict[str, t.Any]:
    """Put what was served into an answer; the leaf itself only where the controller does not have it."""
    is_new = served.sha256 is not None and served.sha256 != known_sha256
    return {
        "state": served.state,
        "sha256": served.sha256,
        "der": base64.b64encode(served.der).decode() if is_new else None,
        "error": served.error,
        "address": target.address,
        "port": target.port,
        "server_name": target.server_name,
    }


def describe_config(path: str, process: Process) -> dict[str, t.Any]:
    """Say what the configuration file is: file, missing, link, hard_link, unreadable or other; and which others are
    there."""
    answer: dict[str, t.Any] = {"path": path, "state": "file", "sha256": None, "others": []}
    try:
        data, _found = read_config(path)
    except FileNotFoundError:
        answer["state"], answer["others"] = "missing", _other_configs(path, process)
    except PermissionError:
        answer["state"] = "unreadable"
    except OSError as error:
        answer["state"] = {errno.ELOOP: "link", errno.EMLINK: "hard_link"}.get(error.errno or 0, "other")
        if answer["state"] == "link":
            answer["others"] = [os.path.realpath(path)]
    else:
        answer["sha256"] = hashlib.sha256(data).hexdigest()
    return answer


def read_config(path: str) -> tuple[bytes, os.stat_result]:
    """Read the configuration, with mode and owner of the very file that was read; a link, a device or something
    enormous is refused with an OSError.

    Its directory belongs to the user pomerium, who could put a second name of somebody else's file there, and would
    get a copy of it with our backup.
    """
    data, found = _files.read_plain(path)
    if found.st_nlink > 1 and found.st_uid != os.stat(os.path.dirname(path) or ".").st_uid:
        raise OSError(errno.EMLINK, "a second name (hard link) of a file of somebody else", path)
    return data, found


def _other_configs(path: str, process: Process) -> list[str]:
    """Name the files that could be meant instead of a missing configuration."""
    candidates = [process.config_path or "", *DEFAULT_CONFIG_PATHS]
    for folder in (os.path.dirname(path), "/etc/pomerium"):
        candidates += sorted(glob.glob(os.path.join(glob.escape(folder), "*.y*ml")))
    found = [candidate for candidate in candidates if candidate and candidate != path and os.path.isfile(candidate)]
    return list(dict.fromkeys(found))[:20]


def describe_installed(home: str, known_sha256: str | None) -> dict[str, t.Any]:
    """Say which version is current, and digest, mode and owner of each of its files; its leaf where it is another."""
    versions = Versions(home)
    version = versions.current()
    files = {}
    leaf = None
    if version is not None:
        for name in sorted(os.listdir(versions.path(version))):
            path = os.path.join(versions.path(version), name)
            with contextlib.suppress(OSError):  # one that we may not read is not as it should be
                data, found = _files.read_plain(path)
                files[name] = {
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "mode": stat.S_IMODE(found.st_mode),
                    "owner": [found.st_uid, found.st_gid],
                }
                if name == "fullchain.pem":
                    leaf = first_leaf(data)
    sha256 = hashlib.sha256(leaf).hexdigest() if leaf else None
    is_new = leaf is not None and sha256 != known_sha256
    return {
        "version": version,
        "files": files,
        "sha256": sha256,
        "der": base64.b64encode(leaf or b"").decode() if is_new else None,
        "problem": None if version is None else find_problem(versions.path(version)),
    }


def describe_versions(home: str) -> list[dict[str, t.Any]]:
    """Say of each version, in the order of their use, whether it was in use, its leaf, and what is wrong with it."""
    versions, history = Versions(home), read_history(home)
    current = versions.current()
    found = []
    for version in order_by_use(home, versions):
        directory, files, leaf = versions.path(version), [], None
        with contextlib.suppress(OSError):  # `problem` says why
            files = sorted(os.listdir(directory))
            leaf = first_leaf(_files.read_plain(os.path.join(directory, "fullchain.pem"))[0])
        found.append(
            {
                "version": version,
                "was_used": version in history or (current is not None and version <= current),
                "files": files,
                "der": base64.b64encode(leaf or b"").decode(),
                "problem": find_problem(directory),
            }
        )
    return found


def read(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Give the configuration's text, and what stands in the files that it names (certificates only, no key).

    The controller reads the YAML, this host does not: so all that looks like a path is looked up, and `paths` are
    those that the controller asks for by name where that was not enough.
    """
    path = params["config_path"]
    try:
        data, _found = read_config(path)
    except OSError as error:
        raise UserError("The configuration cannot be read", name=path, answer=error.strerror) from error
    guessed = {match.group().decode("utf-8", "replace") for match in _PATH.finditer(data)}
    return {
        "config_text": base64.b64encode(data).decode(),
        "config_sha256": hashlib.sha256(data).hexdigest(),
        "paths": {name: _certificates(name) for name in sorted(guessed | set(params["paths"] or ()))},
    }


def _certificates(path: str) -> str | None:
    """Give the certificates in a file as PEM ('' where it has none), or None where there is no such file."""
    try:
        found = CERTIFICATE.findall(_files.read_plain(path, follow=True)[0])
        return "\n".join(block.decode("ascii", "replace") for block in found)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError):
        return ""
