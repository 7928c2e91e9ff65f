# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's half, as the controller calls it: one module execution a step, answers taken apart with distrust.

Only what is named here leaves an answer: not `invocation`, not a host's own facts. A call that carries the key or the
configuration's text tells the connection not to log it, since -vvv would print it. Private to this collection.
"""

from __future__ import annotations

import base64
import contextlib
import re
import typing as t
from dataclasses import dataclass

from ..module_utils import _files
from ..module_utils._errors import UserError

MODULE = "zerotrust.pomerium.pomerium_bundle"
_FACTS = {"rolled_back": bool, "reloaded": str, "served": dict}
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""What a terminal obeys instead of showing it: control characters, and marks that turn the direction of writing."""
LONGEST = 20_000
MOST = 1_000


@dataclass(frozen=True)
class SeenConfig:
    """The configuration file: `state` is file, missing, link, hard_link, unreadable or other."""

    path: str
    state: str
    sha256: str | None
    others: tuple[str, ...]


@dataclass(frozen=True)
class SeenServed:
    """What a handshake on the host showed; `der` is empty where the leaf is the one that we have at hand."""

    state: str
    sha256: str | None
    der: bytes
    error: str
    address: str
    port: int
    server_name: str | None


@dataclass(frozen=True)
class SeenInstalled:
    """What `current` holds: for each file its digest, mode and owner; `problem` says why key and leaf do not fit."""

    version: str | None
    files: dict[str, tuple[str, int, tuple[int, ...]]]
    sha256: str | None
    der: bytes
    problem: str | None


@dataclass(frozen=True)
class SeenVersion:
    """A version that lies on the host: whether it was ever in use, and why it could not be (None: it could)."""

    name: str
    was_used: bool
    files: tuple[str, ...]
    der: bytes
    problem: str | None


@dataclass(frozen=True)
class Hold:
    """An operator's word that the host stays at `version`: the one that was in use then, since when, by whom."""

    version: str
    left: str | None
    since: str
    by: str


@dataclass(frozen=True)
class Look:
    """One host as it is; `versions` in the order of their use, the one in use last, where they were asked for or one
    is held."""

    state: str
    unit: str | None
    pid: int | None
    process_config_path: str | None
    environment: dict[str, str | None]
    config: SeenConfig
    installed: SeenInstalled
    leftovers: tuple[str, ...]
    hold: Hold | None
    versions: tuple[SeenVersion, ...]
    owner: tuple[int, ...]
    problem: str | None
    record: dict[str, t.Any] | None
    served: SeenServed | None

    @property
    def is_startable(self) -> bool:
        """Tell whether Pomerium is down through no operator's wish."""
        return self.state in ("failed", "never_started")


class Host:
    """The host of this task, with its variables; `base` are the arguments that every step gets."""

    def __init__(self, action: t.Any, task_vars: dict[str, t.Any], base: t.Mapping[str, t.Any]) -> None:
        self._action = action
        self.task_vars = task_vars
        self._base = dict(base)
        self.warnings: list[str] = []
        self.facts: dict[str, t.Any] = {}

    @property
    def name(self) -> str:
        """The host's name in the inventory."""
        return str(self.task_vars.get("inventory_hostname") or "this host")

    def look(self, **arguments: t.Any) -> Look:
        """See process, configuration, what is installed and what is served: no secret, no change."""
        return understood_look(self.look_answer(**arguments))

    def look_answer(self, **arguments: t.Any) -> t.Any:
        """Give a look as the host said it, for somebody who keeps it for `understood_look`."""
        return self._call("look", is_secret=False, **arguments).get("look")

    def read(self, **arguments: t.Any) -> tuple[bytes, str, dict[str, str | None]]:
        """Fetch the configuration's text with its digest, and the certificates in the files that it names."""
        answer = self._call("read", is_secret=True, **arguments).get("read")
        return _understood(_read, answer)

    def apply(self, **arguments: t.Any) -> dict[str, t.Any]:
        """Install; the answer's `stale` says that the host is not as it was seen and nothing was done."""
        return _understood(dict, self._call("apply", is_secret=True, **arguments).get("applied"))

    def stage(self, **arguments: t.Any) -> bool:
        """Have the host keep what is pending, and only that; tell whether that was new."""
        return bool(self._call("stage", is_secret=True, **arguments).get("changed"))

    def fetch(self, **arguments: t.Any) -> list[bytes]:
        """Get the keys that are asked for, as far as the host has them."""
        return _understood(_keys, self._call("fetch", is_secret=True, **arguments).get("fetched"))

    def _call(self, step: str, *, is_secret: bool, **arguments: t.Any) -> dict[str, t.Any]:
        given = {**self._base, **arguments, "step": step}
        module_args = {key: value for key, value in given.items() if value is not None}
        with self._not_logged() if is_secret else contextlib.nullcontext():
            result = self._action._execute_module(module_name=MODULE, module_args=module_args, task_vars=self.task_vars)
        key = self._action._discovered_interpreter_key  # handed on, or every task would discover it again
        if key is not None:
            self.facts[key] = self._action._discovered_interpreter
        warnings = result.get("warnings")
        if isinstance(warnings, list):
            said = (_warning(item) for item in warnings[:MOST])
            self.warnings += [str(text) for text in said if isinstance(text, str)]
        if result.get("failed"):
            raise _failure(result)
        return t.cast("dict[str, t.Any]", result)

    @contextlib.contextmanager
    def _not_logged(self) -> t.Iterator[None]:
        """The connection's own context counts; the action's `_play_context` is another object."""
        context = self._action._connection._play_context
        before, context.no_log = context.no_log, True
        try:
            yield
        finally:
            context.no_log = before


