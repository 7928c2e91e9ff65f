# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pomerium's configuration: read as Pomerium reads it, edited so that every byte that is not ours survives.

The parser's events give positions, the edit splices the text there, and the result is parsed again: all that is not
ours must be the same event by event. Keys are case-insensitive for Pomerium. The file holds secrets: an error says
line and column, and never quotes a word of it. ruamel.yaml is imported when needed. Private to this collection.
"""

from __future__ import annotations

import json
import re
import typing as t
import warnings
from dataclasses import dataclass

from ..module_utils._errors import BadInput

KEYS = ("certificate_file", "certificate_key_file", "certificate_authority_file")
"""The three settings. Those without `_file` take base64, not paths."""

_READ = (*KEYS, "certificate", "certificate_key", "certificates", "autocert", "insecure_server", "use_proxy_protocol")
_TRUE = ("1", "t", "true", "yes", "on")
MOST_EXPANDED = 100_000
"""What all aliases may stand for: a few lines can stand for more than any memory holds, and hosts may be hostile."""

_PLAIN = re.compile(r"/[A-Za-z0-9/._+-]*\Z")


@dataclass(frozen=True)
class Listed:
    """An entry of `certificates:`, by its place in the list; the paths are None where it has none."""

    index: int
    certificate_path: str | None
    key_path: str | None


@dataclass(frozen=True)
class _Pair:
    """A top-level key and its value in the text; `events` are those of the value."""

    name: str
    written: str
    start: int
    key_end: int
    events: tuple[t.Any, ...]

    @property
    def end(self) -> int:
        """Where its last visible character ends: block collections and empty values have no width of their own."""
        return _end_of(self.events, self.key_end)


class Config:
    """One configuration. Raises BadInput where it is not one YAML mapping in block style."""

    def __init__(self, data: bytes, path: str) -> None:
        self.path = path
        try:
            self.text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            place = _line_and_column(data[: error.start].decode("utf-8", "replace"))
            raise self._refusal("not UTF-8", *place) from None
        self._root_column = 0
        self._insert_at = len(self.text)
        self._pairs = self._parse()
        loaded = self._load()
        self.data = {str(key).lower(): value for key, value in loaded.items()}
        self._refuse_duplicates()

    @property
    def keys(self) -> dict[str, str | None]:
        """The three settings as they are now."""
        return {key: self._text(key) for key in KEYS}

    @property
    def has_inline_certificate(self) -> bool:
        """Tell whether `certificate` or `certificate_key` is set: the pair in base64."""
        return bool(self.data.get("certificate") or self.data.get("certificate_key"))

    @property
    def inline_certificate(self) -> str | None:
        """The value of `certificate`: base64 of a PEM chain."""
        return self._text("certificate")

    @property
    def listed(self) -> tuple[Listed, ...]:
        """The entries of `certificates:`."""
        items = self.data.get("certificates") or []
        if not isinstance(items, list):
            raise self._refusal_at("certificates", "certificates is not a list")
        found = []
        for index, item in enumerate(items):
            lowered = {str(key).lower(): value for key, value in item.items()} if isinstance(item, dict) else {}
            paths = (str(lowered[key]) if lowered.get(key) else None for key in ("cert", "key"))
            found.append(Listed(index, *paths))
        return tuple(found)

    def is_on(self, key: str) -> bool:
        """Tell whether a switch (`autocert`, `insecure_server`, `use_proxy_protocol`) is on."""
        return str(self.data.get(key)).lower() in _TRUE

    @property
    def address(self) -> str:
        """Where it listens, as written; Pomerium's default where it is not."""
        return self._text("address") or ":443"

    def edit(
        self, *, keys: t.Mapping[str, str | None], remove: t.Iterable[str] = (), unlist: t.Iterable[int] = ()
    ) -> bytes:
        """Set the three keys (None removes one), remove other keys, drop entries of `certificates:` by index.

        Returns the new file; raises BadInput where the text cannot be edited without touching what is not ours.
        """
        gone = {*remove, *(key for key, value in keys.items() if value is None)}
        dropped = set(unlist)
        if dropped and len(dropped) == len(self.listed):
            gone.add("certificates")
        wanted = {key: value for key, value in keys.items() if value is not None}
        edits = []
        for pair in self._pairs:
            if pair.name in gone:
                edits.append((self._line_start(pair.start), self._line_end(pair.end), ""))
            elif pair.name in wanted and self._text(pair.name) != wanted[pair.name]:
                edits.append(self._replacement(pair, wanted[pair.name]))
            elif pair.name == "certificates" and dropped:
                edits += self._without_items(pair, dropped)
        edited = self._reparsed(_spliced(self.text, edits))
        missing = {key: value for key, value in wanted.items() if key not in (pair.name for pair in self._pairs)}
        result = edited._with_new(missing) if missing else edited
        self._check(result, wanted, gone, dropped)
        return result.text.encode("utf-8")

    # Reading

    def _parse(self) -> tuple[_Pair, ...]:
        events = self._guarded(lambda yaml: list(yaml.parse(self.text)))
        if _expanded(events) > MOST_EXPANDED + len(events):
            raise self._refusal("aliases in it stand for more than they are worth", None, None)
        starts = [event for event in events if type(event).__name__ == "DocumentStartEvent"]
        if len(starts) > 1:
            mark = starts[1].start_mark
            raise self._refusal("several documents, and Pomerium reads only the first", mark.line, mark.column)
        if not starts:
            return ()
        content = events[events.index(starts[0]) + 1 : -2]
        if events[-2].explicit:
            self._insert_at = events[-2].start_mark.index
        root = content[0]
        if _is_empty(root):
            return ()
        if type(root).__name__ != "MappingStartEvent":
            raise self._refusal("not a mapping of settings", root.start_mark.line, root.start_mark.column)
        if root.flow_style:
            why = "written in flow style ({...}), which is not edited: write one setting a line"
            raise self._refusal(why, root.start_mark.line, root.start_mark.column)
        self._root_column = root.start_mark.column
        return tuple(_pairs(content[1:-1]))

    def _load(self) -> dict[t.Any, t.Any]:
        loaded = self._guarded(lambda yaml: yaml.load(self.text))
        return loaded if isinstance(loaded, dict) else {}

    def _guarded(self, work: t.Callable[[t.Any], t.Any]) -> t.Any:
        """Run the parser; what it says is reduced to a place and a reason without a word of the file."""
        from ruamel.yaml import YAML
        from ruamel.yaml.constructor import DuplicateKeyError
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they quote the file
                return work(YAML(typ="safe", pure=True))
        except DuplicateKeyError as error:
            raise self._refusal("a key that is there twice", *_place(error)) from None
        except MarkedYAMLError as error:
            problem = re.sub(r"(['\"]).{2,}\1", "...", str(error.problem or error.context or ""), flags=re.DOTALL)
            raise self._refusal(f"not YAML ({problem.partition(chr(10))[0]})", *_place(error)) from None
        except YAMLError as error:
            place = _line_and_column(self.text[: getattr(error, "position", 0)])
            raise self._refusal("not YAML (a character that is not allowed)", *place) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise self._refusal("not YAML that can be read (a malformed value)", None, None) from None

    def _refuse_duplicates(self) -> None:
        seen: dict[str, str] = {}
        for pair in self._pairs:
            if pair.name in seen and pair.name in _READ:
                raise self._refusal_at(pair.name, f"{pair.name} is there twice, in different letters")
            seen[pair.name] = pair.written

    def _text(self, key: str) -> str | None:
        value = self.data.get(key)
        return None if value is None or value == "" else str(value)

    def _refusal_at(self, name: str, why: str) -> BadInput:
        marks = [pair.start for pair in self._pairs if pair.name == name]
        return self._refusal(why, *_line_and_column(self.text[: marks[-1]] if marks else ""))

    def _refusal(self, why: str, line: int | None, column: int | None) -> BadInput:
        place = "" if line is None or column is None else f"line {line + 1}, column {column + 1}: "
        return BadInput("config_path", self.path, f"{place}{why}", remedy="Nothing was changed.")

    # Editing

    def _reparsed(self, text: str) -> Config:
        try:
            return Config(text.encode("utf-8"), self.path)
        except BadInput:
            raise self._cannot_edit() from None

    def _cannot_edit(self) -> BadInput:
        return BadInput(
            "config_path", self.path, "cannot be edited without touching other settings (anchors, merge keys?)",
            remedy=f"Set {', '.join(KEYS)} by hand and run again with edit_config: false.",
        )  # fmt: skip

    def _replacement(self, pair: _Pair, value: str) -> tuple[int, int, str]:
        first = pair.events[0]
        if _is_empty(first):
            colon = self.text.index(":", pair.key_end) + 1
            return colon, colon, f" {_scalar(value)}"
        return first.start_mark.index, pair.end, _scalar(value, getattr(first, "style", None))

    def _without_items(self, pair: _Pair, dropped: set[int]) -> list[tuple[int, int, str]]:
        first = pair.events[0]
        if type(first).__name__ != "SequenceStartEvent":
            raise self._cannot_edit()
        items = list(_nodes(pair.events[1:-1]))
        if first.flow_style:
            kept = [
                self.text[item[0].start_mark.index : _end_of(item, item[0].end_mark.index)]
                for index, item in enumerate(items)
                if index not in dropped
            ]
            return [(first.start_mark.index, pair.end, f"[{', '.join(kept)}]")]
        edits, before = [], first.start_mark.index
        for index, item in enumerate(items):
            start = item[0].start_mark.index
            dash = re.compile(r"^[ \t]*-(?=[ \t\r\n])", re.MULTILINE).search(self.text, self._line_start(before), start)
            end = _end_of(item, start)
            if index in dropped:
                edits.append((dash.start() if dash else start, self._line_end(end), ""))
            before = self._line_end(end)
        return edits

    def _with_new(self, keys: t.Mapping[str, str]) -> Config:
        """Add keys at the end; where that would become part of the last value, before the first key."""
        newline = "\r\n" if re.match(r"[^\n]*\r\n", self.text) else "\n"
        indent = " " * self._root_column
        lines = "".join(f"{indent}{key}: {_scalar(value)}{newline}" for key, value in keys.items())
        at = self._insert_at
        gap = newline if at > 0 and self.text[at - 1] not in "\n\ufeff" else ""
        places = [(at, gap + lines)]
        if self._pairs:
            places.append((self._line_start(self._pairs[0].start), lines))
        for position, inserted in places:
            try:
                result = Config(_spliced(self.text, [(position, position, inserted)]).encode("utf-8"), self.path)
            except BadInput:
                continue
            if result._foreign(set(keys)) == self._foreign(set(keys)):
                return result
        raise self._cannot_edit()

    def _check(self, result: Config, wanted: t.Mapping[str, str], gone: set[str], dropped: set[int]) -> None:
        """See that the result says what was wanted, and that nothing else is different."""
        touched = {*wanted, *gone, *(["certificates"] if dropped else [])}
        kept = [(item.certificate_path, item.key_path) for item in self.listed if item.index not in dropped]
        if (
            result._foreign(touched) != self._foreign(touched)
            or any(result._text(key) != value for key, value in wanted.items())
            or any(result.data.get(key) is not None for key in gone)
            or [(item.certificate_path, item.key_path) for item in result.listed]
            != ([] if "certificates" in gone else kept)
        ):
            raise self._cannot_edit()

    def _foreign(self, touched: set[str]) -> list[t.Any]:
        return [
            (pair.written, [_signature(event) for event in pair.events])
            for pair in self._pairs
            if pair.name not in touched
        ]

    def _line_start(self, position: int) -> int:
        """Find where the line begins, if there is only white space before; else the position itself."""
        start = self.text.rfind("\n", 0, position) + 1
        before = self.text[start:position]
        start += len(before) - len(before.lstrip("\ufeff"))
        return start if not self.text[start:position].strip() else position

    def _line_end(self, position: int) -> int:
        end = self.text.find("\n", position)
        return len(self.text) if end < 0 else end + 1


