# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options from a file: what the task gives is stronger, what is empty is not given, and no error quotes the file."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput
from ansible_collections.zerotrust.pomerium.plugins.module_utils._option_file import complete_from_file

OPTIONS: dict[str, t.Any] = {
    "url": {"type": "str"},
    "key_path": {"type": "path", "aliases": ["key_src"]},
    "key_content": {"type": "str", "no_log": True},
    "binding": {"type": "dict", "options": {"kid": {"type": "str"}, "key": {"type": "str"}}},
    "timeout": {"type": "int", "default": 45},
}
SECRET = "s3cret-of-the-file"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "account.json"


def complete(path: Path, content: t.Any = None, **given: t.Any) -> dict[str, t.Any]:
    """What a task gets that names this file, with this content, and gives some options itself."""
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    params = {"file": str(path), **given}
    done = complete_from_file(params, option="file", options=OPTIONS, exclusive=[("key_path", "key_content")])
    return {name: value for name, value in done.items() if name != "file"}


def test_without_a_file_nothing_is_added() -> None:
    assert complete_from_file({"url": "x"}, option="file", options=OPTIONS) == {"url": "x"}


def test_what_stands_in_the_file_is_as_if_the_task_had_given_it(path: Path) -> None:
    content = {"url": "x", "key_content": SECRET, "binding": {"kid": "1", "key": SECRET}, "timeout": 3}
    assert complete(path, content, own=1) == {"own": 1, **content}


def test_an_option_of_the_task_beats_the_file(path: Path) -> None:
    assert complete(path, {"url": "file", "timeout": 3}, url="task") == {"url": "task", "timeout": 3}


@pytest.mark.parametrize("given", ["key_path", "key_src"])
@pytest.mark.parametrize("name", ["key_content", "key_path", "key_src"])
def test_an_option_of_the_task_beats_what_excludes_it_in_the_file_also_by_an_alias(
    path: Path, given: str, name: str
) -> None:
    assert complete(path, {name: "file"}, **{given: "task"}) == {given: "task"}


def test_an_alias_in_the_file_becomes_the_option(path: Path) -> None:
    assert complete(path, {"key_src": "/x"}) == {"key_path": "/x"}


@pytest.mark.parametrize("empty", ["", None])
def test_what_is_empty_in_the_file_is_not_given(path: Path, empty: str | None) -> None:
    """A credential of AWX writes all of its inputs, also the empty ones."""
    content = {"url": empty, "key_path": empty, "timeout": empty, "binding": {"kid": empty, "key": empty}}
    assert complete(path, {**content, "key_content": SECRET}) == {"key_content": SECRET}


def test_an_object_where_text_is_meant_is_its_json(path: Path) -> None:
    """A JWK is an object, and may stand in the file as one."""
    assert complete(path, {"key_content": {"kty": "EC"}}) == {"key_content": '{"kty": "EC"}'}


def test_a_path_may_begin_at_home(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(path.parent))
    path.write_text('{"url": "x"}')
    done = complete_from_file({"file": "~/account.json"}, option="file", options=OPTIONS)
    assert done["url"] == "x"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (f'{{"url": "{SECRET}"', "is not JSON .line 1, column"),
        (SECRET, "is not JSON .line 1, column 1"),
        (f'["{SECRET}"]', "holds no JSON object"),
        (f'"{SECRET}"', "holds no JSON object"),
        ({"key_contents": SECRET}, "unknown key 'key_contents'.*url, key_path, key_src, key_content"),
        ({"file": SECRET}, "unknown key 'file'"),
        ({"binding": {"kid": "1", "hmac": SECRET}}, "unknown key 'hmac' in binding. There may be: kid, key"),
    ],
)
def test_a_file_that_is_of_no_use_is_named_with_its_key_and_never_quoted(path: Path, content: t.Any, why: str) -> None:
    with pytest.raises(BadInput, match=f"file '{path}': .*{why}") as caught:
        complete(path, content)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_file_that_cannot_be_read_is_named_with_the_reason(path: Path) -> None:
    with pytest.raises(BadInput, match=f"file '{path}': no such file"):
        complete(path)
    os.mkdir(path)
    with pytest.raises(BadInput, match=f"file '{path}': cannot be read .Is a directory"):
        complete(path)


def test_a_file_that_is_no_text_is_not_quoted_either(path: Path) -> None:
    path.write_bytes(b"\xff\xfe" + SECRET.encode())
    with pytest.raises(BadInput, match="is not JSON") as caught:
        complete(path)
    assert SECRET not in str(caught.value)
