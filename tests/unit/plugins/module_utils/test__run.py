# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The border to Ansible, through a tiny module that is run as modules are: JSON in, JSON out, or a whole playbook."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[7]
UTILS = "ansible_collections.zerotrust.pomerium.plugins.module_utils"
TINY = f"""
from {UTILS}._errors import UserError
from {UTILS}._run import run

SPEC = {{
    "text": {{"type": "str", "aliases": ["words"]}},
    "texts": {{"type": "list", "elements": "str"}},
    "size": {{"type": "int", "default": 3}},
    "typed": {{
        "type": "dict",
        "options": {{
            "a": {{"type": "str"}},
            "b": {{"type": "str", "default": "B"}},
            "more": {{"type": "dict", "options": {{"c": {{"type": "str", "no_log": True}}}}}},
        }},
    }},
    "free": {{"type": "dict"}},
    "fail": {{"type": "str"}},
    "secret": {{"type": "str", "no_log": True}},
    "file": {{"type": "path"}},
}}


def complete(params):
    if params.get("file") == "broken":
        raise UserError("The file is broken", remedy="Mend it.", where=1)
    return {{"secret": "hidden in the file", "size": "5", **params}} if "file" in params else params


def work(params, *, check, warn):
    if params.get("fail") == "user":
        facts = {{"missing_records": [1], "retry_after": None}}
        raise UserError("It broke", name="a.example", answer="no", remedy="Mend it.", **facts)
    if params.get("fail") == "bug":
        raise KeyError("a bug of ours")
    warn("take care")
    given = {{key: value for key, value in params.items() if value is not None}}
    return {{"changed": check, "given": given, "diff": {{"before": {{"a": 1}}, "after": {{"a": 2}}}}}}


def main():
    run({{"argument_spec": SPEC, "complete": complete}}, work, needs=NEEDS, python=PYTHON)


if __name__ == "__main__":
    main()
"""
HIDING = """
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {!r} else find(name, *rest)
"""


def write_tiny(path: Path, *, needs: tuple[str, ...] = (), python: tuple[int, int] = (3, 8)) -> Path:
    module = path / "tiny.py"
    module.write_text(f"NEEDS, PYTHON = {needs!r}, {python!r}\n{TINY}")
    return module


class Ran(t.NamedTuple):
    """What a module returned, and what it printed where that was no result."""

    result: dict[str, t.Any]
    printed: str


def run(module: Path, *, check: bool = False, diff: bool = False, **arguments: t.Any) -> Ran:
    """Run a module as a script, its arguments on standard input, as every core takes them."""
    modes = {"_ansible_check_mode": check, "_ansible_diff": diff}
    given = json.dumps({"ANSIBLE_MODULE_ARGS": {**arguments, **modes}})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(module)], input=given, env=environment, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return Ran(json.loads(lines[-1]) if lines else {}, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("modules"))


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_option_counts_as_not_given(tiny: Path, empty: str | None) -> None:
    """AWX passes every input of a credential, also the empty ones; a default then applies."""
    result = run(tiny, text=empty, texts=empty, size=empty, typed=empty, fail=empty).result
    assert result["given"] == {"size": 3}


def test_an_empty_alias_counts_as_not_given(tiny: Path) -> None:
    assert run(tiny, words="").result["given"] == {"size": 3}
    assert run(tiny, words="x").result["given"]["text"] == "x"


def test_empty_typed_sub_options_count_as_not_given_and_free_dictionaries_are_left_alone(tiny: Path) -> None:
    result = run(tiny, typed={"a": "", "b": ""}, free={"a": "", "b": None}).result
    assert result["given"] == {"size": 3, "free": {"a": "", "b": None}}
    assert run(tiny, typed={"a": "x", "b": ""}).result["given"]["typed"] == {"a": "x", "b": "B", "more": None}


def test_a_number_is_taken_where_text_is_meant(tiny: Path) -> None:
    """Core >= 2.19 re-types what AWX passes."""
    result = run(tiny, text=12, texts=[5, "x", True], typed={"a": 7}).result
    assert result["given"] == {
        "text": "12",
        "texts": ["5", "x", "True"],
        "size": 3,
        "typed": {"a": "7", "b": "B", "more": None},
    }


def test_a_dictionary_where_text_is_meant_is_its_json_and_masked_as_a_whole(tiny: Path) -> None:
    """Core < 2.19 makes one of JSON that comes out of a template; a JWK's "EC" would be masked wherever it stands."""
    assert run(tiny, text={"kty": "EC"}).result["given"]["text"] == '{"kty": "EC"}'
    ran = run(tiny, secret={"kty": "EC", "d": "hidden"}, text="a SECRET")
    assert ran.result["given"]["text"] == "a SECRET" and "hidden" not in ran.printed


def test_check_mode_and_warnings_reach_the_work_and_come_back(tiny: Path) -> None:
    result = run(tiny, check=True).result
    assert result["changed"] is True
    assert "take care" in json.dumps(result["warnings"])
    assert run(tiny).result["changed"] is False


