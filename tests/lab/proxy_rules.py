# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a proxy between client and CA does wrong: one rule, one fault, at the n-th request that it is about.

A rule sees a request before it is forwarded and the CA's answer before it goes back, and may put a Reply, CUT or HOLD
in the place of either. New kinds of faults are subclasses that override `before` or `after`; what the answers of a CA
that misbehaves look like is in proxy_rules_acme.py, and how to write rules as text in proxy_rules_text.py.
"""

from __future__ import annotations

import math
import re
import time
import typing as t
import urllib.parse
from dataclasses import dataclass, field, replace

from ansible_collections.zerotrust.pomerium.tests.lab.pebble import RESOURCES

ALWAYS = math.inf
"""As `times` of a rule: until it is lifted. It must have fired at least once nevertheless."""

EVERYTHING = "any"
"""The name of a resource that every request is about."""


@dataclass(frozen=True)
class Request:
    """One request of a client; `target` is the path with the query, `moment` a reading of the monotonic clock."""

    method: str
    target: str
    headers: t.Mapping[str, str]
    body: bytes = b""
    moment: float = field(default_factory=time.monotonic, compare=False)

    @property
    def path(self) -> str:
        return urllib.parse.urlsplit(self.target).path


class Cut:
    """The connection is reset in place of an answer."""


class Hold:
    """Nothing comes in place of an answer, and the connection stays open for as long as the client waits."""


CUT, HOLD = Cut(), Hold()


@dataclass(frozen=True)
class Reply:
    """An answer to a client. Content-Length and Connection are for the proxy to set.

    `drip` are the seconds between two bytes of the body. Of a body that `stops_at` so many bytes, nothing else comes:
    the connection is held, or (`then` is CUT) reset.
    """

    status: int
    headers: t.Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    drip: float = 0.0
    stops_at: int | None = None
    then: Cut | Hold | None = None

    def with_header(self, name: str, value: str | None) -> Reply:
        """The same with a header set in place of any of that name, or without it where `value` is None."""
        headers = {key: old for key, old in self.headers.items() if key.lower() != name.lower()}
        return replace(self, headers=headers if value is None else {**headers, name: value})


Outcome = t.Union[Reply, Cut, Hold]
Change = t.Callable[[Reply], t.Optional[Outcome]]
"""What becomes of a good answer; None where it is not of the kind that is to be changed, which does not count."""


def path_of(resource: str) -> str:
    """The expression for an ACME resource's path at Pebble; anything that begins with a slash is one already.

    `alternate` is a certificate with another chain; `any` is everything.
    """
    if resource.startswith("/"):
        return resource
    if resource == EVERYTHING:
        return "/"
    if resource == "alternate":
        return RESOURCES["certificate"] + "[^/]+/alternate/"
    if resource not in RESOURCES:
        raise ValueError(f"no such resource: {resource}")
    path = RESOURCES[resource]
    return path if path.endswith("/") else path + "$"


def resource_of(path: str) -> str:
    """The ACME name of what a path leads to, or the path itself."""
    for name, known in RESOURCES.items():
        if path == known or (known.endswith("/") and path.startswith(known)):
            return name
    return path


class Rule:
    """Base of all rules: it is about requests for a resource, from the `nth` of them on, `times` times."""

    def __init__(self, resource: str, *, method: str | None = None, nth: int = 1, times: float = 1) -> None:
        """`resource` is an ACME name, or a regular expression (with a slash first) for the beginning of a path."""
        self._path, self._method = re.compile(path_of(resource)), method
        self._skip: float = nth - 1
        self.left, self.fired = times, 0
        self.text: str | None = None
        """How it was written, where it was made of text."""

    def __repr__(self) -> str:
        return self.text or f"{type(self).__name__}({self._path.pattern!r}, method={self._method!r})"

    @property
    def missing(self) -> float:
        """How many times it should have fired and has not."""
        return int(self.fired == 0) if self.left == ALWAYS else self.left

    def lift(self) -> None:
        """Let the CA be as it is from now on; a rule that never fired stays wrong."""
        self.left, self._skip = int(self.fired == 0), ALWAYS

    def is_about(self, request: Request) -> bool:
        """Whether the request's method and path match; nothing is counted by asking."""
        return self._path.match(request.path) is not None and self._method in (None, request.method)

    def before(self, request: Request) -> Outcome | None:
        """What to answer instead of asking the CA, or None to ask it."""
        return None

    def after(self, request: Request, reply: Reply) -> Outcome | None:
        """What to answer instead of the CA's answer, or None to pass it on."""
        return None

    def _fires(self) -> bool:
        """Count one occasion; whether the rule acts on this one."""
        if self.left <= 0:
            return False
        if self._skip > 0:
            self._skip -= 1
            return False
        self.left -= 1
        self.fired += 1
        return True


class Refuse(Rule):
    """Reset the connection before the request has reached the CA."""

    def before(self, request: Request) -> Outcome | None:
        return CUT if self._fires() else None


class Respond(Rule):
    """Give an answer of our own; the CA never sees the request."""

    def __init__(self, resource: str, reply: Reply | t.Callable[[], Reply], **rule: t.Any) -> None:
        """`reply` may be a function, for what depends on the time at which it is sent."""
        super().__init__(resource, **rule)
        self._reply = reply

    def before(self, request: Request) -> Outcome | None:
        if not self._fires():
            return None
        return self._reply if isinstance(self._reply, Reply) else self._reply()


class AfterSuccess(Rule):
    """Base of rules about answers. Only good ones (below 400) count: the CA refuses nonces at random."""

    def after(self, request: Request, reply: Reply) -> Outcome | None:
        return self.change(reply) if reply.status < 400 and self._fires() else None

    def change(self, reply: Reply) -> Outcome:
        """What comes instead of this good answer."""
        raise NotImplementedError


class LoseAnswer(AfterSuccess):
    """Forward the request, let the CA do it, and put a reset (or another outcome) in the place of its answer."""

    def __init__(self, resource: str, outcome: Outcome = CUT, **rule: t.Any) -> None:
        super().__init__(resource, **rule)
        self._outcome = outcome

    def change(self, reply: Reply) -> Outcome:
        return self._outcome


class Rewrite(AfterSuccess):
    """Pass a good answer through changes on its way back; one that a change is not about does not count."""

    def __init__(self, resource: str, *changes: Change, **rule: t.Any) -> None:
        super().__init__(resource, **rule)
        self._changes = changes

    def after(self, request: Request, reply: Reply) -> Outcome | None:
        outcome: Outcome | None = reply if reply.status < 400 else None
        for change in self._changes:
            outcome = change(outcome) if isinstance(outcome, Reply) else outcome
        return outcome if outcome is not None and self._fires() else None


class SpoilHandshake(Rule):
    """Let the TLS handshake of a connection fail: no request comes of it. Clients keep connections, so it is the next.

    `how` is `reset`, or what is wrong with the certificate: `untrusted`, `expired`, `misnamed`.
    """

    def __init__(self, how: str = "reset", *, nth: int = 1, times: float = 1) -> None:
        super().__init__(EVERYTHING, nth=nth, times=times)
        if how not in ("reset", "untrusted", "expired", "misnamed"):
            raise ValueError(f"no such failure of TLS: {how}")
        self.how = how

    def __repr__(self) -> str:
        return self.text or f"{type(self).__name__}({self.how!r})"

    def is_about(self, request: Request) -> bool:
        """A connection that got as far as a request is none of those."""
        return False

    def on_connection(self) -> bool:
        """Whether this connection is one to spoil; counts it."""
        return self._fires()
