# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decide what an install changes on a host: the three settings, what would be served instead, what is left alone.

Pure functions over what was seen; nothing is changed here. Private to this collection.
"""

from __future__ import annotations

import base64
import binascii
import typing as t
from dataclasses import dataclass

from ..module_utils._errors import BadInput, UserError
from ._bundle import Bundle, is_test_leaf, names_shadowed
from ._config import KEYS, Config

if t.TYPE_CHECKING:
    from ._remote import Look


SWEEP = "remove what a killed run left"


@dataclass(frozen=True)
class Shadow:
    """Something that Pomerium would serve instead. `where` is shown; `key` and `index` say what to take out of the
    YAML (neither: it is not in there)."""

    where: str
    is_missing: bool = False
    key: str | None = None
    index: int | None = None


def wanted_keys(
    now: t.Mapping[str, str | None], *, place: str, bundle: Bundle, authority: str
) -> dict[str, str | None]:
    """Decide the three settings; None stands for not there.

    The issuer chain is what Pomerium trusts as a client: set where nothing is set, or ours; never for a test CA, and
    a value that is not ours (somebody's private upstream CA) stays, save with `always`.
    """
    ours = f"{place}/ca.pem"
    found = now.get("certificate_authority_file")
    is_wanted = authority == "always" or (authority == "auto" and not bundle.is_test)
    chosen = found if found not in (None, ours) else None
    if authority == "always" or (is_wanted and chosen is None):
        chosen = ours if "ca.pem" in bundle.files else chosen
    return dict(zip(KEYS, (f"{place}/fullchain.pem", f"{place}/privkey.pem", chosen)))


def is_on(key: str, config: Config, look: Look) -> bool:
    """Tell whether a switch of Pomerium is on: as its environment says, which wins, or else the configuration."""
    said = look.environment.get(key.upper())
    return config.is_on(key) if said is None else said == "true"


def find_shadows(config: Config, look: Look, paths: t.Mapping[str, str | None], ours: t.Sequence[str]) -> list[Shadow]:
    """Find what would be served instead for `ours`, the names of our certificate, or keeps Pomerium from starting.

    `paths` has the certificates in each file that the configuration names, None for a file that is not there. What
    the environment itself sets is `environment_shadows`.
    """
    found = []
    if config.has_inline_certificate:
        lost = names_shadowed(ours, _decoded(config.inline_certificate))
        if lost is None or lost:
            keys = ("certificate", "certificate_key")
            found += [Shadow(f"{key} (inline)", key=key) for key in keys if config.data.get(key)]
    for entry in config.listed:
        files = (entry.certificate_path, entry.key_path)
        where = f"certificates[{entry.index}] ({entry.certificate_path or 'no cert'}"
        if any(file is None or paths.get(file) is None for file in files):
            found.append(Shadow(f"{where}, whose files are absent)", is_missing=True, index=entry.index))
            continue
        lost = names_shadowed(ours, (paths.get(entry.certificate_path or "") or "").encode())
        if lost is None:
            found.append(Shadow(f"{where}, which cannot be read)", index=entry.index))
        elif lost:
            found.append(Shadow(f"{where} for {', '.join(lost)})", index=entry.index))
    if config.is_on("autocert") and is_on("autocert", config, look):
        found.append(Shadow("autocert: true", key="autocert"))
    return found


def _decoded(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "")
    except (binascii.Error, ValueError):
        return b""


def paths_in(config: Config) -> set[str]:
    """Name the files whose presence, or content, decides something."""
    named = {path for entry in config.listed for path in (entry.certificate_path, entry.key_path)}
    return {path for path in (*named, config.keys["certificate_authority_file"]) if path}


def environment_shadows(look: Look, keys: t.Mapping[str, str | None], *, authority: str) -> list[str]:
    """Name the variables of the process (or of the unit that is down) that win over the YAML and say something else;
    another CA file only where ours is wanted whatever there is."""
    files = KEYS if authority == "always" else KEYS[:2]
    found = []
    for name, value in look.environment.items():
        if name in ("CERTIFICATE", "CERTIFICATE_KEY") or (name == "AUTOCERT" and value == "true"):
            found.append(name)
        elif name.lower() in files and value != keys[name.lower()]:
            found.append(f"{name} ({value})")
    return sorted(found)


def refuse_environment(look: Look, keys: t.Mapping[str, str | None], *, authority: str) -> None:
    """Refuse where the environment of Pomerium wins: no edit of the YAML helps against it."""
    found = environment_shadows(look, keys, authority=authority)
    if found:
        raise UserError(
            f"The environment of Pomerium wins over its configuration with {', '.join(found)}",
            remedy=f"Remove it from the environment of {look.unit or f'process {look.pid}'} (unit, drop-in, "
            "EnvironmentFile), restart Pomerium, and run again.",
            shadowing=[f"environment {name}" for name in found],
        )


def refuse_shadows(shadows: t.Sequence[Shadow], *, shadowing: str, can_edit: bool, path: str) -> None:
    """Refuse what may not be removed, each named."""
    removable = {"remove_missing": lambda shadow: shadow.is_missing, "remove": lambda shadow: True}
    may_remove = removable.get(shadowing, lambda shadow: False) if can_edit else lambda shadow: False
    left = [shadow.where for shadow in shadows if not may_remove(shadow)]
    if left:
        raise UserError(
            f"Pomerium would serve something else instead of this certificate, or not start: {'; '.join(left)}",
            name=path,
            remedy="Remove it there, or let it be removed with shadowing: remove." if can_edit else "Remove it there.",
            shadowing=left,
        )


def refuse_insecure(config: Config, look: Look) -> None:
    """Refuse a listener without TLS: no certificate is served there, and none can be proven."""
    if is_on("insecure_server", config, look):
        is_said_by_environment = "INSECURE_SERVER" in look.environment
        raise UserError(
            "insecure_server is on: Pomerium speaks plain HTTP and serves no certificate",
            name="INSECURE_SERVER in the environment of Pomerium" if is_said_by_environment else config.path,
            remedy="Switch it off, or install without a proof by probe.enabled: false.",
        )


def refuse_staging(look: Look, *, is_test: bool, options: t.Mapping[str, t.Any]) -> None:
    """Refuse that what nobody trusts takes the place of what everybody does."""
    installed = look.installed.der
    if is_test and installed and not is_test_leaf(installed) and not options["allow_staging"]:
        raise BadInput(
            "allow_staging", False, "a certificate of a staging CA would replace one of a production CA",
            remedy="Order from the production directory, or set allow_staging: true.",
        )  # fmt: skip


def is_content(look: Look, sha256: str, options: t.Mapping[str, t.Any]) -> bool:
    """Tell whether what is served needs no act of ours: this leaf, or nothing and nothing that we would start."""
    served = look.served
    if served is None or not options["probe"]["enabled"] or served.sha256 == sha256:
        return True
    if served.state == "not_listening":
        return not (look.is_startable and options["reload"] in ("auto", "restart"))
    return served.state == "client_certificate_required"


def is_behind_proxy(config: Config, look: Look) -> bool:
    """Tell whether Pomerium wants to hear the PROXY protocol first."""
    return is_on("use_proxy_protocol", config, look)


def recorded_keys(look: Look) -> dict[str, str | None] | None:
    """Give the three settings as the last install left them, while the configuration is still the same one."""
    record = look.record or {}
    keys = record.get("keys")
    is_same = (record.get("config_path"), record.get("config_sha256")) == (look.config.path, look.config.sha256)
    return {key: keys.get(key) for key in KEYS} if is_same and isinstance(keys, dict) else None


def check_config_file(look: Look, *, can_edit: bool) -> None:
    """Refuse a configuration that cannot be read as it is, in the words of who has to mend it."""
    config = look.config
    if config.state == "file" or (config.state == "missing" and not can_edit):
        return
    why, remedy = {
        "missing": ("does not exist", "Set config_path to Pomerium's configuration."),
        "unreadable": ("not readable for the user that installs", "Run as root (become: true)."),
        "hard_link": (
            "a hard link to a file of somebody else, which Pomerium's user may have put there",
            "Make it a file of its own.",
        ),
        "link": ("a symbolic link, which would be replaced by a file", "Set config_path to the file itself."),
    }.get(config.state, ("not a plain file of a sensible size", "Set config_path to Pomerium's configuration."))
    others = f" Found instead: {', '.join(config.others)}." if config.others else ""
    raise BadInput("config_path", config.path, why, remedy=f"{remedy}{others}", found=list(config.others))


def choose_probe(
    given: t.Mapping[str, t.Any], address: t.Any, port: t.Any, server_name: str | None
) -> dict[str, t.Any]:
    """Fill in where to knock and whom to ask for, where that is not given."""
    return {
        **given,
        "address": given["address"] or address,
        "port": given["port"] or port,
        "server_name": given["server_name"] or server_name,
    }


def listen_address(config_address: str, look: Look) -> tuple[str, int]:
    """Turn Pomerium's listen address (the environment's wins) into one to connect to from the host itself."""
    given = look.environment.get("ADDRESS") or config_address
    host, colon, port = given.rpartition(":")
    if not colon or not port.isdigit():
        raise BadInput("address", given, "not host:port", remedy="Set probe.address and probe.port.")
    plain = host.strip("[]")
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(plain, plain), int(port)
