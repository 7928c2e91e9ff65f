# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules of the fault proxy as text, for a command line and for tests: `RESOURCE:FAULT[:ARGUMENT][,times=N][,nth=N]`."""

from __future__ import annotations

import textwrap
import typing as t
from dataclasses import dataclass

from ansible_collections.zerotrust.pomerium.tests.lab import proxy_rules_acme as acme
from ansible_collections.zerotrust.pomerium.tests.lab.pebble import RESOURCES
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import (
    ALWAYS,
    CUT,
    EVERYTHING,
    HOLD,
    Change,
    LoseAnswer,
    Outcome,
    Refuse,
    Reply,
    Respond,
    Rewrite,
    Rule,
    SpoilHandshake,
)

CONNECTION = "connection"
"""In the place of a resource: the fault comes before any request."""

Make = t.Callable[..., Rule]


@dataclass(frozen=True)
class Fault:
    """One kind of fault: its argument (in brackets where it may be left out), what it does, and what makes the rule."""

    argument: str
    does: str
    make: Make


def _answer(reply: t.Callable[[str], Reply]) -> Make:
    def make(resource: str, argument: str, **rule: t.Any) -> Rule:
        reply(argument)  # a wrong argument is to be said now
        return Respond(resource, lambda: reply(argument), **rule)

    return make


def _change(change: t.Callable[[str], Change]) -> Make:
    return lambda resource, argument, **rule: Rewrite(resource, change(argument), **rule)


def _lose(resource: str, argument: str, **rule: t.Any) -> Rule:
    outcomes: dict[str, Outcome] = {"": CUT, "silence": HOLD}
    outcome = acme.page(int(argument)) if argument.isdecimal() else outcomes[argument]
    return LoseAnswer(resource, outcome, **rule)


def _problem(argument: str) -> Reply:
    kind, _slash, status = argument.partition("/")
    return acme.problem(kind, int(status or 403), f"said {kind}")


def _shown(argument: str) -> Change:
    before, _sign, after = argument.rpartition("=")
    return acme.shown_as(after, before or None)


def _header(argument: str) -> Change:
    name, sign, value = argument.partition("=")
    return acme.with_header(name, value if sign else None)


FAULTS: dict[str, Fault] = {
    "refused": Fault("", "reset before the CA sees the request", lambda on, _argument, **rule: Refuse(on, **rule)),
    "lost": Fault("[silence|STATUS]", "the CA does it; its answer becomes a reset, silence, or a page", _lose),
    "429": Fault("[WHEN]", "rateLimited", _answer(lambda when: acme.rate_limited(when or None))),
    "paused": Fault(
        "", "429 without Retry-After, with an address where it is lifted", _answer(lambda _: acme.paused())
    ),
    "500": Fault("[WHEN]", "serverInternal", _answer(lambda when: acme.busy(500, when or None))),
    "503": Fault("[WHEN]", "busy", _answer(lambda when: acme.busy(503, when or None))),
    "502": Fault("", "a gateway's page in HTML; the CA sees nothing", _answer(lambda _: acme.page())),
    "409": Fault("", "a conflict, without a body", _answer(lambda _: Reply(409))),
    "problem": Fault("TYPE[/STATUS]", "a problem document (403)", _answer(_problem)),
    "status": Fault("[WAS=]STATUS", "an order or authorization shown with this status", _change(_shown)),
    "no-authorizations": Fault("", "an order without any", _change(lambda _: acme.with_members(authorizations=[]))),
    "starless": Fault("", "`*.` stripped from an order's identifiers", _change(lambda _: acme.starless())),
    "empty-error": Fault("", "`error: {}` in the document", _change(lambda _: acme.with_members(error={}))),
    "token": Fault("TEXT", "every challenge has this token", _change(acme.with_token)),
    "challenges": Fault(
        "TYPE[+TYPE]", "only these are offered", _change(lambda a: acme.with_challenges(*a.split("+")))
    ),
    "chain": Fault("|".join(acme.CHAINS), "another chain", _change(lambda how: acme.rechained(acme.CHAINS[how]))),
    "retry-after": Fault(
        "[WHEN]", "another Retry-After, or none", _change(lambda when: acme.retry_after(when or None))
    ),
    "header": Fault("NAME[=VALUE]", "another value of a header, or none", _change(_header)),
    "drip": Fault("SECONDS", "a byte every so many seconds (slow-loris)", _change(lambda a: acme.dripping(float(a)))),
    "stall": Fault("", "half of the body, then nothing", _change(lambda _: acme.stalling())),
    "broken": Fault("", "half of the body, then a reset", _change(lambda _: acme.breaking_off())),
}
HANDSHAKE = Fault(
    "[reset|untrusted|expired|misnamed]",
    f"TLS fails (only with the resource {CONNECTION})",
    lambda _on, how, **rule: SpoilHandshake(how or "reset", **rule),
)


def parse_rule(text: str) -> Rule:
    """Make the rule that `text` says. Raises ValueError where it says none."""
    place, *counts = text.split(",")
    resource, _colon, rest = place.partition(":")
    name, _colon, argument = rest.partition(":")
    fault = {"tls": HANDSHAKE} if resource == CONNECTION else FAULTS
    try:
        if name not in fault:
            raise ValueError(f"no such fault; there are {', '.join(fault)}")
        needs = fault[name].argument
        may_lack = not needs or needs.startswith("[") and needs.endswith("]")
        if not needs and argument or not argument and not may_lack:
            raise ValueError(f"its argument is {needs or 'nothing'}")
        rule = fault[name].make(resource, argument, **dict(_count(count) for count in counts))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{text!r} is no rule: {error.args[0]}") from error
    rule.text = text
    return rule


def _count(text: str) -> tuple[str, float | str]:
    name, _sign, value = text.partition("=")
    if name == "method":
        return name, value
    if name not in ("times", "nth"):
        raise ValueError(f"{name} is none of times, nth, method")
    return name, ALWAYS if value == "always" else int(value)


def describe_faults() -> str:
    """The text form, for `--help`."""
    listed = {f"{name}{':' if fault.argument else ''}{fault.argument}": fault.does for name, fault in FAULTS.items()}
    listed[f"tls:{HANDSHAKE.argument}"] = HANDSHAKE.does
    lines = "\n".join(f"  {form:<50}{does}" for form, does in listed.items())
    places = textwrap.fill(
        ", ".join([*RESOURCES, "alternate", EVERYTHING, CONNECTION]), 110, initial_indent="  ", subsequent_indent="  "
    )
    return f"""\
A fault is RESOURCE:FAULT[:ARGUMENT][,times=N|always][,nth=N][,method=M]; without counts it comes once, at the first
request (or good answer) that it is about. RESOURCE is one of
{places},
or an expression for the beginning of a path. WHEN is a value of Retry-After: 3600, or date+3600 for an HTTP date.
{lines}
Like this: newOrder:429:3600  finalize:lost  order:status:valid=processing,times=always  any:502,nth=7
"""
