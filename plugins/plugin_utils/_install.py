# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of an install: look, decide, and where something differs let the host do it.

One round trip where nothing differs, two for a renewal, three where the configuration's text is needed: its digest is
remembered on the host together with what it says about us. Private to this collection.
"""

from __future__ import annotations

import base64
import typing as t
from dataclasses import dataclass, field

from ..module_utils._errors import BadInput, UserError
from . import _decide
from ._back import ATTEMPTS, Back
from ._bundle import Bundle
from ._config import KEYS, Config
from ._outcome import Outcome, served_returns, tell_served
from ._remote import Host, Look, understood_served


@dataclass(frozen=True)
class Plan:
    """What is to be on the host. `edited` is the new configuration, None where it stays byte for byte."""

    bundle: Bundle
    keys_before: dict[str, str | None]
    keys_after: dict[str, str | None]
    config_sha256: str | None
    target: dict[str, t.Any]
    is_behind_proxy: bool
    is_recorded: bool
    carried: str = ""
    edited: bytes | None = None
    removed: list[str] = field(default_factory=list)


class Install:
    """One host and one bundle. `options` are those of the module, complete with defaults; a host that is held is
    left to `back`, save where the hold is to be lifted."""

    def __init__(
        self,
        options: t.Mapping[str, t.Any],
        host: Host,
        bundle: Bundle,
        back: Back,
        *,
        observed: Look | None = None,
    ) -> None:
        self._options = options
        self._observed = observed
        self._back = back
        self._host = host
        self._bundle = bundle
        self._place = f"{options['directory']}/{options['name']}/current"

    def run(self, *, check: bool) -> Outcome:
        """Make the host so, or say in check mode what would be done."""
        for _attempt in range(ATTEMPTS):
            look = self._look()
            if look.hold is not None and self._options["version"] != "current":
                held = self._back.settle(look, look.hold, check=check, known=[self._bundle.facts])
                if held is not None:
                    return held
                continue
            self._check(look)
            plan = self._plan(look)
            outcome = self._outcome(look, plan)
            if not check and (outcome.changes or not plan.is_recorded):
                done = self._apply(look, plan)
                if done.get("stale"):
                    continue
                served = served_returns(understood_served(done.get("served")), self._bundle.facts)
                outcome = outcome.done(done, served)
            self._warn_of_silence(look, outcome)
            return outcome
        raise UserError(
            "The configuration changes while it is being installed", name=look.config.path, remedy="Run again later."
        )

    def _warn_of_silence(self, look: Look, outcome: Outcome) -> None:
        """Say where Pomerium runs and listens nowhere that we know: no failure, since it was so before, but no host
        that works."""
        served = outcome.served
        if look.state == "running" and served is not None and served["state"] == "not_listening":
            self._host.warnings.append(
                f"Pomerium runs and nothing listens at {served['address']}:{served['port']}: it refused its "
                "certificate at its start, or listens elsewhere. See its log; probe.address and probe.port say where "
                "that is."
            )

    def _look(self) -> Look:
        """Look at the host; the first time a look of the same run will do, where there is one."""
        probe = self._options["probe"]
        look, self._observed = self._observed, None
        look = look or self._host.look(
            leaf_sha256=self._bundle.sha256,
            config_path=self._options["config_path"],
            probe={**probe, "server_name": probe["server_name"] or self._bundle.server_name},
        )
        if look.problem:
            raise UserError(look.problem)
        return look

    def _check(self, look: Look) -> None:
        _decide.check_config_file(look, can_edit=self._options["edit_config"])
        _decide.refuse_staging(look, is_test=self._bundle.is_test, options=self._options)

    def _plan(self, look: Look) -> Plan:
        """Plan from the host's record where it still holds, else from the configuration's text."""
        plan = self._plan_from_record(look) or self._plan_from_text(look)
        _decide.refuse_environment(look, plan.keys_after, authority=self._options["authority"])
        if self._options["authority"] == "auto":
            self._warn_of_authority(look, plan)
        return plan

    def _warn_of_authority(self, look: Look, plan: Plan) -> None:
        """Say where the CAs that Pomerium trusts as a client are not ours, and stay so."""
        kept = self._foreign_authority(plan.keys_after)
        if kept is not None:
            self._host.warnings.append(
                f"certificate_authority_file stays {kept}, which is not ours. With authority: always it would be "
                "ours, and carry those certificates over."
            )
        winning = look.environment.get("CERTIFICATE_AUTHORITY_FILE")
        if winning and winning != plan.keys_after["certificate_authority_file"]:
            self._host.warnings.append(
                f"CERTIFICATE_AUTHORITY_FILE ({winning}) in the environment of Pomerium wins over the configuration: "
                "the issuers of this certificate are not what it trusts."
            )

    def _plan_from_record(self, look: Look) -> Plan | None:
        record = look.record or {}
        if any(record.get(key) != value for key, value in self._circumstances(look).items()):
            return None
        try:
            keys = {key: record["keys"][key] for key in KEYS}
            probe, carried = dict(record.get("probe") or {}), str(record.get("carried") or "")
        except (KeyError, TypeError, ValueError):
            return None
        if self._options["probe"]["enabled"] and not (probe or self._options["probe"]["port"]):
            return None
        bundle = self._bundle.with_authorities(carried)
        if self._options["edit_config"] and self._wanted(keys, bundle) != keys:
            return None
        return Plan(
            bundle, keys, keys, look.config.sha256, self._target(probe.get("address"), probe.get("port")),
            is_behind_proxy=bool(probe.get("proxy_protocol")), is_recorded=True, carried=carried,
        )  # fmt: skip

    def _circumstances(self, look: Look) -> dict[str, t.Any]:
        """What a record stands on: as long as these are the same, the text says nothing new."""
        return {
            "config_path": look.config.path,
            "config_sha256": look.config.sha256,
            "names": list(self._bundle.facts.names),
            "environment": look.environment,
            "edit_config": self._options["edit_config"],
        }

    def _plan_from_text(self, look: Look) -> Plan:
        path, can_edit = look.config.path, self._options["edit_config"]
        data, digest = b"", None
        paths: dict[str, str | None] = {}
        if look.config.state == "file":
            data, digest, paths = self._host.read(config_path=path)
        config = Config(data, path)
        needed = _decide.paths_in(config)
        if not needed <= set(paths):  # the host's guess at what is a path missed one
            _data, digest, paths = self._host.read(config_path=path, paths=sorted(needed))
        if self._options["probe"]["enabled"]:
            _decide.refuse_insecure(config, look)
        shadows = _decide.find_shadows(config, look, paths, self._bundle.facts.names)
        _decide.refuse_shadows(shadows, shadowing=self._options["shadowing"], can_edit=can_edit, path=path)
        authority = self._foreign_authority(config.keys)
        if authority is not None and paths.get(authority) is None:
            self._host.warnings.append(
                f"certificate_authority_file is {authority}, which does not exist: Pomerium answers 503 for all https "
                "upstreams without a CA of their own. With authority: always it would be ours."
            )
        carried = self._carried(config, look, paths)
        bundle = self._bundle.with_authorities(carried)
        before, after, edited = config.keys, config.keys, None
        if can_edit:
            after, edited = self._edit(config, bundle, shadows)
        else:
            self._check_elsewhere(config, look)
        return Plan(
            bundle, before, after, digest, self._target_from(config, look),
            is_behind_proxy=_decide.is_behind_proxy(config, look),
            is_recorded=False, carried=carried, edited=edited, removed=[shadow.where for shadow in shadows],
        )  # fmt: skip

    def _edit(
        self, config: Config, bundle: Bundle, shadows: t.Sequence[_decide.Shadow]
    ) -> tuple[dict[str, str | None], bytes | None]:
        wanted = self._wanted(config.keys, bundle)
        edited = config.edit(
            keys=wanted,
            remove=[shadow.key for shadow in shadows if shadow.key],
            unlist=[shadow.index for shadow in shadows if shadow.index is not None],
        )
        return wanted, edited if edited != config.text.encode("utf-8") else None

    def _wanted(self, keys: t.Mapping[str, str | None], bundle: Bundle) -> dict[str, str | None]:
        return _decide.wanted_keys(keys, place=self._place, bundle=bundle, authority=self._options["authority"])

    def _carried(self, config: Config, look: Look, paths: t.Mapping[str, str | None]) -> str:
        """With `authority: always`, keep trusting whom a value that is not ours trusted."""
        if self._options["authority"] != "always":
            return ""
        found = self._foreign_authority(config.keys)
        if found is None:
            return str((look.record or {}).get("carried") or "")
        return paths.get(found) or ""

    def _foreign_authority(self, keys: t.Mapping[str, str | None]) -> str | None:
        found = keys["certificate_authority_file"]
        return None if found == f"{self._place}/ca.pem" else found

    def _check_elsewhere(self, config: Config, look: Look) -> None:
        """With edit_config: false the settings come from elsewhere; they have to point at us all the same."""
        wanted = self._wanted(config.keys, self._bundle)
        for key in KEYS[:2]:
            found = look.environment.get(key.upper()) or config.keys[key]
            if found != wanted[key]:
                raise BadInput(
                    "edit_config", False, f"{key} is {found or 'not set'}, not {wanted[key]}",
                    remedy="Set it where your settings come from, or let it be set with edit_config: true.",
                )  # fmt: skip

    def _target_from(self, config: Config, look: Look) -> dict[str, t.Any]:
        given = self._options["probe"]
        address, port = None, None
        if given["enabled"] and not (given["address"] and given["port"]):
            address, port = _decide.listen_address(config.address, look)
        return self._target(address, port)

    def _target(self, address: t.Any, port: t.Any) -> dict[str, t.Any]:
        return _decide.choose_probe(self._options["probe"], address, port, self._bundle.server_name)

    def _outcome(self, look: Look, plan: Plan) -> Outcome:
        changes = ["lift the hold"] if look.hold is not None else []
        version = look.installed.version
        if not self._has_files(look, plan.bundle) or version is None:
            version = plan.bundle.version
            changes.append(f"install version {version}")
        changed_keys = [key for key in KEYS if plan.keys_before[key] != plan.keys_after[key]]
        if changed_keys:
            changes.append(f"set {', '.join(changed_keys)}")
        changes += [f"remove {where}" for where in plan.removed]
        if not changes and not _decide.is_content(look, self._bundle.sha256, self._options):
            changes.append("make Pomerium serve it")
        if look.leftovers:
            changes.append(_decide.SWEEP)
        return Outcome(
            facts=plan.bundle.facts,
            files=list(plan.bundle.files),
            place=self._place,
            version=version,
            changes=changes,
            keys_before=plan.keys_before,
            keys_after=plan.keys_after,
            removed=plan.removed,
            config_path=look.config.path,
            version_before=look.installed.version,
            served=served_returns(look.served, self._bundle.facts),
            hold_before=look.hold,
        )

    def _has_files(self, look: Look, bundle: Bundle) -> bool:
        found, key = look.installed.files, "privkey.pem"
        wanted = {name: (file.sha256, file.mode, look.owner) for name, file in bundle.files.items()}
        if bundle.files[key].data is None and key in found and self._has_key(look):
            wanted[key] = (found[key][0], *wanted[key][1:])
        return found == wanted

    def _has_key(self, look: Look) -> bool:
        """Tell whether the host itself has the key of this certificate, whose files may differ otherwise."""
        return look.installed.sha256 == self._bundle.sha256 and look.installed.problem is None

    def _content(self, look: Look, name: str, data: bytes | None) -> str | None:
        """Give what a file is to hold, in base64; None for a key that the host has and we have not."""
        if data is None and not self._has_key(look):
            raise UserError(
                f"{name} of version {self._bundle.version} lies on other hosts only, and was not fetched from one",
                name=self._host.name,
                remedy="Run again. Where it was fetched in vain, it is said above why; without any key "
                "certificate_order: force orders anew.",
            )
        return None if data is None else base64.b64encode(data).decode()

    def _apply(self, look: Look, plan: Plan) -> dict[str, t.Any]:
        record = {**self._circumstances(look), "keys": plan.keys_after, "carried": plan.carried}
        try:
            return self._host.apply(
                leaf_sha256=self._bundle.sha256,
                config_path=look.config.path,
                config_sha256=plan.config_sha256,
                config_text=None if plan.edited is None else base64.b64encode(plan.edited).decode(),
                version=plan.bundle.version,
                files=[
                    {"name": name, "content": self._content(look, name, file.data), "mode": f"{file.mode:04o}"}
                    for name, file in plan.bundle.files.items()
                ],
                record=record,
                lift=self._options["version"] == "current",
                probe=plan.target,
                proxy_protocol=plan.is_behind_proxy,
                reload=self._options["reload"],
                keep_versions=self._options["keep_versions"],
            )
        except UserError as error:
            tell_served(error, self._bundle.facts)
            raise
