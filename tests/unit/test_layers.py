# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shape of the code: imports only go down, files and functions stay small, no file tells where it was written.

From the top: modules and action plugins; `_run`, `_acme`, `_store`, `_dns/publishers` and plugin_utils; `_pki`, `_dns`
and `_host`; the plain files `module_utils/_*.py`. Every import counts, also one in a function or under TYPE_CHECKING.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from graphlib import CycleError, TopologicalSorter

ROOT = Path(__file__).absolute().parents[2]
COLLECTION = "ansible_collections.zerotrust.pomerium.plugins"

# Who may import whom, and which libraries (None: any). "root" are the plain files of module_utils, all but _run.py.
LAYERS: dict[str, set[str]] = {
    "root": set(),
    "_host": {"root"},
    "_pki": {"root"},
    "_dns": {"root"},
    "_store": {"root", "_pki"},
    "_acme": {"root", "_pki", "_dns", "_store"},
    "_dns/publishers": {"root", "_pki", "_dns"},
    "_run": {"root"},
    "plugin_utils": {"root", "_pki", "_host", "_store"},
    "filter": {"plugin_utils"},
    "doc_fragments": set(),
    "modules": {"root", "_run", "_acme", "_store", "_dns/publishers", "_pki", "_dns", "_host"},
    "action": {"root", "modules", "plugin_utils", "_acme", "_store", "_pki", "_dns", "_host"},
}
LIBRARIES: dict[str, set[str] | None] = {
    "root": set(),
    "_host": set(),
    "_pki": {"certifi", "cryptography", "idna"},
    "_dns": {"dns", "requests"},
    "_dns/publishers": {"dns", "lexicon", "requests", "tldextract", "yaml"},
    "_store": {"cryptography"},
    "_acme": {"acme", "cryptography", "josepy", "requests", "urllib3"},
    "_run": {"ansible"},
    "modules": set(),
}


def list_files() -> list[str]:
    """Return what belongs to the collection: tracked and new files that exist, relative to its root."""
    command = ["git", "-C", str(ROOT), "ls-files", "-zco", "--exclude-standard"]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\0")
    return sorted({name for name in listed if name and (ROOT / name).is_file()})


FILES = list_files()
CODE = [name for name in FILES if name.endswith(".py")]
PLUGINS = [name for name in CODE if name.startswith("plugins/")]