def _pairs(events: t.Sequence[t.Any]) -> t.Iterator[_Pair]:
    nodes = list(_nodes(events))
    for key, value in zip(nodes[::2], nodes[1::2]):
        first = key[0]
        written = getattr(first, "value", "") or ""
        end = _end_of(key, first.end_mark.index)
        yield _Pair(written.lower(), written, first.start_mark.index, end, value)


def _nodes(events: t.Sequence[t.Any]) -> t.Iterator[tuple[t.Any, ...]]:
    """Split a flat run of events into its nodes."""
    depth, node = 0, []
    for event in events:
        kind = type(event).__name__
        node.append(event)
        depth += kind.endswith("StartEvent")
        depth -= kind.endswith("EndEvent")
        if depth == 0:
            yield tuple(node)
            node = []


def _expanded(events: t.Iterable[t.Any]) -> int:
    """Count the events that there would be if each alias were written out."""
    known: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    total = 0
    for event in events:
        kind, anchor = type(event).__name__, getattr(event, "anchor", None)
        begun = total
        total += known.get(str(anchor), 1) if kind == "AliasEvent" else 1
        if kind.endswith("StartEvent"):
            open_nodes.append((anchor, begun))
        elif kind.endswith("EndEvent"):
            anchor, begun = open_nodes.pop()
        if anchor and kind not in ("AliasEvent", "SequenceStartEvent", "MappingStartEvent"):
            known[anchor] = total - begun
    return total


