# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The environment that systemd would start a unit with, put together as systemd does.

What is in there may be secret: it is for this host alone, and who calls keeps of it what may be shown.
Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import contextlib
import glob
import re
import typing as t

from .. import _files

_WORD = re.compile(r"""(?:\$'((?:\\.|[^'\\])*)'|"((?:\\.|[^"\\])*)"|[^\s])+""", re.DOTALL)
_QUOTED = re.compile(r"""\$'((?:\\.|[^'\\])*)'|"((?:\\.|[^"\\])*)\"""", re.DOTALL)
_ESCAPE = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)
_CONTROL = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

_ENTRY = re.compile(
    r"""
    [ \t\r\n]*                                              # empty lines
    (?: [#;] [^\r\n]*                                        # a comment
      | ([^=\r\n]*) =                                        # a name
        ((?: [ \t]* (?: '[^']*(?:'|\Z) | "(?:\\.|[^"\\])*(?:"|\Z) ) )*)   # quoted parts first
        [ \t]* ((?: \\(?:.|\Z) | [^\\\r\n] )*)                # then what is not
      | [^\r\n]+                                             # a line without a name is passed over
    )
    """,
    re.DOTALL | re.VERBOSE,
)
_PART = re.compile(r"""'([^']*)(?:'|\Z)|"((?:\\.|[^"\\])*)(?:"|\Z)""", re.DOTALL)


def unit_environment(shown: t.Mapping[str, str], manager: str) -> dict[str, str]:
    """Put together what `systemctl show` says of a unit, the files named there, and the manager's own environment."""
    found = _assignments(words(manager))
    passed = words(shown.get("PassEnvironment", ""))
    if passed:
        found.update({name: value for name, value in _own_environment().items() if name in passed})
    found.update(_assignments(words(shown.get("Environment", ""))))
    for line in shown.get("EnvironmentFiles", "").splitlines():
        for path in sorted(glob.glob(line.rpartition(" (ignore_errors=")[0])):
            with contextlib.suppress(OSError):  # without a '-' before its name the start fails, and says so
                found.update(parse_file(_files.read_plain(path, follow=True)[0].decode("utf-8", "replace")))
    for word in words(shown.get("UnsetEnvironment", "")):
        name, equals, value = word.partition("=")
        if not equals or found.get(name) == value:
            found.pop(name, None)
    return found


def words(text: str) -> list[str]:
    """Split what systemctl prints: words are quoted as a shell takes them, where they need to be."""
    return [_QUOTED.sub(_unquoted, match.group()) for match in _WORD.finditer(text)]


def _unquoted(match: t.Match[str]) -> str:
    return _ESCAPE.sub(_unescaped, match.group(1) or match.group(2) or "")


def _unescaped(match: t.Match[str]) -> str:
    escaped = match.group(1)
    return chr(int(escaped, 8)) if len(escaped) == 3 else _CONTROL.get(escaped, escaped)


def _assignments(entries: t.Iterable[str]) -> dict[str, str]:
    return {name: value for name, equals, value in (entry.partition("=") for entry in entries) if equals}


def _own_environment() -> dict[str, str]:
    """Give the environment of systemd itself, of which PassEnvironment= hands on."""
    try:
        data = _files.read_bytes("/proc/1/environ")
    except OSError:  # only root may
        return {}
    return _assignments(data.decode("utf-8", "replace").split("\0"))


def parse_file(text: str) -> dict[str, str]:
    """Read a file of EnvironmentFile=, as systemd.exec(5) describes it and systemd does it."""
    found = {}
    for match in _ENTRY.finditer(text):
        if match.group(1) is not None:
            quoted = "".join(
                part.group(1) if part.group(2) is None else _double_quoted(part.group(2))
                for part in _PART.finditer(match.group(2))
            )
            found[match.group(1).strip()] = quoted + _plain(match.group(3))
    return found


def _double_quoted(text: str) -> str:
    """Between these quotes a backslash stands for itself, save before what a shell would take."""
    return re.sub(r'\\(["\\`$\n])', lambda match: match.group(1).strip("\n"), text)


def _plain(text: str) -> str:
    """Take away backslashes, continued lines, and the white space at the end that has none before it."""
    kept = text.rstrip(" \t")
    if (len(kept) - len(kept.rstrip("\\"))) % 2:
        kept = text[: len(kept) + 1]
    return re.sub(r"\\(.|\Z)", lambda match: match.group(1).strip("\n"), kept, flags=re.DOTALL)
