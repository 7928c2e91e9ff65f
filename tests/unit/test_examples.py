# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be pasted is valid: tasks in EXAMPLES, the README and the guides have only options and choices that exist.

The modules' documentation is the measure (sanity compares it with their argument specs), for roles it is
`meta/argument_specs.yml`. That the examples also do what they say is shown against the lab, elsewhere.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).absolute().parents[2]
COLLECTION = "zerotrust.pomerium"
MODULES = sorted((ROOT / "plugins" / "modules").glob("*.py"))
GUIDES = sorted((ROOT / "docs" / "docsite" / "rst").glob("*.rst"))
INTERNAL = {"pomerium_bundle", "pomerium_stage"}  # their examples show the module that calls them
GROUP = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["action_groups"]["acme"]
NESTED = ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always")
PLAYBOOK_VARIABLES = {"pomerium_hosts", "pomerium_serial", "pomerium_keep_going", "pomerium_become"}

Tree = t.Dict[str, t.Any]


def read_examples(path: Path) -> str:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "EXAMPLES":
            return str(ast.literal_eval(node.value))
    raise AssertionError(f"{path.name} has no EXAMPLES")


def list_readme_blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8") if (ROOT / "README.md").is_file() else ""
    return re.findall(r"^ *```ya?ml[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


def list_guide_blocks(guide: str, language: str = "yaml+jinja") -> list[str]:
    """Return what a guide of the documentation site shows in that language, block by block."""
    (path,) = [path for path in GUIDES if path.stem == guide]
    text = path.read_text(encoding="utf-8")
    start = rf"^\.\. code-block:: {re.escape(language)}\n\n"
    return [textwrap.dedent(block) for block in re.findall(rf"{start}((?:\n|  .*\n)+)", text, re.MULTILINE)]


SOURCES = {path.stem: read_examples(path) for path in MODULES}
SOURCES.update({f"README block {number}": text for number, text in enumerate(list_readme_blocks(), 1)})
for guide in GUIDES:
    blocks = list_guide_blocks(guide.stem)
    SOURCES.update({f"{guide.stem} block {number}": text for number, text in enumerate(blocks, 1)})


def walk_tasks(node: t.Any, defaults: Tree | None = None) -> t.Iterator[Tree]:
    """Yield the tasks of a list of tasks or plays, those in blocks too, with the `module_defaults` they stand under."""
    for entry in node if isinstance(node, list) else []:
        below = {**(defaults or {}), **entry.get("module_defaults", {})}
        nested = [entry[key] for key in NESTED if key in entry]
        for tasks in nested:
            yield from walk_tasks(tasks, below)
        if not nested and "hosts" not in entry and not any(key.endswith("import_playbook") for key in entry):
            yield {**entry, "module_defaults": below}


def read_options(task: Tree) -> t.Any:
    """Return what a task hands its module, defaults for the module and for our action group included."""
    action, defaults = find_action(task), task["module_defaults"]
    if not isinstance(task[action], dict):
        return task[action]
    group = defaults.get(f"group/{COLLECTION}.acme", {}) if action.split(".")[-1] in GROUP else {}
    return {**group, **defaults.get(action, {}), **task[action]}


def find_action(task: Tree) -> str:
    actions = [key for key in task if "." in key]
    assert len(actions) == 1, f"one module by its full name, not {actions}, in {task.get('name', task)!r}"
    return actions[0]


def is_here(action: str) -> bool:
    """Tell whether a module is ours or Ansible's; those of other collections are not installed for the tests."""
    return action.startswith((f"{COLLECTION}.", "ansible.builtin."))


@pytest.fixture(scope="session")
def documented() -> dict[str, Tree]:
    """Return the options of every module that an example calls, by full name, doc fragments merged in."""
    called = {find_action(task) for text in SOURCES.values() for task in walk_tasks(yaml.safe_load(text))}
    called = {action for action in called if is_here(action)}
    called |= {f"{COLLECTION}.{path.stem}" for path in MODULES}
    command = [str(Path(sys.executable).parent / "ansible-doc"), "--json", "--type", "module", *sorted(called)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert not called - set(found), "called by an example, and unknown here"
    return {name: entry["doc"].get("options", {}) for name, entry in found.items()}


def check_options(given: t.Any, options: Tree, where: str) -> t.Iterator[str]:
    """Yield what is wrong with a dict of options, and with the dicts below it."""
    by_name = {alias: option for name, option in options.items() for alias in (name, *option.get("aliases", []))}
    if not isinstance(given, dict):
        yield f"{where}: options are a dict, not {given!r}"
        return
    for name in sorted(set(given) - set(by_name)):
        yield f"{where}: {name} is no option"
    for name, option in options.items():
        if option.get("required") and not {name, *option.get("aliases", [])} & set(given):
            yield f"{where}: {name} is missing"
    for name in set(given) & set(by_name):
        yield from check_value(given[name], by_name[name], f"{where}: {name}")


def check_value(value: t.Any, option: Tree, where: str) -> t.Iterator[str]:
    if isinstance(value, str) and "{{" in value:
        return
    values = value if isinstance(value, list) else [value]
    choices = option.get("choices")
    yield from (f"{where}: {one!r} is none of {list(choices)}" for one in values if choices and one not in choices)
    if option.get("suboptions"):
        for one in values:
            yield from check_options(one, option["suboptions"], where)


@pytest.mark.parametrize("source", SOURCES)
def test_tasks_have_only_options_that_exist(source: str, documented: dict[str, Tree]) -> None:
    wrong: list[str] = []
    for task in walk_tasks(yaml.safe_load(SOURCES[source])):
        action, given = find_action(task), read_options(task)
        if is_here(action) and isinstance(given, dict) and "free_form" not in documented[action]:
            wrong += check_options(given, documented[action], f"{task.get('name')}: {action}")
    assert not wrong


@pytest.mark.parametrize("module", [path.stem for path in MODULES if path.stem not in INTERNAL])
def test_every_module_shows_itself(module: str) -> None:
    actions = [find_action(task) for task in walk_tasks(yaml.safe_load(SOURCES[module]))]
    assert f"{COLLECTION}.{module}" in actions


def list_role_variables() -> set[str]:
    """Return the variables of our roles and playbooks, as their argument specs name them."""
    known = set(PLAYBOOK_VARIABLES)
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        known |= {option for spec in specs.values() for option in spec.get("options", {})}
    return known


def walk_variables(node: t.Any) -> t.Iterator[str]:
    """Yield variables that look like ours: keys anywhere in an inventory or group_vars, `vars` of plays and tasks."""
    for entry in node if isinstance(node, list) else []:
        yield from walk_variables(entry.get("vars", {}))
    if isinstance(node, dict):
        yield from (key for key in node if re.match(r"(certificate|pomerium)_[a-z]", str(key)))
        for value in node.values():
            yield from walk_variables(value if isinstance(value, dict) else None)


@pytest.mark.parametrize("source", SOURCES)
def test_variables_are_those_of_the_roles(source: str) -> None:
    assert not set(walk_variables(yaml.safe_load(SOURCES[source]))) - list_role_variables()


@pytest.mark.parametrize("source", SOURCES)
def test_playbooks_and_roles_exist(source: str) -> None:
    tree = yaml.safe_load(SOURCES[source])
    plays = [entry for entry in tree if isinstance(entry, dict)] if isinstance(tree, list) else []
    playbooks = [str(value) for play in plays for key, value in play.items() if key.endswith("import_playbook")]
    roles = [
        role.get("role", role.get("name")) if isinstance(role, dict) else role
        for play in plays
        for role in play.get("roles", [])
    ]
    ours = [f"playbooks/{name.split('.')[-1]}.yml" for name in playbooks if name.startswith(f"{COLLECTION}.")]
    ours += [f"roles/{name.split('.')[-1]}/tasks/main.yml" for name in roles if str(name).startswith(f"{COLLECTION}.")]
    assert not [name for name in ours if not (ROOT / name).is_file()]
