# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records by a command of the user's own, called as lego's exec provider calls it. Private to this collection."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import tempfile
import typing as t

from ..._errors import BadInput, UserError
from ..publisher import Publisher
from ..records import bare
from .masking import mask

if t.TYPE_CHECKING:
    from ..records import DnsRecord

READ_OCTETS = 1 << 20
SHOWN_LINES, SHOWN_CHARACTERS = 10, 2000
"""Of what a failed command printed: so much of the end is read and searched for secrets, and so much of that is shown.

The first is larger than the second and a variable of the environment together, so that no half of a secret is shown."""


class Exec(Publisher):
    """Runs `COMMAND present|cleanup FQDN. VALUE` for each value, one after the other; `timeout` is for each call.

    That a call may be repeated, and that it touches no other value at the name, is in the command's hands.
    """

    OPTIONS: t.ClassVar[dict[str, t.Any]] = {
        "command": {"type": "list", "elements": "str"},
        "environment": {"type": "dict"},
        "secrets": {"type": "dict", "no_log": True},
    }
    REQUIRED = ("command",)

    def __init__(self, options: t.Mapping[str, t.Any]) -> None:
        super().__init__(options)
        self._command: list[str] = options["command"]
        if not self._command or not self._command[0] or "\0" in "".join(self._command):
            remedy = "Give a program and its arguments, as a list."
            raise BadInput("publisher.command", self._command, "no command", remedy=remedy)
        self._secrets = _variables(options, "secrets")
        self._environment = {**_variables(options, "environment"), **self._secrets}

    def add(self, records: t.Sequence[DnsRecord]) -> None:
        self._call_for_each("present", records)

    def remove(self, records: t.Sequence[DnsRecord]) -> None:
        self._call_for_each("cleanup", records)

    def _call_for_each(self, action: str, records: t.Sequence[DnsRecord]) -> None:
        for record in records:
            for entry in record.entries:
                self._call(action, record.name, entry)

    def _call(self, action: str, name: str, value: str) -> None:
        """Its output goes to a file: a pipe would be held open by what the command leaves in the background."""
        failed = f"{self._command[0]} {action} failed"
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    [*self._command, action, name, value],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self._environment},
                    start_new_session=True,  # a process group of its own, to be ended as a whole
                )
            except OSError as error:
                answer, remedy = self._why_not_started(error)
                raise UserError(failed, name=bare(name), answer=answer, remedy=remedy) from None
            code = _wait(process, within=self.timeout)
            if code == 0:
                return
            answer = f"exit code {code}"
            remedy = (
                f"Mend that, or try it by hand: {self._command[0]} is called with {action} {name} VALUE at the end."
            )
            if code is None:
                answer = f"not done in {self.timeout:g} s, so it was ended"
                remedy = "Find out what it waits for (it has no input), or give it longer in publisher.timeout."
            elif code < 0:
                answer = f"ended by signal {-code}"
            said = self._end_of(output)
            answer = f"{answer}, it said: {said}" if said else answer
            raise UserError(failed, name=bare(name), answer=answer, remedy=remedy)

    def _why_not_started(self, error: OSError) -> tuple[str, str]:
        program = self._command[0]
        path = {**os.environ, **self._environment}.get("PATH", os.defpath)
        if isinstance(error, FileNotFoundError) and shutil.which(program, path=path):
            return "what its first line names is not there", "Mend the line that begins with #!, or install that."
        if isinstance(error, FileNotFoundError):
            return "not found", f"Give its absolute path, or have it in PATH, which is {path}."
        if isinstance(error, PermissionError):
            return "not executable", "Allow it for the user that Ansible runs as here: chmod +x."
        if error.errno == errno.ENOEXEC:
            return "neither a program nor a script", "Begin it with a line like #!/bin/sh."
        return str(error.strerror), "Try it by hand."

    def _end_of(self, output: t.IO[bytes]) -> str:
        """Give the last lines, in one, without secrets."""
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - READ_OCTETS))
        text = mask(output.read().decode("utf-8", "replace"), self._secrets.values())
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        said = " | ".join(lines[-SHOWN_LINES:])[-SHOWN_CHARACTERS:]
        return "".join(one if one.isprintable() else " " for one in said)


def _variables(options: t.Mapping[str, t.Any], option: str) -> dict[str, str]:
    """Give a dict of variables as text. Raises BadInput that shows their names only."""
    found: dict[str, str] = {}
    for name, value in (options.get(option) or {}).items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise BadInput(f"publisher.{option}", name, "no name of a variable", remedy="Write lines 'NAME: value'.")
        if isinstance(value, bool) or not isinstance(value, (str, int, float)) or "\0" in str(value):
            why = f"the value of {name} is no text"
            raise BadInput(f"publisher.{option}", None, why, remedy="Write it in quotes, as the command wants it.")
        found[name] = str(value)
    return found


def _wait(process: subprocess.Popen[bytes], *, within: float) -> int | None:
    """Give its exit code. What is not done in time, or when we are interrupted, is ended with all it started: None."""
    try:
        return process.wait(within)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # gone already, or behind sudo
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