def _end_of(events: t.Iterable[t.Any], otherwise: int) -> int:
    """Find where a node's last visible character ends; a block scalar's mark lies behind its last line break."""
    end = otherwise
    for event in events:
        start, stop = event.start_mark.index, event.end_mark.index
        if getattr(event, "style", None) in ("|", ">"):
            text = event.start_mark.buffer[start:stop]
            stop = start + len(text.rstrip())
        if stop > start:
            end = max(end, stop)
    return end


def _is_empty(event: t.Any) -> bool:
    return type(event).__name__ == "ScalarEvent" and event.start_mark.index == event.end_mark.index


def _signature(event: t.Any) -> tuple[t.Any, ...]:
    parts = ("value", "anchor", "tag", "implicit", "style", "flow_style")
    return (type(event).__name__, *(getattr(event, part, None) for part in parts))


def _line_and_column(before: str) -> tuple[int, int]:
    """Say where the text ends that comes before; both count from 0, as the parser's marks do."""
    return before.count("\n"), len(before.rpartition("\n")[2])


def _place(error: t.Any) -> tuple[int | None, int | None]:
    mark = error.problem_mark or error.context_mark
    return (None, None) if mark is None else (mark.line, mark.column)


def _scalar(value: str, style: str | None = None) -> str:
    """Write a path, in the quotes that were there before."""
    if style == "'":
        return "'" + value.replace("'", "''") + "'"
    if style == '"' or not _PLAIN.match(value):
        return json.dumps(value, ensure_ascii=False)
    return value


def _spliced(text: str, edits: t.Iterable[tuple[int, int, str]]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text
