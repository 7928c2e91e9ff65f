# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The border to Ansible, through a real module run as Ansible runs one: JSON in, JSON out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[7]


def run(module: str, **arguments: t.Any) -> subprocess.CompletedProcess[str]:
    """Run a module in a process of its own by the way that works on every core: ansible's ad-hoc command."""
    command = [
        str(Path(sys.executable).with_name("ansible")),
        "localhost",
        *("-m", f"zerotrust.pomerium.{module}", "-a", json.dumps(arguments)),
        *("-e", f"ansible_python_interpreter={sys.executable}"),
    ]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT),
        "ANSIBLE_LOAD_CALLBACK_PLUGINS": "1",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.oneline",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
    }
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_an_empty_option_counts_as_not_given() -> None:
    """AWX passes every input of a credential, also the empty ones."""
    done = run("acme_account_info", account_key_path="", account_key_content="", ca_path="")
    assert "one of the following is required: account_key_path, account_key_content" in done.stdout


def test_an_empty_sub_option_counts_as_not_given() -> None:
    done = run(
        "acme_account_info",
        account_key_path="/nowhere/account.pem",
        external_account_binding={"kid": "", "key": "", "alg": ""},
        acme_directory="https://127.0.0.1:1/",
    )
    assert "there is no account key" in done.stdout
    assert "external_account_binding" not in done.stdout


def test_an_error_of_the_user_is_one_message_without_a_traceback() -> None:
    done = run("acme_account_info", account_key_path="/nowhere/account.pem", acme_directory="ftp://ca.example/")
    assert "acme_directory 'ftp://ca.example/': not an https:// URL" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("library", ["acme", "dns"])
def test_a_missing_library_is_named_with_the_interpreter(tmp_path: Path, library: str) -> None:
    """A Python that has Ansible's own needs and none of ours."""
    code = f"""
import sys, importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {library!r} else find(name, *rest)
from ansible.module_utils import basic
from ansible_collections.zerotrust.pomerium.plugins.module_utils import _run
_run._Module.fail_json = lambda self, msg, **facts: sys.exit("said: " + msg)
_run._Module._load_params = lambda self: setattr(self, "params", {{}})
_run._Module.__init__ = lambda self, **spec: None
_run.run({{}}, None, needs=("cryptography", {library!r}))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert f"({'acme' if library == 'acme' else 'dnspython'} >= " in done.stderr
    assert sys.executable in done.stderr
