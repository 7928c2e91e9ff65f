# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/FAILURES.md is the truth: its rows are all there, and what they name exists and is named where it belongs."""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).absolute().parents[2]
KEYS = [*(f"R{number}" for number in range(1, 51)), *(f"T{number}" for number in range(1, 19))]
TESTS = {str(path.relative_to(ROOT / "tests")): path for path in (ROOT / "tests").rglob("test_*.py")}


class Row(t.NamedTuple):
    """What a row says, and the tests that it names, as `path::name`."""

    words: str
    tests: frozenset[str]


def read_rows() -> list[tuple[str, Row]]:
    """Read the rows: `**R1.** What is given and then happens.` and under it one list item for each file of tests."""
    text = (ROOT / "tests/FAILURES.md").read_text(encoding="utf-8")
    _before, *parts = re.split(r"^\*\*([RT]\d+)\.\*\* ", text, flags=re.MULTILINE)
    return [(key, read_row(body.split("\n## ")[0])) for key, body in zip(parts[::2], parts[1::2])]


def read_row(body: str) -> Row:
    words, *items = re.split(r"^- ", body, flags=re.MULTILINE)
    named = [re.findall(r"`([^`]+)`", item) for item in items]
    return Row(words, frozenset(f"{path}::{name}" for path, *names in named for name in names))


def find_functions(path: Path) -> dict[str, str]:
    """Give the functions and classes of a file with their docstrings; methods as `Class.method` too."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = ast.get_docstring(node) or ""
        if isinstance(node, ast.ClassDef):
            methods = [one for one in node.body if isinstance(one, ast.FunctionDef)]
            found.update({f"{node.name}.{one.name}": "" for one in methods})
    return found


def keys_of(name: str, docstring: str) -> set[str]:
    """Tell which rows a test says to be about: `test_r7_...`, `test_R7_r9_...`, or a docstring like `R7, T2: ...`."""
    in_name = re.match(r"test_((?:[rt]\d+_)+)", name, re.IGNORECASE)
    in_docstring = re.match(r"[RT]\d+(?:(?:, | and )[RT]\d+)*\b", docstring)
    said = " ".join(match.group() for match in (in_name, in_docstring) if match)
    return {key.upper() for key in re.findall(r"(?<![a-z])[rt]\d+", said, re.IGNORECASE)}


ROWS = read_rows()


def test_every_row_is_there_once_and_in_order() -> None:
    assert [key for key, _row in ROWS] == KEYS


@pytest.mark.parametrize(("key", "row"), ROWS, ids=[key for key, _row in ROWS])
def test_the_tests_of_a_row_exist(key: str, row: Row) -> None:
    missing = []
    for test in row.tests:
        path, _colons, name = test.partition("::")
        if path not in TESTS or not name.startswith("test_") or name not in find_functions(TESTS[path]):
            missing.append(test)
    assert not missing


@pytest.mark.parametrize(("key", "row"), ROWS, ids=[key for key, _row in ROWS])
def test_a_row_without_tests_says_which_issue_brings_them(key: str, row: Row) -> None:
    assert row.tests or re.search(r"\*Issue\s\d+\*?", row.words)


def test_a_test_that_says_to_be_about_a_row_is_named_there() -> None:
    rows = dict(ROWS)
    lacking = [
        (key, f"{path}::{name}")
        for path, file in sorted(TESTS.items())
        for name, docstring in find_functions(file).items()
        if name.startswith("test_")
        for key in sorted(keys_of(name, docstring))
        if key not in rows or f"{path}::{name}" not in rows[key].tests
    ]
    assert not lacking


@pytest.mark.parametrize(("key", "row"), ROWS, ids=[key for key, _row in ROWS])
def test_the_functions_that_a_row_names_exist(key: str, row: Row) -> None:
    files = {path.stem: path for path in (ROOT / "plugins/module_utils").rglob("*.py")}
    named = re.findall(r"`(\w+)\.([\w.]+)`", row.words)
    assert not [(file, name) for file, name in named if file not in files or name not in find_functions(files[file])]


@pytest.mark.parametrize(
    ("name", "docstring", "keys"),
    [
        ("test_r7_a_limit", "", {"R7"}),
        ("test_R36_a_bad_pair", "", {"R36"}),
        ("test_r5_r7_r9_it_defers", "", {"R5", "R7", "R9"}),
        ("test_t6_r15_it_ends", "", {"T6", "R15"}),
        ("test_killed", "R2, R3. By the end of the second run.", {"R2", "R3"}),
        ("test_killed", "R13 among it: the foreign value stays.", {"R13"}),
        ("test_killed", "And so it is (T14).", set()),
        ("test_rsa_keys", "RSA, and R7.", set()),
    ],
)
def test_what_a_test_says_to_be_about_is_read_in_every_form(name: str, docstring: str, keys: set[str]) -> None:
    assert keys_of(name, docstring) == keys
