# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records by the API of a DNS provider, through dns-lexicon. Private to this collection."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
import pkgutil
import re
import signal
import stat
import subprocess
import sys
import tempfile
import typing as t
from urllib.parse import quote

from ..._errors import BadInput, UserError
from ..._files import make_directory
from ..._lock import hold_lock
from ..publisher import Publisher
from ..records import bare
from . import lexicon_child
from .masking import MASK, mask

if t.TYPE_CHECKING:
    from importlib.abc import InspectLoader

    from ..records import DnsRecord

SHOWN_CHARACTERS = 1000
"""Of what a provider says; what is cut off is cut after secrets are masked, so that no half of one is shown."""


class Lexicon(Publisher):
    """Has lexicon write, in a process of its own that can be killed: hardly one of its providers has a time-out.

    Writers of this user take turns, zone by zone, since many providers replace all values at a name by those they have
    read before.
    """

    OPTIONS: t.ClassVar[dict[str, t.Any]] = {
        "provider": {"type": "str"},
        "options": {"type": "dict"},
        "secrets": {"type": "dict", "no_log": True},
    }
    REQUIRED = ("provider",)

    def __init__(self, options: t.Mapping[str, t.Any]) -> None:
        super().__init__(options)
        self._provider: str = options["provider"]
        self._secrets = _text(options.get("secrets") or {})
        _check_provider(self._provider)

    def prepare(self, names: t.Sequence[str]) -> None:
        """Have lexicon say whether it has the provider and its options; the provider itself is not asked."""
        zone = self.zone or "example.com"
        self._judge(zone, self._ask({"zone": zone, "records": [], "present": True}), present=True)

    def add(self, records: t.Sequence[DnsRecord]) -> None:
        self._settle(records, present=True)

    def remove(self, records: t.Sequence[DnsRecord]) -> None:
        self._settle(records, present=False)

    def _settle(self, records: t.Sequence[DnsRecord], *, present: bool) -> None:
        zones: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
        for record in records:
            zones.setdefault(self.zone_of(record), []).append((bare(record.name), record.entries))
        for zone, wanted in zones.items():
            with hold_lock(_lock_path(zone), within=self.timeout):
                answer = self._ask({"zone": zone, "records": wanted, "present": present})
            self._judge(zone, answer, present=present)

    def _ask(self, job: dict[str, t.Any]) -> dict[str, t.Any]:
        """Run the child, and kill it with all that it has started when its time is over."""
        job.update(
            provider=self._provider,
            options={**_text(self.options.get("options") or {}), **self._secrets},
            ttl=self.ttl,
            path=sys.path,
            seconds=int(self.timeout) + 1,  # for a child that nobody waits for any more
        )
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", _source()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            said, _errors = child.communicate(json.dumps(job).encode(), timeout=self.timeout)
        except BaseException as error:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise UserError(
                f"The DNS provider {self._provider} did not answer within {self.timeout:g} s",
                name=job["zone"],
                remedy="Look whether its API can be reached from here, or raise publisher.timeout.",
            ) from None
        try:
            answer: dict[str, t.Any] = json.loads(said)
        except ValueError:
            return {"error": f"its process ended with {child.returncode} and said nothing"}
        return answer

    def _judge(self, zone: str, answer: t.Mapping[str, t.Any], *, present: bool) -> None:
        if not answer:
            return
        if "unavailable" in answer:
            why = "lexicon lacks a library for it"
            remedy = f"Install it: {sys.executable} -m pip install 'dns-lexicon[{self._provider}]'."
            raise BadInput("publisher.provider", self._provider, why, remedy=remedy)
        if "unknown" in answer:
            why = f"{self._provider} has no option {', '.join(answer['unknown'])}"
            remedy = f"Those that it has, for options or secrets: {', '.join(answer['known'])}."
            raise BadInput("publisher.options and publisher.secrets", None, why, remedy=remedy)
        said = self._masked(answer.get("error") or "it says that all went well")[:SHOWN_CHARACTERS]
        what = f"The DNS provider {self._provider} failed"
        if answer.get("left"):
            still = "does not list what was added" if present else "still lists what was removed"
            what, said = f"The DNS provider {self._provider} {still}", f"{said} ({'; '.join(answer['left'])})"
        remedy = "Correct publisher.options, publisher.secrets, or what they may do in this zone."
        raise UserError(what, name=zone, answer=said, remedy=remedy)

    def _masked(self, text: str) -> str:
        """Mask secrets, and the whole query of an URL: some providers sign by it."""
        text = mask(text, (value for value in self._secrets.values() if isinstance(value, str)))
        return re.sub(r"\?[\w.~%+-]+=[^\s'\")>]*", f"?{MASK}", " ".join(text.split()))


def _text(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Give options as a command line would: text, or a switch; empty ones count as not given."""
    given = {name: value for name, value in options.items() if value not in (None, "")}
    return {name: value if isinstance(value, bool) else str(value) for name, value in given.items()}


def _check_provider(name: str) -> None:
    """Refuse what lexicon cannot do, without loading it."""
    if name == "ddns":
        why = "lexicon's ddns takes a refusal for success"
        raise BadInput("publisher.provider", name, why, remedy="Use publisher.type rfc2136.")
    package = importlib.util.find_spec("lexicon")
    if package is None:
        raise UserError(
            f"dns-lexicon is not installed for {sys.executable}",
            remedy=f"Install it: {sys.executable} -m pip install dns-lexicon, or set ansible_python_interpreter.",
        )
    folders = [os.path.join(path, "_private", "providers") for path in package.submodule_search_locations or ()]
    known = [module.name for module in pkgutil.iter_modules(folders)]
    if known and name not in known:
        near = difflib.get_close_matches(name, known, n=5) or known
        raise BadInput("publisher.provider", name, "lexicon knows no such", remedy=f"It knows: {', '.join(near)}.")


def _source() -> str:
    """Give the child's source, wherever this runs: in a zip, Ansible's modules have no file to run."""
    spec = lexicon_child.__spec__
    source = t.cast("InspectLoader", spec.loader).get_source(spec.name) if spec else None
    if source is None:
        raise RuntimeError("the source of lexicon_child.py is not there")
    return source


def _lock_path(zone: str) -> str:
    """Where writers of a zone take turns: below a directory that nobody else can write."""
    directory = os.path.join(tempfile.gettempdir(), f"zerotrust-pomerium-{os.geteuid()}")
    make_directory(directory)
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UserError(
            "The directory for locks is not ours alone",
            name=directory,
            remedy="Look who has made it and remove it, or set TMPDIR to another directory.",
        )
    return os.path.join(directory, quote(zone, safe=""), "lock")
