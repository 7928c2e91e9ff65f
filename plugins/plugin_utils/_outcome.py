# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an install returns: the same keys whether something changed, would change, or was right already.

Private to this collection.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ..module_utils._errors import UserError
from ..module_utils._pki.chain import Facts, iso
from ._bundle import describe_der
from ._config import KEYS
from ._remote import Hold, SeenServed, understood_served

LIFT = "To lift the hold, install with version: current (playbook install with -e pomerium_version=current)."


@dataclass(frozen=True)
class Outcome:
    """What was found and what is different; `changes` are verb phrases, empty where all is right.

    `facts` and `files` are those of the certificate that is in use then, of version `version`.
    """

    facts: Facts
    files: t.Sequence[str]
    place: str
    version: str
    changes: list[str]
    keys_before: dict[str, str | None]
    keys_after: dict[str, str | None]
    removed: list[str]
    config_path: str
    version_before: str | None
    served: dict[str, t.Any] | None
    hold_before: Hold | None = None
    hold: Hold | None = None
    is_done: bool = False
    reloaded: str = "none"
    backup_file: str | None = None
    is_changed: bool | None = None

    def done(self, answer: t.Mapping[str, t.Any], served: dict[str, t.Any] | None) -> Outcome:
        """Take over what the host did."""
        own = {**vars(self), "is_done": True, "served": served}
        own["version"] = str(answer.get("version") or self.version)
        own["reloaded"] = str(answer.get("reloaded") or "none")
        own["backup_file"] = answer.get("backup_file")
        own["is_changed"] = bool(answer.get("changed"))
        return Outcome(**own)

    def returns(self, *, diff: bool) -> dict[str, t.Any]:
        """Give the module's return values."""
        result: dict[str, t.Any] = {
            "changed": bool(self.changes) if self.is_changed is None else self.is_changed,
            "msg": self.message,
            "config_keys": {"before": self.keys_before, "after": self.keys_after},
            "files": {name[:-4]: f"{self.place}/{name}" for name in self.files if name.endswith(".pem")},
            "version": self.version,
            "held": self.hold is not None,
            "hold": hold_returns(self.hold),
            "served": self.served,
            "reloaded": self.reloaded,
            "removed_shadowing": self.removed,
            "rolled_back": False,
            "backup_file": self.backup_file,
            "names": list(self.facts.names),
            "not_after": iso(self.facts.not_after),
        }
        if diff:
            result["diff"] = self._diff()
        return result

    @property
    def message(self) -> str:
        """What was done, would be done, or is right already."""
        until = f"{', '.join(self.facts.names)} until {iso(self.facts.not_after)}"
        served = _served_words(self.served)
        if not self.changes and not self.is_changed:
            already = f"installed already, {served}: {until}"
            return already if self.hold is None else self._held_words(self.hold, until)
        if not self.is_done:
            return f"would {'; '.join(self.changes)}"
        what = "; ".join(self.changes or ["make Pomerium serve it"])
        if self.hold is None:
            return f"installed, {served}: {until} ({what})"
        return f"done: {what}; {served}: {until}. Later installs leave this host alone. {LIFT}"

    def _held_words(self, hold: Hold, until: str) -> str:
        instead = f" instead of {hold.left}" if hold.left else ""
        return (
            f"held at version {hold.version}{instead} since {hold.since} by {hold.by}, so nothing was installed; "
            f"{_served_words(self.served)}: {until}. {LIFT}"
        )

    def _diff(self) -> dict[str, str]:
        """Show only lines that we own, so never a secret."""
        version_before = f"# version {self.version_before or 'none'}{_hold_words(self.hold_before)}"
        before = [*_lines(self.keys_before), *self.removed, version_before]
        after = [*_lines(self.keys_after), f"# version {self.version}{_hold_words(self.hold)}"]
        return {
            "before_header": self.config_path,
            "after_header": self.config_path,
            "before": "".join(f"{line}\n" for line in before),
            "after": "".join(f"{line}\n" for line in after),
        }


def _lines(keys: t.Mapping[str, str | None]) -> list[str]:
    return [f"{key}: {value}" for key, value in keys.items() if value is not None]


def _hold_words(hold: Hold | None) -> str:
    return "" if hold is None else f", held since {hold.since}"


def _served_words(served: t.Mapping[str, t.Any] | None) -> str:
    if served is None:
        return "not proven"
    where = f"{served['address']}:{served['port']}"
    return "served" if served["is_ours"] else f"{where} {served['state'].replace('_', ' ')}"


def served_returns(served: SeenServed | None, ours: Facts | None, *others: Facts) -> dict[str, t.Any] | None:
    """Say what is served as a playbook wants to know it; None where nobody looked.

    Leaves that are at hand, `ours` and `others`, did not come along.
    """
    if served is None:
        return None
    known = {facts.fingerprint_sha256: facts for facts in (ours, *others) if facts is not None}
    facts = known.get(served.sha256 or "") or describe_der(served.der)
    return {
        "state": served.state,
        "is_ours": ours is not None and served.sha256 == ours.fingerprint_sha256,
        "address": served.address,
        "port": served.port,
        "server_name": served.server_name,
        "error": served.error,
        "fingerprint_sha256": served.sha256,
        "names": list(facts.names) if facts else [],
        "not_after": iso(facts.not_after) if facts else None,
        "issuer": facts.issuer if facts else None,
    }


def tell_served(error: UserError, ours: Facts) -> None:
    """Say in an error of the host, too, what is served as a playbook wants to know it."""
    if error.facts.get("served"):
        error.facts["served"] = served_returns(understood_served(error.facts["served"]), ours)


def hold_returns(hold: Hold | None) -> dict[str, t.Any] | None:
    """Say who holds the host at which version, and since when; None where nobody does."""
    return None if hold is None else dict(vars(hold))


def would_install(what: str) -> dict[str, t.Any]:
    """Say in check mode that the certificate does not exist yet, with every return there is."""
    return {
        "changed": True,
        "msg": f"would install: {what}",
        "config_keys": {"before": dict.fromkeys(KEYS), "after": dict.fromkeys(KEYS)},
        "files": {},
        "version": None,
        "held": False,
        "hold": None,
        "served": None,
        "reloaded": "none",
        "removed_shadowing": [],
        "rolled_back": False,
        "backup_file": None,
        "names": [],
        "not_after": None,
    }
