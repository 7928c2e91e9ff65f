# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host keeps for the fleet, taken apart with distrust: somebody else may be root there.

What it says can at worst delay an order, and is seen then: a URL must be of the CA's own origin, a limit ends within
days, and a record to remove must look like a proof of control, so that nothing else is ever taken out of a zone.
Private to this collection.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from .._pki.chain import iso
from .._store.looks import LookFile
from .memory import Remembered, parse_memory
from .resources import parse_moment

LONGEST_LIMIT = timedelta(days=8)
"""No limit of a public CA lasts longer than a week."""

CLOCKS_DIFFER = timedelta(minutes=5)

DAMAGED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""What is raised for a text that is not of the form in which we write it."""

_PROOF = re.compile(r"[A-Za-z0-9_-]{43}\Z")
"""A digest in base64url, which is all that a TXT record for a challenge holds (RFC 8555 section 8.4)."""


@dataclass(frozen=True)
class KeptBundle:
    """A chain with what was noted about it; `problem` says why its key does not fit, None where it does."""

    is_current: bool
    chain: bytes
    meta: bytes
    signature: bytes
    problem: str | None


@dataclass(frozen=True)
class Kept:
    """One host: what the run says of it, and what it keeps; nothing, where it did not answer."""

    host: str
    id: str
    limit: str | None
    batch: int
    play_hosts: int
    identifiers: tuple[str, ...]
    has_answered: bool = False
    is_writable: bool = False
    is_held: bool = False
    bundles: tuple[KeptBundle, ...] = ()
    order: bytes | None = None
    has_key: bool = False
    state: bytes | None = None

    @functools.cached_property
    def remembered(self) -> Remembered | None:
        """The pending order; None where there is none, or it is damaged."""
        return None if self.order is None else read_order_text(self.order)


def parse_look(look: LookFile) -> Kept:
    """Take a look apart. A host that talks nonsense counts as one that did not answer."""
    kept = Kept(
        host=str(look["host"]),
        id=str(look.get("id")),
        limit=look.get("limit") or None,
        batch=int(look.get("batch") or 0),
        play_hosts=int(look.get("play_hosts") or 0),
        identifiers=tuple(sorted(str(name) for name in look.get("identifiers") or ())),
    )
    try:
        answer = look["answer"]["kept"]
        return replace(
            kept,
            has_answered=True,
            is_writable=bool(answer["is_writable"]) and not look["answer"]["problem"],
            is_held=look["answer"]["hold"] is not None,
            bundles=tuple(_bundle(one) for one in answer["bundles"]),
            order=_bytes(answer["order"]),
            has_key=bool(answer["has_key"]),
            state=_bytes(answer["state"]),
        )
    except DAMAGED:
        return kept


def _bundle(answer: t.Any) -> KeptBundle:
    return KeptBundle(
        is_current=bool(answer["is_current"]),
        chain=_bytes(answer["chain"]) or b"",
        meta=_bytes(answer["meta"]) or b"",
        signature=_bytes(answer["signature"]) or b"",
        problem=None if answer["problem"] is None else str(answer["problem"]),
    )


def _bytes(text: t.Any) -> bytes | None:
    return None if text is None else base64.b64decode(str(text))


def read_order_text(text: bytes) -> Remembered | None:
    """Read a pending order; None where it is damaged."""
    try:
        order = parse_memory(text).order
        return order if order is None or _is_sound(order) else None
    except DAMAGED:
        return None


def _is_sound(order: Remembered) -> bool:
    """Tell whether all is text that is to be."""
    needed = (order.directory, order.account_uri, order.order_uri, order.created, order.challenge, *order.identifiers)
    may_lack = (order.profile, order.expires, order.key_sha256)
    return all(isinstance(one, str) for one in (*needed, *(one for one in may_lack if one is not None)))


def read_object(text: bytes) -> dict[str, t.Any]:
    """Read a JSON object, whose values may be anything; an empty one where it is damaged."""
    try:
        found = json.loads(text)
    except DAMAGED:
        return {}
    return found if isinstance(found, dict) else {}


def usable_order(remembered: Remembered | None, *, directory: str) -> Remembered | None:
    """Give an order of this directory, without records that are none; None where it is not one to be followed."""
    if remembered is None or remembered.directory != directory:
        return None
    if not all(_has_origin(url, directory) for url in (remembered.order_uri, remembered.account_uri)):
        return None
    try:
        return replace(remembered, records=tuple(_proofs(remembered.records)))
    except DAMAGED:
        return None


def usable_state(text: bytes | None, *, directory: str, now: datetime) -> dict[str, t.Any] | None:
    """Give what was learned about this directory, as far as a host may say it; None where there is nothing."""
    try:
        state = json.loads(text or b"")
        saved_at = parse_moment(state.get("saved_at"))
        if saved_at is None or saved_at > now + CLOCKS_DIFFER or state.get("directory") not in (None, directory):
            return None
        until = parse_moment(state.get("limited_until"))
        if until is not None and until > now + LONGEST_LIMIT:
            state = {key: value for key, value in state.items() if not key.startswith("limited_")}
        if state.get("account_uri") is not None and not _has_origin(state["account_uri"], directory):
            del state["account_uri"]
        if state.get("records_to_remove"):
            state["records_to_remove"] = _proofs(state["records_to_remove"])
    except DAMAGED:
        return None
    return t.cast("dict[str, t.Any]", state)


def saved_at(state: t.Mapping[str, t.Any]) -> str:
    """Say when something was learned last, in a form that sorts."""
    moment = parse_moment(state.get("saved_at"))
    return iso(moment) if moment else ""


def _has_origin(url: t.Any, directory: str) -> bool:
    """Tell whether a URL is of the directory's scheme, host and port."""
    ours, theirs = urlsplit(directory), urlsplit(str(url))
    return (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)


def _proofs(records: t.Iterable[t.Any]) -> list[dict[str, t.Any]]:
    """Choose the values that are proofs of control; whatever else a zone holds is nothing that we ever wrote."""
    found = []
    for record in records:
        entries = [entry for entry in record["entries"] if isinstance(entry, str) and _PROOF.match(entry)]
        if entries:
            places = {key: None if record[key] is None else str(record[key]) for key in ("zone", "record")}
            names = {key: [str(name) for name in record.get(key) or ()] for key in ("identifiers", "challenge_names")}
            kind = {"type": "TXT", "ttl": int(record["ttl"]), **names}
            found.append({"name": str(record["name"]), **places, **kind, "entries": entries})
    return found
