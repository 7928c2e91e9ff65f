# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publisher `lexicon`: what is refused before anybody is asked, what it makes of what lexicon says, what is masked."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import typing as t
import zipfile
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers import lexicon_child
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers.lexicon import Lexicon
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError

COLLECTION = Path(__file__).parents[6]
PUBLISHERS = "ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers"


def make(**options: t.Any) -> Lexicon:
    return Lexicon({"provider": "powerdns", "ttl": 60, "timeout": 60, **options})


def test_the_provider_that_takes_a_refusal_for_success_is_refused() -> None:
    with pytest.raises(BadInput, match="publisher.provider 'ddns': .* Use publisher.type rfc2136"):
        make(provider="ddns")


def test_a_provider_that_is_mistyped_is_named_with_those_that_are_near() -> None:
    with pytest.raises(BadInput, match=r"publisher.provider 'cloudfare': .* It knows: cloudflare"):
        make(provider="cloudfare")


def test_without_lexicon_the_interpreter_and_the_command_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as raised:
        make()
    assert f"not installed for {sys.executable}. Install it: {sys.executable} -m pip install dns-lexicon" in str(
        raised.value
    )


def test_lexicon_is_not_loaded_to_know_whether_it_is_there() -> None:
    code = f"import sys\nfrom {PUBLISHERS}.lexicon import Lexicon\n"
    code += "Lexicon({'provider': 'powerdns', 'ttl': 60, 'timeout': 60})\nprint('lexicon' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


def test_the_child_has_its_source_where_everything_is_in_a_zip(tmp_path: Path) -> None:
    """As in what Ansible sends to run a module."""
    files = [*(COLLECTION / "plugins/module_utils").rglob("*.py")]
    places = [Path("ansible_collections/zerotrust/pomerium") / path.relative_to(COLLECTION) for path in files]
    with zipfile.ZipFile(tmp_path / "module.zip", "w") as archive:
        for path, place in zip(files, places):
            archive.write(path, place)
        for package in {parent for place in places for parent in place.parents[:-1]}:
            archive.writestr(f"{package}/__init__.py", "")
    code = f"from {PUBLISHERS} import lexicon\nprint(lexicon.__file__)\nprint(lexicon._source(), end='')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "module.zip")}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    place, _newline, source = done.stdout.partition("\n")
    assert place.startswith(f"{tmp_path}/module.zip/")
    assert source == (COLLECTION / "plugins/module_utils/_dns/publishers/lexicon_child.py").read_text()


@pytest.mark.parametrize(
    "shown",
    ["a; b", '"a; b"', r'"a\; b"', '"a" "; b"', r'"a\059 b"', ' "a; b" ', 'a" "; b'],
)
def test_a_value_is_known_again_however_a_provider_writes_it(shown: str) -> None:
    assert lexicon_child.plain(shown) == "a; b"


class Provider:
    """What lexicon hands to its caller, for one name; `shows` is how values are listed."""

    def __init__(self, *values: str, shows: str = "{}", fails: bool = False) -> None:
        self.values, self.shows, self.fails = [*values], shows, fails
        self.calls: list[str] = []

    def list_records(self, rtype: str, name: str) -> list[dict[str, str]]:
        return [{"type": rtype, "name": name, "content": self.shows.format(value)} for value in self.values]

    def create_record(self, rtype: str, name: str, content: str) -> bool:
        self.calls.append(f"create {name} {content}")
        self.values.append(content)
        if self.fails:
            raise ValueError("there is one")
        return True

    def delete_record(self, identifier: None, rtype: str, name: str, content: str) -> bool:
        self.calls.append(f"delete {name} {content}")
        self.values = [value for value in self.values if self.shows.format(value) != content]
        return not self.fails


def settle(provider: Provider, *values: str, present: bool = True) -> dict[str, t.Any]:
    return lexicon_child.settle(provider, {"records": [("name.example.com", values)], "present": present})


def test_only_what_is_not_there_is_written_and_only_what_is_there_is_removed() -> None:
    provider = Provider("foreign", "a", shows='"{}"')
    assert settle(provider, "a", "b") == {}
    assert provider.calls == ["create name.example.com b"]
    assert settle(provider, "a", "c", present=False) == {}
    assert provider.calls[1:] == ['delete name.example.com "a"'], "by the value as the provider shows it"
    assert provider.values == ["foreign", "b"]


def test_an_error_does_not_count_where_all_is_as_it_should_be() -> None:
    assert settle(Provider(fails=True), "a") == {}
    assert settle(Provider("a", fails=True), "a", present=False) == {}


def test_secrets_are_masked_in_what_is_told_also_as_a_url_has_them() -> None:
    publisher = make(secrets={"auth_token": "pa ss/word", "auth_id": 12345678, "auth_key": None})
    url = "https://api.example.com/v1"
    error = f"12345678: 400 for url: {url}?user=me&sig=0a1b2c pa ss/word, pa%20ss/word, pa+ss%2Fword, pa%20ss%2Fword"
    with pytest.raises(UserError) as raised:
        publisher._judge("example.com", {"error": error}, present=True)
    masked = ", ".join(["********"] * 4)
    assert f"********: 400 for url: {url}?******** {masked}. Correct" in str(raised.value)


def test_of_a_long_answer_the_beginning_is_told_and_no_part_of_a_secret() -> None:
    with pytest.raises(UserError) as raised:
        make(secrets={"auth_token": "secret-" * 9})._judge(
            "example.com", {"error": "no\n" + "x" * 985 + "secret-" * 9 + "y" * 9000}, present=True
        )
    assert "no " + "x" * 985 in str(raised.value)
    assert "secret" not in str(raised.value).partition("x" * 985)[2].partition(". Correct")[0]
    assert len(str(raised.value)) < 1300
