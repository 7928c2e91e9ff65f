# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs as AWX runs them: laid out as it does, run by ansible-runner in containers, kept as events.

A job is transmitted to a worker, whose stream is processed here; of all that there is in its container, nothing comes
back but `artifacts/`.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
import threading
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import ansible_runner
import yaml
from ansible_collections.zerotrust.pomerium.tests.lab.job_container import Place
from ansible_collections.zerotrust.pomerium.tests.lab.job_layout import Credentials, Template, lay_out
from ansible_collections.zerotrust.pomerium.tests.lab.process import kill_tree, leashed
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Job:
    """A job that has ended."""

    status: str
    events: list[dict[str, t.Any]]
    directory: Path
    """All that AWX ever sees of it."""
    seconds: float

    @property
    def stdout(self) -> str:
        """What is shown of it, without colours."""
        return _COLOUR.sub("", "\n".join(event["stdout"] for event in self.events))

    @property
    def artifacts(self) -> dict[str, t.Any]:
        """What later nodes of a workflow get as variables, and notifications can say."""
        found: dict[str, t.Any] = self._end.get("artifact_data", {})
        return found

    @property
    def changed(self) -> dict[str, int]:
        """The hosts that it has changed, with how many tasks did."""
        found: dict[str, int] = self._end.get("changed", {})
        return found

    @property
    def _end(self) -> dict[str, t.Any]:
        ends = [event["event_data"] for event in self.events if event["event"] == "playbook_on_stats"]
        return t.cast("dict[str, t.Any]", ends[0] if ends else {})

    def search(self, secrets: t.Mapping[str, str]) -> dict[str, list[str]]:
        """In which of all files that are kept of it which secrets are, by what they are."""
        found = {}
        for path in sorted(path for path in self.directory.rglob("*") if path.is_file()):
            text = path.read_text(errors="replace")
            found[str(path.relative_to(self.directory))] = [what for what, form in secrets.items() if form in text]
        return {name: seen for name, seen in found.items() if seen}


class Awx:
    """Launches jobs, each with a private data directory and a container of its own."""

    def __init__(self, directory: Path, credentials: Credentials) -> None:
        self._directory, self._credentials = directory, credentials
        self._project = directory / "project"
        (self._project / ".git").mkdir(parents=True)  # a checkout
        self.jobs: list[Job] = []

    def write_playbook(self, name: str, plays: list[dict[str, t.Any]]) -> None:
        """Have a playbook in the project."""
        (self._project / name).write_text(yaml.safe_dump(plays, sort_keys=False))

    def launch(self, place: Place, template: Template, *, kill_when: t.Callable[[], bool] | None = None) -> Job:
        """Run a job to its end, or kill its container once `kill_when` is true."""
        number = len(self.jobs) + 1
        private = self._directory / f"awx_{number}"
        started = time.monotonic()
        with _container(place, number, kill_when), tempfile.TemporaryFile() as payload:
            parameters = {
                **lay_out(private, number, project=self._project, template=template, credentials=self._credentials),
                **place.parameters(number),
            }
            ansible_runner.interface.run(streamer="transmit", _output=payload, **parameters)
            payload.seek(0)
            with _worker(place, number, payload) as stream:
                done = ansible_runner.interface.run(streamer="process", quiet=True, _input=stream, **parameters)
        artifacts = private / "artifacts" / str(number)
        events = [json.loads(path.read_text()) for path in (artifacts / "job_events").glob("[0-9]*-*.json")]
        events.sort(key=lambda event: int(event["counter"]))
        self.jobs.append(Job(done.status, events, artifacts, time.monotonic() - started))
        return self.jobs[-1]


@contextlib.contextmanager
def _worker(place: Place, number: int, payload: t.IO[bytes]) -> t.Iterator[t.IO[bytes]]:
    """Run the worker of a job on what was transmitted; give what it streams back."""
    process = subprocess.Popen(
        leashed(place.command(number)),
        stdin=payload,
        stdout=subprocess.PIPE,
        env=place.environment,
        start_new_session=True,
    )
    with process:
        try:
            yield t.cast("t.IO[bytes]", process.stdout)
        except BaseException:
            kill_tree(process)
            raise


@contextlib.contextmanager
def _container(place: Place, number: int, kill_when: t.Callable[[], bool] | None) -> t.Iterator[None]:
    """Have the container of a job killed where that is wanted, and nothing left of it in any case."""

    def kill() -> None:
        if kill_when is not None:
            until(kill_when, what="the moment to kill the job", within=120)
            place.kill(number)

    threading.Thread(target=kill, daemon=True).start()
    try:
        yield
    finally:
        place.remove(number)