def parse(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


def find_layer(name: str) -> str:
    """Return the layer of a file or folder below plugins/, given as a path from the collection's root."""
    _plugins, kind, *rest = Path(name).with_suffix("").parts
    if kind != "module_utils":
        return kind
    if rest[:2] == ["_dns", "publishers"]:
        return "_dns/publishers"
    return rest[0] if rest[0] == "_run" or f"plugins/module_utils/{rest[0]}.py" not in PLUGINS else "root"


def list_imports(name: str) -> t.Iterator[str]:
    """Yield the dotted names that a file imports, `from x import y` as `x.y`, relative ones made absolute."""
    package = [*COLLECTION.split("."), *Path(name).parts[1:-1]]
    for node in ast.walk(parse(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def find_file(imported: str) -> str | None:
    """Return the file of ours that an imported name lives in, or None for a library's."""
    if not imported.startswith(f"{COLLECTION}."):
        return None
    parts = imported[len(COLLECTION) + 1 :].split(".")
    for end in (len(parts), len(parts) - 1):
        name = "/".join(["plugins", *parts[:end]]) + ".py"
        if name in PLUGINS:
            return name
    raise LookupError(f"{imported} is imported and does not exist")


def list_libraries(name: str) -> set[str]:
    tops = {imported.split(".")[0] for imported in list_imports(name) if find_file(imported) is None}
    return tops - set(sys.stdlib_module_names)


def list_own_imports(name: str) -> set[str]:
    return {found for imported in list_imports(name) if (found := find_file(imported))}


@pytest.mark.parametrize("name", PLUGINS)
def test_imports_only_go_down(name: str) -> None:
    layer = find_layer(name)
    allowed = LAYERS[layer] | {layer}
    upward = [
        f"{name} ({layer}) imports {other} ({find_layer(other)})"
        for other in list_own_imports(name)
        if find_layer(other) not in allowed
    ]
    assert not upward


def test_no_file_imports_itself_through_others() -> None:
    try:
        TopologicalSorter({name: list_own_imports(name) for name in PLUGINS}).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("name", PLUGINS)
def test_a_layer_knows_only_its_libraries(name: str) -> None:
    allowed = LIBRARIES.get(find_layer(name))
    if allowed is not None:
        assert list_libraries(name) <= allowed


def test_only_run_knows_ansible_below_the_modules() -> None:
    knowing = {
        name for name in PLUGINS if name.startswith("plugins/module_utils/") and "ansible" in list_libraries(name)
    }
    assert knowing <= {"plugins/module_utils/_run.py"}


def is_documentation(node: ast.stmt) -> bool:
    """Tell a block of documentation from code: a docstring, or text assigned to a name such as DOCUMENTATION."""
    if isinstance(node, ast.Assign):
        return (
            isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
            and node.value.value.count("\n") > 1
        )
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("name", [name for name in PLUGINS if name.startswith("plugins/modules/")])
def test_a_module_file_is_a_contract_and_one_call(name: str) -> None:
    body = parse(name).body
    assigned = [
        node.targets[0].id for node in body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    assert {"DOCUMENTATION", "EXAMPLES", "RETURN"} <= set(assigned)
    code = [node for node in body if not isinstance(node, (ast.Import, ast.ImportFrom)) and not is_documentation(node)]
    assert sum((node.end_lineno or 0) - node.lineno + 1 for node in code) <= 35


@pytest.mark.parametrize("name", CODE)
def test_a_file_can_be_read_at_one_go(name: str) -> None:
    docs = sum((node.end_lineno or 0) - node.lineno + 1 for node in parse(name).body if is_documentation(node))
    lines = (ROOT / name).read_text(encoding="utf-8").count("\n") - docs
    assert lines <= 400, "more than 400 lines of code; split it by idea"


@pytest.mark.parametrize("name", CODE)
def test_a_function_can_be_read_at_one_go(name: str) -> None:
    functions = [node for node in ast.walk(parse(name)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    long = [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > 50]
    assert not long


def test_files_are_named_after_what_they_do() -> None:
    vague = {"utils.py", "common.py", "helpers.py", "helper.py", "misc.py"}
    assert not [name for name in CODE if Path(name).name.lstrip("_") in vague]


def test_private_by_name_and_without_init_files() -> None:
    """What lies below module_utils and plugin_utils is nobody's interface; namespace packages need no __init__.py."""
    shared = [Path(name).parts[1:] for name in PLUGINS if name.split("/")[1] in ("module_utils", "plugin_utils")]
    assert not [parts for parts in shared if not parts[1].startswith("_")]
    assert not [name for name in CODE if name.endswith("__init__.py")]


def ask(*command: str) -> str:
    """Return what a tool of this machine answers, nothing where it is not there."""
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, text=True, timeout=60, cwd="/"
    ).stdout


ASK_PIP = "from pip._internal.models.index import PyPI as p; print(p.url, f'https://{p.file_storage_domain}')"


def find_folders() -> list[str]:
    """Return the folders that would tell of this machine, each ending in a slash: the checkout's and the home."""
    checkout = ROOT.parents[3] if ROOT.parts[-4:-1] == (".cache", *COLLECTION.split(".")[:2]) else ROOT
    shared = {Path(path) for path in ("/", "/home", "/opt", "/srv", "/tmp", "/usr", "/var", "/var/tmp")}
    return [f"{path}/" for path in (checkout, checkout.parent, Path.home()) if path not in shared]


def find_registries() -> list[str]:
    """Return the hosts that this machine takes its packages from, as its package managers name them."""
    settings = ask("go", "env", "GOPROXY") + ask("npm", "config", "get", "registry", "--logs-max=0")
    settings += ask(sys.executable, "-m", "pip", "config", "list") + ask(sys.executable, "-c", ASK_PIP)
    hosts = {urlsplit(url).hostname or "" for url in re.findall(r"https?://[^\s,|'\"\\]+", settings)}
    return sorted(host for host in hosts if "." in host and not host.startswith("127."))


def test_no_file_tells_of_the_machine_it_was_written_on() -> None:
    patterns = [rf"(?<![\w.)}}>*-]){re.escape(folder)}" for folder in find_folders()]
    patterns += [rf"(?<![\w.-]){re.escape(host)}(?![\w-])" for host in find_registries()]
    places = re.compile("|".join(patterns).encode())
    found = {name: places.search((ROOT / name).read_bytes()) for name in FILES}
    assert not {name: match.group().decode() for name, match in found.items() if match}
