# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the records are where the CA will look: at every authoritative server, wherever CNAMEs lead (R19).

Servers that stand in for each other form a group: the addresses of one NS name, or all the resolvers. In a group one
answer is needed and every server that answers must have the value; every group must have it (R16). A server that
answers something else, or nothing in time, is "not yet" and never an exception (R17).
Private to this collection.
"""

from __future__ import annotations

import itertools
import time
import typing as t
from dataclasses import asdict, dataclass

from .._errors import UserError
from .._wait import until
from .lookup import Resolvers
from .records import DnsRecord, absolute, bare
from .trail import Trail
from .txt import ASK_SECONDS, Answer

FIRST_PAUSES_SECONDS = (2.0, 3.0, 5.0, 7.0)
LONGEST_PAUSE_SECONDS = 10.0
"""Most providers publish within seconds, some take minutes: quick at first, then gentle with servers not ours."""


@dataclass(frozen=True)
class ServerAnswer:
    """What one server that lacks a value said."""

    server: str
    answer: str


@dataclass(frozen=True)
class Missing:
    """One value that is not yet everywhere, and the servers that lack it."""

    name: str
    entry: str
    servers: tuple[ServerAnswer, ...]

    def returns(self) -> dict[str, t.Any]:
        """Give it as the dict of `missing_records`."""
        return {**asdict(self), "servers": [asdict(server) for server in self.servers]}

    def sentence(self) -> str:
        """Say which name lacks which value, at which servers, and what each of them said."""
        servers: dict[str, list[str]] = {}
        for one in self.servers:
            servers.setdefault(one.answer, []).append(one.server)
        said = "; ".join(f"{answer} at {', '.join(names)}" for answer, names in servers.items())
        return f'The TXT value "{self.entry}" is missing at {bare(self.name)}: {said}.'


def missing_error(missing: t.Sequence[Missing], *, remedy: str) -> UserError:
    """Make the error of values that are not there: name, value and servers of each (R30)."""
    return UserError(
        " ".join(one.sentence() for one in missing),
        remedy=remedy,
        missing_records=[one.returns() for one in missing],
    )


@dataclass(frozen=True)
class Seen:
    """What a check saw: values `missing` somewhere, whether `any_seen` of ours is anywhere, and `warnings` to show."""

    missing: tuple[Missing, ...]
    any_seen: bool
    warnings: tuple[str, ...] = ()


def check(records: t.Sequence[DnsRecord], *, verify: str, resolvers: Resolvers, timeout: float = ASK_SECONDS) -> Seen:
    """Ask once, all servers at the same time; `verify` is `authoritative`, `recursive` or `none`. Never raises.

    The `name` of a record is the one that the CA looks up, its `zone` the one that holds that name, where it is known.
    `timeout` is for one server, in seconds; all of them take at most CHECK_SECONDS and twice that.
    Where no authoritative server answers at all (port 53 closed) the resolvers decide, with a warning.
    """
    if verify == "none":
        return Seen((), any_seen=True)
    trail = Trail(resolvers, timeout=timeout)
    zones = {absolute(record.name): record.zone for record in records}
    if verify == "recursive":
        trail.ask_resolvers(zones)
    else:
        trail.ask_authoritative(zones)
    return _judge(records, trail)


def wait(
    records: t.Sequence[DnsRecord],
    *,
    verify: str,
    resolvers: Resolvers,
    within: float,
    timeout: float = ASK_SECONDS,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], None] = time.sleep,
) -> Seen:
    """Check until nothing is missing or `within` seconds have passed; the last check is what is returned. Never raises.

    All records are asked for each time: the challenge may be answered when every server has every value at one moment.
    """
    pauses = itertools.chain(FIRST_PAUSES_SECONDS, itertools.repeat(LONGEST_PAUSE_SECONDS))
    return until(
        lambda: check(records, verify=verify, resolvers=resolvers, timeout=timeout),
        reached=lambda seen: not seen.missing,
        within=within,
        first=0.0,
        pause=lambda seen: next(pauses),
        clock=clock,
        sleep=sleep,
    ).last


def _judge(records: t.Sequence[DnsRecord], trail: Trail) -> Seen:
    """Compare what is wanted with what was said at the end of all ways."""
    missing, any_seen = [], False
    for record in records:
        ends = trail.ends(absolute(record.name))
        for entry in record.entries:
            lacking = [
                ServerAnswer(label, _told(record, entry, answer))
                for label, answer in ends
                if not record.is_proven_by(entry, answer.values)
            ]
            any_seen = any_seen or len(lacking) < len(ends)
            if not ends:
                lacking = [ServerAnswer("the resolvers", "none is configured on this machine")]
            if lacking:
                missing.append(Missing(record.name, entry, tuple(dict.fromkeys(lacking))))
    return Seen(tuple(missing), any_seen, (*trail.warnings, *trail.left_out()))


def _told(record: DnsRecord, entry: str, answer: Answer) -> str:
    objections = record.objections(entry, answer.values)
    return f"{answer.text} ({objections})" if objections else answer.text
