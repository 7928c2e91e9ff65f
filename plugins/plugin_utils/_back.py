# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Back to the version that was in use before, and held there; and what an install does on a host that is held.

What is needed lies on the host: neither sources nor a store, and of the configuration only the address, where the host
does not remember it. Private to this collection.
"""

from __future__ import annotations

import contextlib
import getpass
import typing as t
from datetime import datetime, timezone

from ..module_utils._errors import BadInput, UserError
from ..module_utils._pki.chain import Facts, iso
from ..module_utils._pki.names import covers
from . import _decide
from ._bundle import describe_der, expected_names, is_test_leaf, name_to_ask
from ._config import KEYS, Config
from ._outcome import Outcome, served_returns, tell_served
from ._remote import Hold, Host, Look, SeenVersion, understood_served

ATTEMPTS = 2
"""Two people may do this at the same time: the second one looks again, and finds it done."""

WARN_WITHIN = 5
"""A hold is warned of in the last fifth of its certificate's lifetime."""

_OTHERWISE = "Mend what is in use instead, or install another certificate."


class Back:
    """One host that goes back, or is held. `options` are those of the module, complete with defaults."""

    def __init__(self, options: t.Mapping[str, t.Any], host: Host, *, by: str) -> None:
        self._options = options
        self._host = host
        self._by = by
        self._now = datetime.now(timezone.utc)

    def run(self, *, check: bool) -> Outcome:
        """Go back and hold it, or say in check mode what would be done; on a host that is held nothing changes."""
        for _attempt in range(ATTEMPTS):
            look = self._host.look(
                config_path=self._options["config_path"], probe=self._options["probe"], versions=True
            )
            if look.problem:
                raise UserError(look.problem)
            outcome = self.settle(look, look.hold or self._new_hold(look), check=check, is_asked=True)
            if outcome is not None:
                return outcome
        raise UserError("Others install on this host at the same time", name=self._host.name, remedy="Run again later.")

    def settle(
        self, look: Look, hold: Hold, *, check: bool, is_asked: bool = False, known: t.Sequence[Facts] = ()
    ) -> Outcome | None:
        """Make the host follow the hold; None where it is not as it was seen any more, and nothing was done.

        A run that was killed may have left a hold that was not followed yet. One that was followed is left alone, save
        where Pomerium serves something else and this was asked for by name.
        """
        version = self._find(look, hold.version)
        facts = describe_der(version.der)
        if version.problem or facts is None:
            raise self._refused(f"version {version.name} is damaged: {version.problem or 'no certificate'}")
        changes = self._changes(look, version, facts, is_asked=is_asked)
        outcome = self._outcome(look, hold, version, facts, changes, known)
        if check or not changes:
            return self._warned(outcome)
        done = self._apply(look, hold, facts)
        if done.get("stale"):
            return None
        return self._warned(outcome.done(done, served_returns(understood_served(done.get("served")), facts)))

    def _new_hold(self, look: Look) -> Hold:
        """Choose the version that was in use before; the same certificate in other files is not another one."""
        current = look.installed.version
        leaves = [version.der for version in look.versions if version.name == current]
        before = [version for version in look.versions if version.was_used and version.der not in leaves]
        if not before:
            there = ", ".join(version.name for version in look.versions) or "none at all"
            raise self._refused(
                f"on this host there is none that was in use before {current or 'this'} (there are: {there})",
                found=[version.name for version in look.versions],
            )
        return Hold(version=before[-1].name, left=current, since=iso(self._now), by=self._by)

    def _changes(self, look: Look, version: SeenVersion, facts: Facts, *, is_asked: bool) -> list[str]:
        swept = [_decide.SWEEP] if look.leftovers else []
        if look.installed.version == version.name:
            is_unseen = look.served is None and self._options["probe"]["enabled"]
            is_content = not is_unseen and _decide.is_content(look, facts.fingerprint_sha256, self._options)
            return [] if not is_asked else [*([] if is_content else ["make Pomerium serve it"]), *swept]
        self._refuse(look, version, facts)
        return [f"go back to version {version.name} and hold it", *swept]

    def _refuse(self, look: Look, version: SeenVersion, facts: Facts) -> None:
        """Refuse to go back to what is worse than what is there."""
        if facts.not_after <= self._now:
            raise self._refused(f"the certificate of version {version.name} expired at {iso(facts.not_after)}")
        _decide.refuse_staging(look, is_test=is_test_leaf(version.der), options=self._options)
        wanted = expected_names(self._options["expect_names"])
        lost = [name for name in wanted if not any(covers(found, name) for found in facts.names)]
        if lost:
            self._host.warnings.append(f"{self._host.name}: version {version.name} does not cover {', '.join(lost)}.")

    def _find(self, look: Look, name: str) -> SeenVersion:
        for version in look.versions:
            if version.name == name:
                return version
        raise self._refused(
            f"this host is held at version {name}, which is not there any more",
            remedy="Install a certificate with version: current.",
        )

    def _refused(self, why: str, *, remedy: str = _OTHERWISE, **facts: t.Any) -> BadInput:
        return BadInput("version", self._options["version"], why, remedy=remedy, **facts)

    def _outcome(
        self,
        look: Look,
        hold: Hold,
        version: SeenVersion,
        facts: Facts,
        changes: list[str],
        known: t.Sequence[Facts],
    ) -> Outcome:
        keys = _decide.recorded_keys(look) or dict.fromkeys(KEYS)
        return Outcome(
            facts=facts,
            files=version.files,
            place=f"{self._options['directory']}/{self._options['name']}/current",
            version=version.name,
            changes=changes,
            keys_before=keys,
            keys_after=keys,
            removed=[],
            config_path=look.config.path,
            version_before=look.installed.version,
            served=served_returns(look.served, facts, *known),
            hold_before=look.hold,
            hold=hold,
        )

    def _warned(self, outcome: Outcome) -> Outcome:
        """Say that the host is held, which nobody should forget, and that the time of what is held runs out."""
        self._host.warnings.append(f"{self._host.name}: {outcome.message}")
        ends, lifetime = outcome.facts.not_after, outcome.facts.lifetime
        if ends - self._now <= lifetime / WARN_WITHIN:
            verb = "expired" if ends <= self._now else "expires"
            self._host.warnings.append(
                f"{self._host.name}: the certificate that is held {verb} at {iso(ends)}; nothing newer comes meanwhile."
            )
        return outcome

    def _apply(self, look: Look, hold: Hold, facts: Facts) -> dict[str, t.Any]:
        probe, is_behind_proxy = self._target(look, facts)
        try:
            return self._host.apply(
                leaf_sha256=facts.fingerprint_sha256,
                config_path=look.config.path,
                version=hold.version,
                hold=vars(hold),
                probe=probe,
                proxy_protocol=is_behind_proxy,
                reload=self._options["reload"],
            )
        except UserError as error:
            tell_served(error, facts)
            raise

    def _target(self, look: Look, facts: Facts) -> tuple[dict[str, t.Any], bool]:
        """Knock where the last install did; only a host that does not remember it has its configuration read."""
        given = self._options["probe"]
        recorded = (look.record or {}).get("probe")
        known = dict(recorded) if isinstance(recorded, dict) else {}
        if given["enabled"] and not (given["port"] or known.get("port")):
            data, _digest, _paths = self._host.read(config_path=look.config.path)
            config = Config(data, look.config.path)
            address, port = _decide.listen_address(config.address, look)
            known = {"address": address, "port": port, "proxy_protocol": _decide.is_behind_proxy(config, look)}
        probe = _decide.choose_probe(given, known.get("address"), known.get("port"), name_to_ask(facts.names))
        return probe, bool(known.get("proxy_protocol"))


def whoever_runs(task_vars: t.Mapping[str, t.Any]) -> str:
    """Name the person that runs this: AWX tells who started a job, elsewhere it is the user on the controller."""
    for name in ("awx_user_name", "tower_user_name"):
        if task_vars.get(name):
            return str(task_vars[name])
    with contextlib.suppress(KeyError, OSError, ImportError):  # a container's user need not have a name
        return getpass.getuser()
    return "unknown"
