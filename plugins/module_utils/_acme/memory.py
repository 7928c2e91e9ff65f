# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is remembered of an order between two runs: JSON without secrets, good for any controller with the account key.

It is the file at `state_path` and `pending/order.json` of a lineage. Private to this collection.
"""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone

from .. import _files
from .._dns.records import join_entries
from .._errors import BadInput, UserError
from .._lock import hold_lock
from .._pki.chain import iso
from .resources import PERSISTENT, parse_moment

LOCK_SECONDS = 600.0
"""Longer than another run's own waits for the CA usually are."""


@dataclass(frozen=True)
class Remembered:
    """An order that was placed: where, by whom, for what. `records` are the TXT records that were asked for,
    `key_sha256` is the digest of its certificate's public key, once that is made (in a store)."""

    directory: str
    account_uri: str
    order_uri: str
    identifiers: tuple[str, ...]
    profile: str | None
    created: str
    expires: str | None
    challenge: str = "dns-01"
    records: tuple[t.Mapping[str, t.Any], ...] = ()
    key_sha256: str | None = None

    @property
    def what(self) -> str:
        """Say what it was placed for, as `is_for` compares it."""
        names = ", ".join(self.identifiers)
        return f"{names} with the profile {self.profile}" if self.profile else names

    @property
    def removable(self) -> tuple[t.Mapping[str, t.Any], ...]:
        """The records that nobody needs once the order is over; a persistent one proves control ever after."""
        return () if self.challenge == PERSISTENT else self.records

    def is_for(self, identifiers: t.Iterable[str], profile: str | None) -> bool:
        """Tell whether it was placed for these names and this profile; the order of names does not matter."""
        return set(self.identifiers) == set(identifiers) and (self.profile or None) == (profile or None)


@dataclass(frozen=True)
class Memory:
    """The state file: the order, if there is one, and a rate limit that the CA named, if it still holds."""

    order: Remembered | None = None
    limited_until: str | None = None
    limited_why: str | None = None

    def check_limit(self, *, now: datetime) -> None:
        """Refuse to ask the CA before the time that it named. Raises UserError with that time; nothing is sent."""
        until = parse_moment(self.limited_until)
        if until is not None and now < until:
            raise UserError(
                f"The CA limits requests until {iso(until)}",
                answer=self.limited_why,
                remedy="Run again after that time; nothing was sent now.",
                retry_after=iso(until),
            )

    def limited(self, until: datetime, why: str | None) -> Memory:
        """Remember a limit."""
        return replace(self, limited_until=iso(until), limited_why=why)


def load_memory(path: str, *, option: str) -> Memory:
    """Read the state file; a missing one is empty. Raises BadInput naming `option` where it is damaged."""
    try:
        text = _files.read_bytes(path)
    except FileNotFoundError:
        return Memory()
    except OSError as error:
        raise BadInput(option, path, f"cannot be read ({error.strerror})") from error
    try:
        return parse_memory(text)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(
            option,
            path,
            "the state file is damaged",
            remedy="Restore it, or remove it: the next run then places a new order.",
        ) from error


def parse_memory(text: bytes) -> Memory:
    """Read the text of a state file. Raises ValueError, TypeError, LookupError or AttributeError where it is none."""
    document = json.loads(text.decode())
    order = document.pop("order", None)
    if order is not None:
        order["identifiers"] = tuple(order["identifiers"])
        order["records"] = tuple(order.get("records") or ())
        order = Remembered(**order)
    return Memory(order=order, **document)


def save_key(path: str, key_sha256: str, *, option: str) -> None:
    """Add to the order that is remembered which key its certificate is for."""
    memory = load_memory(path, option=option)
    if memory.order is not None and memory.order.key_sha256 != key_sha256:
        save_memory(path, replace(memory, order=replace(memory.order, key_sha256=key_sha256)))


def save_memory(path: str, memory: Memory) -> None:
    """Write the state file, whole or not at all. Raises UserError where it cannot be written."""
    try:
        _files.make_directory(os.path.dirname(os.path.abspath(path)))
        _files.write_file(path, (json.dumps(asdict(memory), indent=2) + "\n").encode(), mode=0o600)
    except OSError as error:
        raise UserError(
            "The state of the order cannot be written",
            name=path,
            answer=error.strerror,
            remedy="Free space, or mend the rights of its directory.",
        ) from error


def save_records(
    path: str, records: t.Sequence[t.Mapping[str, t.Any]], *, challenge: str, option: str
) -> tuple[t.Mapping[str, t.Any], ...]:
    """Add its TXT records to the order that is remembered, so that they can be removed one day.

    Gives those that were remembered before, which differ after the account key was rolled over (R32).
    """
    memory = load_memory(path, option=option)
    if memory.order is None or not records:
        return ()
    joined = tuple(join_entries([*memory.order.records, *records]))
    order = replace(memory.order, records=joined, challenge=challenge)
    if order != memory.order:
        save_memory(path, replace(memory, order=order))
    return memory.order.records


def save_limit(path: str, until: datetime, why: str | None, *, option: str) -> None:
    """Add a limit that the CA named to what is remembered by now, perhaps an order of this very run."""
    save_memory(path, load_memory(path, option=option).limited(until, why))


@contextlib.contextmanager
def locked(path: str | None) -> t.Iterator[None]:
    """Keep other runs away from a state file: a task without `run_once` runs once for each host, at the same time.

    Raises BadInput where the file could not be written: found out before an order is placed for it (R39).
    """
    if path is None:
        yield
        return
    check_writable(path, option="state_path")
    with hold_lock(f"{os.path.abspath(path)}.lock", within=LOCK_SECONDS):
        yield


def check_writable(path: str, *, option: str) -> None:
    """Find out that a state file could not be written before an order is placed for it (R39)."""
    directory = os.path.dirname(os.path.abspath(path))
    try:
        _files.make_directory(directory)
        probe = os.path.join(directory, f".{os.path.basename(path)}.probe-{os.getpid()}")
        _files.write_file(probe, b"{}\n")
        os.unlink(probe)
    except OSError as error:
        raise BadInput(
            option, path, f"cannot be written ({error.strerror})", remedy="Free space, or give another path."
        ) from error


def utc_now() -> datetime:
    """The present moment, aware."""
    return datetime.now(timezone.utc)