def _warning(item: t.Any) -> t.Any:
    """Give the text of a warning: core >= 2.19 makes an object of it, of a class private to core."""
    return item if isinstance(item, str) else getattr(getattr(item, "event", None), "msg", None)


def harmless(value: t.Any) -> t.Any:
    """Make text that a host had a say in harmless for terminals and logs, all the way down: nothing that is obeyed and
    not shown is left save the line break, and nothing is longer than a person reads."""
    if isinstance(value, str):
        shown = value if len(value) <= LONGEST else f"{value[:LONGEST]} ... ({len(value)} characters)"
        return _UNSEEN.sub(lambda match: match.group().encode("unicode_escape", "surrogatepass").decode(), shown)
    if isinstance(value, dict):
        return {harmless(key): harmless(item) for key, item in value.items()}
    return [harmless(item) for item in value] if isinstance(value, (list, tuple)) else value


def _failure(result: t.Mapping[str, t.Any]) -> UserError:
    """Turn a failed step into our error; one without a word of ours is most often a Python that is too old."""
    message = str(result.get("msg") or "no answer")[:LONGEST]
    facts = {key: result[key] for key, kind in _FACTS.items() if isinstance(result.get(key), kind)}
    if "module_stdout" in result:  # it never came as far as to answer
        last = str(result.get("module_stderr") or "").strip().splitlines()[-1:]
        return UserError(
            "The host's half did not run",
            answer=f"{message.splitlines()[0]} {' '.join(last)}".strip(),
            remedy="A Pomerium host needs Python >= 3.8; set ansible_python_interpreter where it has several.",
        )
    return UserError(message, **facts)


T = t.TypeVar("T")


def _understood(parse: t.Callable[[t.Any], T], answer: t.Any) -> T:
    """Take an answer apart; a host that talks nonsense is an error of this host alone."""
    try:
        return parse(answer)
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError("The host gave an answer that makes no sense", answer=type(error).__name__) from error


def understood_look(answer: t.Any) -> Look:
    """Take a look apart. Raises UserError where it is nonsense."""
    return _understood(_look, answer)


def _keys(answer: t.Any) -> list[bytes]:
    return [_bytes(answer[kind]) for kind in ("leaf", "order") if answer[kind] is not None]


def _look(answer: t.Any) -> Look:
    process, config, installed = answer["process"], answer["config"], answer["installed"]
    files = {
        str(name): (str(seen["sha256"]), int(seen["mode"]), tuple(int(number) for number in seen["owner"]))
        for name, seen in _few(installed["files"].items())
    }
    return Look(
        state=str(process["state"]),
        unit=_text(process["unit"]),
        pid=None if process["pid"] is None else int(process["pid"]),
        process_config_path=_text(process["config_path"]),
        environment={str(name): _text(value) for name, value in _few(process["environment"].items())},
        config=SeenConfig(
            path=str(config["path"]),
            state=str(config["state"]),
            sha256=_text(config["sha256"]),
            others=tuple(str(other) for other in _few(config["others"])),
        ),
        installed=SeenInstalled(
            version=_text(installed["version"]),
            files=files,
            sha256=_text(installed["sha256"]),
            der=_bytes(installed["der"]),
            problem=_text(installed["problem"]),
        ),
        leftovers=tuple(str(path) for path in _few(answer["leftovers"])),
        hold=None if answer["hold"] is None else _hold(answer["hold"]),
        versions=tuple(_version(version) for version in _few(answer["versions"])),
        owner=tuple(int(number) for number in answer["owner"]),
        problem=_text(answer["problem"]),
        record=None if answer["record"] is None else _record(answer["record"]),
        served=None if answer["served"] is None else parse_served(answer["served"]),
    )


def _record(answer: t.Any) -> dict[str, t.Any]:
    """Take over what the host remembers, which is compared, and sent back; only the settings are shown."""
    record = dict(answer)
    if isinstance(record.get("keys"), dict):
        record["keys"] = {str(key): _text(value) for key, value in _few(record["keys"].items())}
    return record


def _hold(answer: t.Any) -> Hold:
    return Hold(str(answer["version"]), _text(answer["left"]), str(answer["since"]), str(answer["by"]))


def _version(answer: t.Any) -> SeenVersion:
    return SeenVersion(
        name=str(answer["version"]),
        was_used=bool(answer["was_used"]),
        files=tuple(str(name) for name in _few(answer["files"])),
        der=_bytes(answer["der"]),
        problem=_text(answer["problem"]),
    )


def parse_served(answer: t.Any) -> SeenServed:
    """Take apart what a host says that is served."""
    return SeenServed(
        state=str(answer["state"]),
        sha256=_text(answer["sha256"]),
        der=_bytes(answer["der"]),
        error=str(answer["error"] or ""),
        address=str(answer["address"]),
        port=int(answer["port"]),
        server_name=_text(answer["server_name"]),
    )


def understood_served(answer: t.Any) -> SeenServed | None:
    """As `parse_served`, for an answer that may be none, and with nonsense turned into our error."""
    return None if answer is None else _understood(parse_served, answer)


def _read(answer: t.Any) -> tuple[bytes, str, dict[str, str | None]]:
    paths = {str(path): _text(pem) for path, pem in answer["paths"].items()}
    data = _bytes(answer["config_text"])
    if len(data) > _files.LARGEST:
        raise ValueError("too much")
    return data, str(answer["config_sha256"]), paths


def _few(items: t.Iterable[T]) -> list[T]:
    """Take no more than any host has."""
    found = list(items)
    if len(found) > MOST:
        raise ValueError("too many")
    return found


def _text(value: t.Any) -> str | None:
    return None if value is None else str(value)


def _bytes(value: t.Any) -> bytes:
    return base64.b64decode(str(value)) if value else b""
