# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command of the user's own as publisher: how it is called, and what is said when it fails, hangs or is not there."""

from __future__ import annotations

import base64
import os
import time
import typing as t
from pathlib import Path
from urllib.parse import quote

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publisher import Publisher
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers.choose import choose_publisher
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.records import merge
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

NAME = "_acme-challenge.corp.example.com"
RECORDS = merge(
    [
        (NAME, "value-1", "corp.example.com"),
        (NAME, "value-2", "*.corp.example.com"),
        ("_acme-challenge.b.example.com", "a b;'\"$HOME", "b.example.com"),
    ]
)
TOKEN = "s3cr3t/to+ken=with&signs"


class Command:
    """A shell script that a test writes, and the publisher that calls it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "publish"

    def write(self, *lines: str, first: str = "#!/bin/sh", mode: int = 0o755) -> None:
        self.path.write_text("\n".join([first, *lines, ""]))
        self.path.chmod(mode)

    def publisher(self, *arguments: str, **options: t.Any) -> Publisher:
        command = {"type": "exec", "command": [str(self.path), *arguments], "ttl": 60, "timeout": 10}
        made = choose_publisher({"publisher": {**command, **options}})
        assert made is not None
        return made

    def failure(self, **options: t.Any) -> str:
        with pytest.raises(UserError) as caught:
            self.publisher(**options).add(RECORDS[:1])
        return str(caught.value)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_it_is_called_for_each_value_as_lego_calls_it(command: Command, tmp_path: Path) -> None:
    """The final dot, the value as it is, and nothing to read from."""
    calls = tmp_path / "calls"
    command.write(f'for part; do echo "$part"; done >>{calls}', f"cat >>{calls}")
    command.publisher("--quiet").add(RECORDS)
    command.publisher("--quiet").remove(RECORDS[1:])
    values = [("present", record.name, entry) for record in RECORDS for entry in record.entries]
    values += [("cleanup", f"{NAME}.", entry) for entry in ("value-1", "value-2")]
    assert calls.read_text().splitlines() == [part for call in values for part in ("--quiet", *call)]


def test_its_environment_is_ours_with_what_is_given(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_OUTSIDE", "kept")
    monkeypatch.setenv("API_URL", "https://other.example.com")
    command.write(f'echo "$FROM_OUTSIDE $API_URL $API_VERSION $API_TOKEN" >{tmp_path}/environment')
    given = {"API_URL": "https://dns.example.com", "API_VERSION": 2}
    command.publisher(environment=given, secrets={"API_TOKEN": TOKEN}).add(RECORDS[:1])
    assert (tmp_path / "environment").read_text() == f"kept https://dns.example.com 2 {TOKEN}\n"


def test_a_failure_has_its_code_and_its_last_words_without_secrets(command: Command) -> None:
    """As they are, in base64, in an URL, and one line of a secret that has many."""
    pem = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\n-----END KEY-----\n"
    command.write(
        "for line in 1 2 3 4 5 6 7 8 9 10 11; do echo line $line; done",
        'echo "POST $API_URL?token=$API_TOKEN" >&2',
        f'echo "Authorization: {base64.b64encode(TOKEN.encode()).decode()} {quote(TOKEN, safe="")}"',
        'echo "$API_KEY" | sed -n 2p',
        "exit 3",
    )
    said = command.failure(
        environment={"API_URL": "https://dns.example.com"}, secrets={"API_TOKEN": TOKEN, "API_KEY": pem}
    )
    assert said.startswith(
        f"{command.path} present failed for _acme-challenge.b.example.com: exit code 3, it said: line 5 |"
    )
    assert (
        "line 11 | POST https://dns.example.com?token=******** | Authorization: ******** ******** | ********. " in said
    )
    assert "present _acme-challenge.b.example.com. VALUE" in said


def test_of_much_output_the_end_is_shown(command: Command) -> None:
    command.write("head -c 3000000 /dev/zero | tr '\\0' x", "echo the end", "exit 1")
    said = command.failure()
    assert "xxx" in said and "xthe end. " in said and len(said) < 2500


def test_the_first_failure_ends_it(command: Command, tmp_path: Path) -> None:
    command.write(f"echo called >>{tmp_path}/calls", "exit 1")
    with pytest.raises(UserError):
        command.publisher().add(RECORDS)
    assert (tmp_path / "calls").read_text() == "called\n"


def test_what_runs_too_long_is_ended_with_all_that_it_started(command: Command, tmp_path: Path) -> None:
    command.write("trap '' TERM", "echo waiting for the API", f"sleep 60 & echo $! >{tmp_path}/pid", "wait")
    started = time.monotonic()
    said = command.failure(timeout=1)
    assert "not done in 1 s, so it was ended, it said: waiting for the API. " in said and "publisher.timeout" in said
    assert time.monotonic() - started < 5
    pid = int((tmp_path / "pid").read_text())
    until(lambda: not is_alive(pid), what="the child to be gone")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has looked after does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_it_leaves_in_the_background_is_not_waited_for(command: Command, tmp_path: Path) -> None:
    command.write(f"sleep 5 & echo $! >{tmp_path}/pid")
    started = time.monotonic()
    command.publisher().add(RECORDS[:1])
    assert time.monotonic() - started < 4
    os.kill(int((tmp_path / "pid").read_text()), 9)


NOT_STARTED: dict[str, tuple[dict[str, t.Any], str]] = {
    "its interpreter is not there": ({"first": "#!/no/such/python"}, "what its first line names is not there"),
    "no interpreter is named": ({"first": ""}, "neither a program nor a script. Begin it with a line like #!/bin/sh"),
    "it is not executable": ({"mode": 0o644}, "not executable. Allow it"),
    "it ends itself": ({"first": "#!/bin/sh\nkill -9 $$"}, "ended by signal 9"),
}


@pytest.mark.parametrize("given", NOT_STARTED)
def test_why_a_command_does_not_run_is_said(command: Command, given: str) -> None:
    written, expected = NOT_STARTED[given]
    command.write(**written)
    assert expected in command.failure()


def test_a_command_that_is_not_there_is_said_with_the_path_that_was_searched(command: Command) -> None:
    assert (
        f"{command.path} present failed for _acme-challenge.b.example.com: not found. Give its absolute"
        in command.failure()
    )
    said = command.failure(command=["no-such-command"], environment={"PATH": "/no/such"})
    assert "no-such-command present failed" in said and "PATH, which is /no/such" in said


WRONG: dict[str, tuple[dict[str, t.Any], str]] = {
    "no command": ({"command": []}, "publisher.command '[]': no command. Give a program"),
    "an empty command": ({"command": ["", "x"]}, "publisher.command"),
    "a variable without a name": ({"environment": {"": "x"}}, "publisher.environment '': no name of a variable"),
    "a name with a sign": ({"environment": {"A=B": "x"}}, "publisher.environment 'A=B': no name of a variable"),
    "a list": ({"environment": {"A": ["x"]}}, "publisher.environment: the value of A is no text"),
    "a switch": ({"secrets": {"A": True}}, "publisher.secrets: the value of A is no text. Write it in quotes"),
    "nothing": ({"secrets": {"A": None, "B": TOKEN}}, "publisher.secrets: the value of A is no text"),
}


@pytest.mark.parametrize("given", WRONG)
def test_what_cannot_be_right_is_refused_before_anything_runs(command: Command, given: str) -> None:
    options, expected = WRONG[given]
    with pytest.raises(BadInput) as caught:
        command.publisher(**options)
    assert expected in str(caught.value) and TOKEN not in str(caught.value)
