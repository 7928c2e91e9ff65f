# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs ansible-test on the copy of the tree with a home of its own, and with the package index as its only download.

Three things stand in its way otherwise: it fetches get-pip from a site that not every network reaches (it looks in
its cache first, so a stand-in is put there); it hides the environment, and with it pip's settings, from pip (they are
written to a file); and pyenv's shims pass for interpreters that they are not (the real ones come first on PATH).
Usage: python tests/tools/run_ansible_test.py sanity|units ARGUMENTS...
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

from venvs import CACHE

COPY = CACHE / "ansible_collections" / "zerotrust" / "pomerium"
HOME = CACHE / "home"

GET_PIP = '''\
"""Stands in for get-pip: the pip that Python brings along installs what get-pip was asked for."""
import subprocess, sys
subprocess.check_call([sys.executable, "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL)
wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install"] + wanted))
'''


def write_get_pip() -> None:
    """Put the stand-in where this version of ansible-test looks, under each version of pip that it may ask for."""
    spec = importlib.util.find_spec("ansible_test._internal.python_requirements")
    if spec is None or spec.origin is None:
        sys.exit("ansible-test is not installed beside this Python; run `make venv`.")
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for version in re.findall(r"\bpip='([\d.]+)'", Path(spec.origin).read_text(encoding="utf-8")):
        (cache / f"get_pip_{version.replace('.', '_')}.py").write_text(GET_PIP, encoding="utf-8")


def write_pip_settings() -> None:
    """Give pip below the other home the settings that it has here: an index, a proxy, a CA."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    settings = dict(re.findall(r"^\S+?\.([\w-]+)=(.+)$", listed, re.MULTILINE))
    target = HOME / ".config" / "pip" / "pip.conf"
    target.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {ast.literal_eval(value)}".replace("\n", "\n    ") for name, value in settings.items()]
    target.write_text("\n".join(["[global]", *lines, ""]), encoding="utf-8")


def find_path() -> str:
    """Return PATH with this Python first, then those that pyenv holds, without pyenv's shims."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    real = [str(path) for path in sorted(pyenv.glob("versions/3.*/bin"))]
    others = [entry for entry in os.environ["PATH"].split(os.pathsep) if not entry.rstrip("/").endswith("/shims")]
    return os.pathsep.join([str(Path(sys.executable).parent), *real, *others])


def main() -> int:
    path = find_path()
    write_get_pip()
    write_pip_settings()
    environment = {**os.environ, "HOME": str(HOME), "PATH": path}
    ansible_test = str(Path(sys.executable).parent / "ansible-test")
    return subprocess.call([ansible_test, *sys.argv[1:]], cwd=COPY, env=environment)


if __name__ == "__main__":
    sys.exit(main())