def test_a_diff_is_returned_only_where_the_user_wants_to_see_it(tiny: Path) -> None:
    assert run(tiny, diff=True).result["diff"] == {"before": {"a": 1}, "after": {"a": 2}}
    assert "diff" not in run(tiny).result


def test_an_error_of_the_user_is_one_message_and_its_facts_are_returned(tiny: Path) -> None:
    ran = run(tiny, fail="user")
    assert ran.result["msg"] == "It broke for a.example: no. Mend it."
    assert (ran.result["failed"], ran.result["missing_records"], ran.result["retry_after"]) == (True, [1], None)
    assert "Traceback" not in ran.printed


def test_options_from_elsewhere_are_validated_and_masked_like_those_of_the_task(tiny: Path) -> None:
    ran = run(tiny, file="x")
    assert ran.result["given"]["size"] == 5
    assert "hidden in the file" not in ran.printed and ran.result["given"]["secret"].startswith("VALUE_SPECIFIED")
    assert run(tiny, file="x", size=7).result["given"]["size"] == 7


def test_where_they_cannot_be_read_that_is_said_without_showing_an_option(tiny: Path) -> None:
    """Which ones are secret is not known before they are validated."""
    ran = run(tiny, file="broken", secret="hidden in the task", nonsense=1)
    assert (ran.result["msg"], ran.result["where"]) == ("The file is broken. Mend it.", 1)
    assert "hidden in the task" not in ran.printed and "Traceback" not in ran.printed


@pytest.mark.parametrize("given", ["hidden in the task", 5, ["hidden in the task"]])
def test_what_is_no_dictionary_where_one_is_meant_is_said_without_showing_an_option(tiny: Path, given: t.Any) -> None:
    """AnsibleModule ends with a traceback there, and shows all options unmasked."""
    ran = run(tiny, typed={"more": given}, secret="hidden in the task")
    assert ran.result["msg"] == "more: is not a dictionary. Give a dictionary of c."
    assert "hidden" not in ran.printed and "Traceback" not in ran.printed
    ran = run(tiny, typed={"more": "c=hidden"})
    assert ran.result["given"]["typed"]["more"]["c"].startswith("VALUE_SPECIFIED") and "hidden" not in ran.printed


def test_a_bug_of_ours_keeps_its_traceback(tiny: Path) -> None:
    ran = run(tiny, fail="bug")
    assert ran.result == {}
    assert ran.printed.index("Traceback") < ran.printed.index("KeyError: 'a bug of ours'")


def test_an_old_python_is_told_with_the_interpreter_and_what_to_set(tmp_path: Path) -> None:
    message = run(write_tiny(tmp_path, python=(9, 9))).result["msg"]
    assert "needs Python >= 9.9" in message
    assert f"{sys.executable} is {sys.version_info[0]}.{sys.version_info[1]}" in message
    assert "ansible_python_interpreter" in message


@pytest.mark.parametrize("library", ["acme", "cryptography", "dns", "idna"])
def test_a_missing_library_is_told_with_its_version_the_host_and_the_interpreter(tmp_path: Path, library: str) -> None:
    """It is there, until the import system is told to know it no more."""
    module = write_tiny(tmp_path, needs=(library,))
    assert run(module).result["changed"] is False
    module.write_text(f"{HIDING.format(library)}{module.read_text()}")
    message = run(module).result["msg"]
    needed = {"acme": "acme", "cryptography": "cryptography", "dns": "dnspython", "idna": "idna"}[library]
    assert f"({needed} >= " in message
    assert sys.executable in message
    assert os.uname().nodename in message


def test_in_a_playbook_all_of_this_comes_through(tmp_path: Path) -> None:
    """As AnsiballZ runs it, with everything that it must carry along."""
    (tmp_path / "library").mkdir()
    write_tiny(tmp_path / "library")
    ends = ("user", "bug", "")
    tasks: list[dict[str, t.Any]] = [
        {"tiny": {"fail": end, "text": ""}, "ignore_errors": True, "register": f"end_{end}"} for end in ends
    ]
    results = "{{ [end_user, end_bug, end_] | to_json }}"
    tasks.append({"ansible.builtin.copy": {"content": results, "dest": str(tmp_path / "results"), "mode": "0600"}})
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT),
        "ANSIBLE_LIBRARY": str(tmp_path / "library"),
        "ANSIBLE_HOME": str(tmp_path / "home"),
    }
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local"]
    command += ["-e", f"ansible_python_interpreter={sys.executable}", str(tmp_path / "play.yml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    user, bug, fine = json.loads((tmp_path / "results").read_text())
    assert (user["msg"], user["missing_records"]) == ("It broke for a.example: no. Mend it.", [1])
    assert "Traceback" not in json.dumps(user)
    assert (bug["failed"], "a bug of ours" in json.dumps(bug)) == (True, True)
    assert fine["given"] == {"size": 3}
