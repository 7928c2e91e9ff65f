# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A compromised host may answer anything: that is an error of this host, and nothing that it says does anything."""

from __future__ import annotations

import base64
import copy
import json
import typing as t
from types import SimpleNamespace

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.options import INFO
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._remote import LONGEST, Host, harmless

NONSENSE: list[t.Any] = [
    None, True, -1, 1e308, float("inf"), "", "x", "\x1b[2J\x1b[31m", "\ud800", "{{ lookup('pipe', 'id') }}",
    [], [[]], {}, {"ansible_facts": {"x": 1}}, ["x"] * 5000, "A" * 100_000,
    {str(number): number for number in range(5000)},
]  # fmt: skip


def places(value: t.Any, *way: t.Any) -> t.Iterator[tuple[t.Any, ...]]:
    """Name every place in an answer, the outermost first."""
    yield way
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], *way, key)


def altered(answer: dict[str, t.Any], way: tuple[t.Any, ...], value: t.Any) -> t.Any:
    if not way:
        return value
    answer = copy.deepcopy(answer)
    inner: t.Any = answer
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = value
    return answer


def is_plain(text: str) -> bool:
    return all(character.isprintable() or character in " \n\t" for character in text)


@pytest.mark.parametrize("step", ["look", "read", "apply"])
def test_whatever_stands_anywhere_in_an_answer_is_an_error_of_this_host_or_no_error(
    site: t.Any, bundle: t.Any, step: str
) -> None:
    """Every place of every answer, with each of the above in it. No other exception, no word that a terminal obeys."""
    one, answers = bundle(), {}
    execute = site.action._execute_module

    def keep(**call: t.Any) -> dict[str, t.Any]:
        answer = execute(**call)
        answers.setdefault(call["module_args"]["step"], answer)
        return t.cast("dict[str, t.Any]", answer)

    site.action._execute_module = keep
    site.install(one)
    site.pomerium.config_path.write_text(site.pomerium.original_config_text)
    keys = {"look": "look", "read": "read", "apply": "applied"}
    tried = 0
    for way in places(answers[step][keys[step]], keys[step]):
        for nonsense in NONSENSE:

            def answer(way: tuple[t.Any, ...] = way, nonsense: t.Any = nonsense, **call: t.Any) -> dict[str, t.Any]:
                asked = call["module_args"]["step"]
                good = answers[asked]
                return t.cast("dict[str, t.Any]", altered(good, way, nonsense) if asked == step else good)

            site.action._execute_module = answer
            result: dict[str, t.Any]
            try:
                result = site.install(one)
            except UserError as error:
                result = {"msg": str(error), **error.facts}
            told = harmless({**result, "warnings": site.warnings})
            json.dumps(told)
            assert is_plain(json.dumps(told, ensure_ascii=False).replace("\\n", " ")), way
            assert len(json.dumps(told)) < 20 * LONGEST
            tried += 1
    assert tried > 4 * len(NONSENSE)


@pytest.mark.parametrize(
    "key", ["failed", "msg", "warnings", "module_stdout", "module_stderr", "rolled_back", "served"]
)
def test_a_failure_may_be_any_nonsense_too(site: t.Any, bundle: t.Any, key: str) -> None:
    for nonsense in NONSENSE:
        failed = {"failed": True, "msg": "no", key: nonsense}
        site.action._execute_module = lambda failed=failed, **_call: failed
        with pytest.raises(UserError) as caught:
            site.install(bundle())
        assert is_plain(harmless(str(caught.value)))
        assert set(caught.value.facts) <= {"rolled_back", "reloaded", "served"}
        assert isinstance(caught.value.facts.get("rolled_back", True), bool)


def test_only_what_is_named_leaves_an_answer(site: t.Any, bundle: t.Any) -> None:
    """Not facts, not hosts, not what a callback or a strategy would act on."""
    execute = site.action._execute_module
    more = {
        "ansible_facts": {"ansible_python_interpreter": "/evil"}, "add_host": {"host_name": "evil"},
        "_ansible_verbose_always": True, "invocation": {"x": 1}, "ansible_included_var_files": ["/etc/shadow"],
        "deprecations": [{"msg": "x"}], "exception": "x",
    }  # fmt: skip
    site.action._execute_module = lambda **call: {**execute(**call), **more}
    options = site.options(INFO)
    host = Host(site.action, {}, {})
    host.look(**{key: options[key] for key in ("name", "directory", "service", "config_path", "probe")})
    assert (host.facts, host.warnings) == ({}, [])
    assert not set(more) & set(site.install(bundle()))


def test_warnings_of_the_host_are_texts_before_core_2_19_and_objects_since(site: t.Any) -> None:
    def told(text: t.Any) -> t.Any:
        return SimpleNamespace(event=SimpleNamespace(msg=text))

    failed = {"failed": True, "msg": "no", "warnings": ["one", told("two"), told(3), 4, None, {"event": {"msg": "5"}}]}
    site.action._execute_module = lambda **_call: failed
    host = Host(site.action, {}, {})
    with pytest.raises(UserError):
        host.read()
    assert host.warnings == ["one", "two"]


def test_more_than_a_configuration_can_be_is_not_even_parsed(site: t.Any) -> None:
    text = base64.b64encode(b"#" * (8 * 1024 * 1024 + 1)).decode()
    site.action._execute_module = lambda **_call: {"read": {"paths": {}, "config_text": text, "config_sha256": "x"}}
    with pytest.raises(UserError, match="no sense"):
        Host(site.action, {}, {}).read()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain ä € \n text", "plain ä € \n text"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("over\rwritten", "over\\rwritten"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
        (["\x1b", {"\x1b": ("\x1b", 1)}], ["\\x1b", {"\\x1b": ["\\x1b", 1]}]),
        ("x" * (LONGEST + 1), "x" * LONGEST + f" ... ({LONGEST + 1} characters)"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(said: t.Any, shown: t.Any) -> None:
    assert harmless(said) == shown
