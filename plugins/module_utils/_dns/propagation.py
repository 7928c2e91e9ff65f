# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the records are where the CA will look: at every authoritative server of the zone that is really written.

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

from .._wait import until
from .lookup import ASK_SECONDS, Answer, Resolvers, Server, ask_txt, in_parallel, some
from .records import DnsRecord

CHECK_SECONDS = 20.0
"""No question of a check is begun later: a hundred names at slow servers must not hold up everything else."""

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
        return f'The TXT value "{self.entry}" is missing at {self.name.rstrip(".")}: {said}.'


@dataclass(frozen=True)
class Seen:
    """What a check saw: values `missing` somewhere, whether `any_seen` of ours is anywhere, and `warnings` to show."""

    missing: tuple[Missing, ...]
    any_seen: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Group:
    """Servers that stand in for each other: the addresses of the NS `name`, or all the resolvers (no name)."""

    servers: tuple[Server, ...]
    name: str = ""

    @property
    def is_recursive(self) -> bool:
        return not self.name

    def label(self, server: Server) -> str:
        return f"{self.name} ({server})" if self.name else str(server)


_Plan = t.Dict[str, t.Tuple[_Group, ...]]
"""Whom to ask for each name of a record."""

_Answers = t.Dict[t.Tuple[str, Server, bool], Answer]
"""By name, server, and whether it was asked as a resolver."""


def check(records: t.Sequence[DnsRecord], *, verify: str, resolvers: Resolvers, timeout: float = ASK_SECONDS) -> Seen:
    """Ask once, all servers at the same time; `verify` is `authoritative`, `recursive` or `none`. Never raises.

    `timeout` is for one server, in seconds; all of them take at most CHECK_SECONDS and twice that.
    Where no authoritative server answers at all (port 53 closed) the resolvers decide, with a warning.
    """
    if verify == "none":
        return Seen((), any_seen=True)
    by_resolvers = (_Group(resolvers.servers),)
    if verify == "recursive":
        plan: _Plan = {record.name: by_resolvers for record in records}
        return _judge(records, plan=plan, answers=_ask(plan, timeout=timeout), warnings=[])
    plan, warnings = _authoritative(records, resolvers=resolvers)
    answers = _ask(plan, timeout=timeout)
    silent = _silent(plan, answers=answers)
    if silent:
        warnings.append(
            f"No authoritative server answered for {some(silent)} (is port 53 closed here?), so what the resolvers "
            f"say decides: {', '.join(map(str, resolvers.servers)) or 'none is configured'}."
        )
        again: _Plan = {name: by_resolvers for name in silent}
        plan = {**plan, **again}
        answers.update(_ask(again, timeout=timeout))
    return _judge(records, plan=plan, answers=answers, warnings=warnings)


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


def _authoritative(records: t.Sequence[DnsRecord], *, resolvers: Resolvers) -> tuple[_Plan, list[str]]:
    """Find the servers of the zone that is really written, for each record; and what to warn of."""
    found = resolvers.zones_of(record.name for record in records if not record.zone)
    zones = {record.name: record.zone or found.names[record.name] for record in records}
    known = sorted({zone for zone in zones.values() if zone})
    servers = dict(zip(known, in_parallel(resolvers.servers_of, items=known)))
    warnings = list(found.warnings)
    groups: dict[str, tuple[_Group, ...]] = {}
    for zone in known:
        if servers[zone].reason:
            warnings.append(f"The name servers of the zone {zone} are not known: {servers[zone].reason}.")
        groups[zone] = tuple(
            _Group(tuple(Server(address) for address in one.addresses), one.name) for one in servers[zone].servers
        )
    return {name: groups[zone] if zone else () for name, zone in zones.items()}, warnings


def _ask(plan: _Plan, *, timeout: float) -> _Answers:
    """Ask each server once for each name, all at the same time; no question is begun after CHECK_SECONDS.

    A server that was silent, and has not answered anything either, is not waited for again for the other names.
    """
    end = time.monotonic() + CHECK_SECONDS
    silent: dict[Server, Answer] = {}
    alive: set[Server] = set()

    def ask(question: tuple[str, Server, bool]) -> Answer:
        name, server, recursive = question
        if server in silent and server not in alive:
            return silent[server]
        if time.monotonic() >= end:
            return Answer(f"not asked within {CHECK_SECONDS:g} s", answered=False)
        answer = ask_txt(name, address=server.address, port=server.port, recursive=recursive, timeout=timeout)
        if answer.answered:
            alive.add(server)
        else:
            silent[server] = answer
        return answer

    questions = list(
        dict.fromkeys(
            (name, server, group.is_recursive)
            for name, groups in plan.items()
            for group in groups
            for server in group.servers
        )
    )
    return dict(zip(questions, in_parallel(ask, items=questions)))


def _silent(plan: _Plan, *, answers: _Answers) -> list[str]:
    """The names of which no server answered anything, not even for another name."""
    alive = {server for (_name, server, _recursive), answer in answers.items() if answer.answered}
    return [name for name, groups in plan.items() if not any(alive.intersection(group.servers) for group in groups)]


def _judge(records: t.Sequence[DnsRecord], *, plan: _Plan, answers: _Answers, warnings: list[str]) -> Seen:
    missing = []
    for record in records:
        heard = [one for group in plan[record.name] for one in _heard(record.name, group=group, answers=answers)]
        for entry in record.entries:
            lacking = tuple(ServerAnswer(label, said.text) for label, said in heard if entry not in said.values)
            if not heard:
                lacking = (ServerAnswer("the resolvers", "none is configured on this machine"),)
            if lacking:
                missing.append(Missing(record.name, entry, lacking))
    ours = {record.name: set(record.entries) for record in records}
    any_seen = any(ours[name] & answer.values for (name, _server, _recursive), answer in answers.items())
    return Seen(tuple(missing), any_seen, (*warnings, *_left_out(plan, answers=answers)))


def _heard(name: str, *, group: _Group, answers: _Answers) -> list[tuple[str, Answer]]:
    """What counts of a group, by server: its answers; where there is none its silence, if it could be asked at all."""
    said = [(server, answers[name, server, group.is_recursive]) for server in group.servers]
    counts = [one for one in said if one[1].answered]
    if not counts:
        counts = [one for one in said if one[1].has_route or group.is_recursive]
    return [(group.label(server), answer) for server, answer in counts]


def _left_out(plan: _Plan, *, answers: _Answers) -> list[str]:
    """Warn of name servers that said nothing because they have no address, or none that this machine can reach."""
    warnings = []
    for name, groups in plan.items():
        for group in groups:
            if not group.is_recursive and not _heard(name, group=group, answers=answers):
                texts = [f"{server} {answers[name, server, False].text}" for server in group.servers]
                warnings.append(f"{group.name} was not asked: {', '.join(texts) or 'it has no address'}.")
    return sorted(set(warnings))
