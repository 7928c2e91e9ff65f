# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way that a question for TXT takes: where a CNAME leaves a zone, it goes on to the servers of the next zone.

Every server of every zone on the way is asked, since any of them may be the one that the CA asks. Nothing here raises.
Private to this collection.
"""

from __future__ import annotations

import time
import typing as t
from dataclasses import dataclass, replace

from .lookup import LONGEST_CHAIN, Resolvers, Server, in_parallel, some, why_endless
from .records import absolute, bare, relative
from .txt import Answer, ask_txt

CHECK_SECONDS = 20.0
"""No question is begun later: a hundred names at slow servers must not hold up everything else."""

Name = str
"""A name in the form of `records.absolute`."""


@dataclass(frozen=True)
class Group:
    """Servers that stand in for each other: the addresses of the NS `name`, or all the resolvers (no name)."""

    servers: tuple[Server, ...]
    name: str = ""

    @property
    def is_recursive(self) -> bool:
        """Tell whether these are resolvers, who go all the way themselves."""
        return not self.name

    def label(self, server: Server) -> str:
        """Name one of the servers for people."""
        return f"{self.name} ({server})" if self.name else str(server)


class Answers:
    """What each server says of each name, asked once; resolvers have CHECK_SECONDS of their own."""

    def __init__(self, *, timeout: float) -> None:
        """Take the seconds that one server may take."""
        self._timeout = timeout
        self._ends: dict[bool, float] = {}
        self._given: dict[tuple[Name, Server, bool], Answer] = {}
        self._silent: dict[tuple[Server, bool], Answer] = {}
        self._alive: set[tuple[Server, bool]] = set()

    def ask(self, groups: t.Mapping[Name, t.Sequence[Group]]) -> None:
        """Ask each server for its names, all at the same time.

        A server that was silent, and has not answered anything either, is not waited for again for the other names.
        """
        questions = [
            (name, server, group.is_recursive)
            for name, of_name in groups.items()
            for group in of_name
            for server in group.servers
        ]
        questions = list(dict.fromkeys(questions))
        for _name, _server, recursive in questions:
            self._ends.setdefault(recursive, time.monotonic() + CHECK_SECONDS)
        self._given.update(zip(questions, in_parallel(self._ask, items=questions)))

    def _ask(self, question: tuple[Name, Server, bool]) -> Answer:
        name, server, recursive = question
        asked = (server, recursive)
        if asked in self._silent and asked not in self._alive:
            return self._silent[asked]
        if time.monotonic() >= self._ends[recursive]:
            return Answer(f"not asked within {CHECK_SECONDS:g} s", kind="silent")
        answer = ask_txt(name, address=server.address, port=server.port, recursive=recursive, timeout=self._timeout)
        if answer.answered:
            self._alive.add(asked)
        else:
            self._silent[asked] = answer
        return answer

    def is_alive(self, groups: t.Iterable[Group]) -> bool:
        """Tell whether one of these servers has answered anything, be it for another name."""
        return any((server, group.is_recursive) in self._alive for group in groups for server in group.servers)

    def of(self, name: Name, group: Group) -> list[tuple[Server, Answer]]:
        """All that was said, by server."""
        return [(server, self._given[name, server, group.is_recursive]) for server in group.servers]

    def that_count(self, name: Name, group: Group) -> list[tuple[Server, Answer]]:
        """What was said, where nothing was the silence, if the server could be asked at all."""
        said = self.of(name, group)
        counts = [one for one in said if one[1].answered]
        return counts or [one for one in said if one[1].kind != "unreachable" or group.is_recursive]


class Trail:
    """Who was asked for which names, and where that led; `warnings` are to be shown."""

    def __init__(self, resolvers: Resolvers, *, timeout: float) -> None:
        """Take the resolvers, and the seconds that one server may take. Asks nothing yet."""
        self.warnings: list[str] = []
        self._resolvers = resolvers
        self._answers = Answers(timeout=timeout)
        self._groups: dict[Name, tuple[Group, ...]] = {}
        self._zones: dict[Name, str | None] = {}

    def ask_resolvers(self, names: t.Iterable[Name]) -> None:
        """Ask every resolver for these names."""
        groups = dict.fromkeys(names, (Group(self._resolvers.servers),))
        self._answers.ask(groups)
        self._groups.update(groups)

    def ask_authoritative(self, zones: t.Mapping[Name, str | None]) -> None:
        """Ask all servers of the zones of these names (where None, it is looked up) and of those that CNAMEs lead to.

        Where no server of a name answers anything (port 53 closed) the resolvers decide for it, with a warning.
        """
        names = list(zones)
        self._zones.update({name: zone and bare(absolute(zone)) for name, zone in zones.items()})
        for _cname in range(LONGEST_CHAIN + 1):
            groups = self._find_servers(names)
            self._answers.ask(groups)
            self._groups.update(groups)
            silent = [name for name in names if not self._answers.is_alive(groups[name])]
            if silent:
                self.warnings.append(
                    f"No authoritative server answered for {some(silent)} (is port 53 closed here?), so what the "
                    f"resolvers say decides: {', '.join(map(str, self._resolvers.servers)) or 'none is configured'}."
                )
                self.ask_resolvers(silent)
            names = self._find_next(names)
            if not names:
                break

    def ends(self, name: Name, before: tuple[Name, ...] = ()) -> list[tuple[str, Answer]]:
        """Give the answers at the end of all ways from `name`, by server; CNAMEs led there from the first of `before`.

        The `chain` of such an answer is all of its way.
        """
        ends: list[tuple[str, Answer]] = []
        onward: dict[tuple[Name, ...], None] = {}
        way = (*before, name)
        for group in self._groups.get(name, ()):
            for server, answer in self._answers.that_count(name, group):
                led = (*way, *self._leaving(name, group, answer))
                endless = why_endless(led)
                if endless:
                    ends.append((group.label(server), Answer(endless, kind="endless")))
                elif led == way:
                    ends.append((group.label(server), replace(answer, chain=(*way[1:], *answer.chain))))
                else:
                    onward[led] = None
        for led in onward:
            ends += self.ends(led[-1], led[:-1])
        return ends

    def left_out(self) -> list[str]:
        """Warn of name servers that said nothing because they have no address, or none that this machine can reach."""
        warnings = set()
        for name, groups in self._groups.items():
            for group in groups:
                if not group.is_recursive and not self._answers.that_count(name, group):
                    texts = [f"{server} {answer.said}" for server, answer in self._answers.of(name, group)]
                    warnings.add(f"{group.name} was not asked: {', '.join(texts) or 'it has no address'}.")
        return sorted(warnings)

    def _find_zones(self, names: t.Iterable[Name]) -> None:
        """Find the zones that are not known yet."""
        found = self._resolvers.zones_of(name for name in names if not self._zones.get(name))
        self._zones.update(found.names)
        self.warnings += [text for text in found.warnings if text not in self.warnings]

    def _find_servers(self, names: t.Sequence[Name]) -> dict[Name, tuple[Group, ...]]:
        """Find the servers of each name's zone; none where DNS does not tell."""
        self._find_zones(names)
        zones = sorted({zone for zone in map(self._zones.get, names) if zone})
        groups: dict[str | None, tuple[Group, ...]] = {}
        for zone, found in zip(zones, in_parallel(self._resolvers.servers_of, items=zones)):
            if found.reason:
                self.warnings.append(f"The name servers of the zone {zone} are not known: {found.reason}.")
            groups[zone] = tuple(Group(tuple(map(Server, one.addresses)), one.name) for one in found.servers)
        return {name: groups.get(self._zones[name], ()) for name in names}

    def _find_next(self, names: t.Iterable[Name]) -> list[Name]:
        """Find the names in other zones that the answers for `names` lead to, and nobody was asked for yet."""
        answers = [
            (name, group, answer)
            for name in names
            for group in self._groups[name]
            if not group.is_recursive
            for _server, answer in self._answers.of(name, group)
        ]
        self._find_zones({target for _name, _group, answer in answers for target in answer.chain})
        ways = [self._leaving(name, group, answer) for name, group, answer in answers]
        return sorted({way[-1] for way in ways if way} - {*self._groups})

    def _leaving(self, name: Name, group: Group, answer: Answer) -> tuple[Name, ...]:
        """Give the CNAMEs of an answer to the first that leaves the name's zone, where another server is to be asked.

        None where no CNAME does, or where resolvers went all the way.
        """
        if not group.is_recursive:
            for number, target in enumerate(answer.chain, start=1):
                if not self._is_in_zone(target, zone=self._zones[name]):
                    return answer.chain[:number]
        return ()

    def _is_in_zone(self, target: Name, *, zone: str | None) -> bool:
        """Tell by its own zone, else by its labels: a child zone would be another one."""
        own = self._zones.get(target)
        return own == zone if own else zone is not None and relative(target, zone=zone) is not None
