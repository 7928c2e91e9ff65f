# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Say of a host what is configured, installed and served. Nothing is changed, and a host without anything of ours is
described as well. Private to this collection.
"""

from __future__ import annotations

import typing as t

from ..module_utils._errors import UserError
from ..module_utils._pki.chain import iso
from . import _decide
from ._bundle import describe_der, name_to_ask
from ._config import KEYS, Config
from ._outcome import hold_returns, served_returns
from ._remote import Host, Look, SeenServed, SeenVersion


def inspect_host(options: t.Mapping[str, t.Any], host: Host) -> dict[str, t.Any]:
    """Look once; fetch the configuration where the host's record does not tell, and knock where it listens."""
    look = host.look(config_path=options["config_path"], probe=options["probe"], versions=True)
    installed = describe_der(look.installed.der)
    names = list(installed.names) if installed else []
    configured, shadowing, address = _configured(look, host, names)
    served = look.served or _knock(options, look, host, names, address)
    return {
        "changed": False,
        "configured": configured,
        "installed": None
        if look.installed.version is None
        else {
            "version": look.installed.version,
            "files": sorted(look.installed.files),
            "hold": hold_returns(look.hold),
            "versions": [_version(version) for version in reversed(look.versions)],
            **(installed.returns() if installed else {}),
        },
        "served": _served(served, look),
        "shadowing": shadowing,
        "runtime": {
            "state": look.state,
            "unit": look.unit,
            "pid": look.pid,
            "config_path": look.process_config_path,
            "environment": sorted(look.environment),
        },
        "not_after": iso(installed.not_after) if installed else None,
        "store_path": None,
    }


def _version(version: SeenVersion) -> dict[str, t.Any]:
    facts = describe_der(version.der)
    return {
        "version": version.name,
        "names": list(facts.names) if facts else [],
        "not_after": iso(facts.not_after) if facts else None,
        "problem": version.problem,
    }


def _configured(look: Look, host: Host, names: t.Sequence[str]) -> tuple[dict[str, t.Any], list[str], str | None]:
    """Say what the configuration sets, what is in our way, and where Pomerium listens."""
    answer: dict[str, t.Any] = {
        "path": look.config.path,
        "state": look.config.state,
        "found_instead": list(look.config.others),
        "settings": dict.fromkeys(KEYS),
    }
    in_our_way = (("CERTIFICATE", None), ("AUTOCERT", "true"))
    environment = [
        f"environment {name}" for name, value in sorted(look.environment.items()) if (name, value) in in_our_way
    ]
    if look.config.state != "file":
        return answer, environment, None
    recorded = _decide.recorded_keys(look)
    if recorded is not None:
        answer["settings"] = recorded
        return answer, environment, None  # what was in the way then was taken out, or the record would not be there
    data, _digest, paths = host.read(config_path=look.config.path)
    try:
        config = Config(data, look.config.path)
        needed = _decide.paths_in(config)
        if not needed <= set(paths):
            _data, _digest, paths = host.read(config_path=look.config.path, paths=sorted(needed))
        shadows = _decide.find_shadows(config, look, paths, names)
    except UserError as error:
        host.warnings.append(str(error))
        answer["state"] = "other"
        return answer, environment, None
    answer["settings"] = config.keys
    return answer, [*environment, *(shadow.where for shadow in shadows)], config.address


def _knock(
    options: t.Mapping[str, t.Any], look: Look, host: Host, names: t.Sequence[str], address: str | None
) -> SeenServed | None:
    """Look once more, now that the configuration says where Pomerium listens."""
    if not options["probe"]["enabled"] or address is None:
        return None
    found, port = _decide.listen_address(address, look)
    given = {key: value for key, value in options["probe"].items() if value is not None}
    probe = {"address": found, "port": port, "server_name": name_to_ask(names), **given}
    return host.look(config_path=options["config_path"], probe=probe).served


def _served(served: SeenServed | None, look: Look) -> dict[str, t.Any] | None:
    returns = served_returns(served, None)
    if returns is not None and served is not None:
        returns["is_ours"] = bool(look.installed.der) and served.der == look.installed.der
    return returns
