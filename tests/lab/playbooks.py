# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run ansible-playbook as a user would, apart from the user's own Ansible settings, and give back what it printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.process import kill_tree, leashed, plain_environment

_RECORD = re.compile(r"([\w.*-]+\.  \d+  IN  TXT  [\w-]+)")


@dataclass(frozen=True)
class PlaybookRun:
    """How one run of ansible-playbook ended."""

    command: list[str]
    rc: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    @property
    def record_lines(self) -> list[str]:
        """The TXT records that it printed for a person, each once, in order, as lines of a zone file."""
        return record_lines(self.stdout)

    def stats(self, host: str) -> dict[str, int]:
        """The counters of the recap for one host: ok, changed, unreachable, failed and so on."""
        recap = re.search(rf"^{re.escape(host)}\s*:(.*)$", self.stdout, re.MULTILINE)
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", recap[1] if recap else "")}


def record_lines(output: str) -> list[str]:
    """The TXT record lines in an output, each once, just as they were printed."""
    return list(dict.fromkeys(_RECORD.findall(output)))


class Ansible:
    """ansible-playbook of this Python's environment, with a home, a configuration and an inventory of the lab's own."""

    def __init__(self, directory: Path, *, collections: Path, inventory_path: Path, vars_path: Path) -> None:
        self.home = directory / "ansible"
        self.home.mkdir(parents=True, exist_ok=True)
        self._collections = collections
        self.inventory_path, self.vars_path = inventory_path, vars_path
        (self.home / "ansible.cfg").write_text("[defaults]\n")

    @property
    def environment(self) -> dict[str, str]:
        """No ANSIBLE_ variable of the caller gets in; HOME is the lab's, so that nothing gets out."""
        return {
            **plain_environment(),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "HOME": str(self.home),
            "ANSIBLE_HOME": str(self.home / ".ansible"),
            "ANSIBLE_CONFIG": str(self.home / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(self._collections),
            "ANSIBLE_NOCOLOR": "1",
        }

    def command(self, playbook: str | Path, *arguments: str) -> list[str]:
        """The command line: inventory and variables of the lab first, so that later arguments beat them."""
        program = Path(sys.executable).with_name("ansible-playbook")
        own = ["-i", str(self.inventory_path), "-e", f"@{self.vars_path}"]
        return [str(program), *own, *arguments, str(playbook)]

    def run(
        self, playbook: str | Path, *arguments: str, env: t.Mapping[str, str] | None = None, timeout: float = 300
    ) -> PlaybookRun:
        """Run a playbook by its name (`zerotrust.pomerium.site`) or path; raises TimeoutError with its output."""
        command = self.command(playbook, *arguments)
        started = time.monotonic()
        process = subprocess.Popen(
            leashed(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self.environment, **(env or {})},
            cwd=self.home,
            start_new_session=True,  # Ctrl-C is for the lab
        )
        with process:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except BaseException as error:
                kill_tree(process)
                stdout, stderr = process.communicate()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise TimeoutError(f"{' '.join(command)}: not done in {timeout:g} s\n{stdout}{stderr}") from None
                raise
        return PlaybookRun(command, process.returncode, stdout, stderr, time.monotonic() - started)
