# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a proxy between client and CA does wrong: one rule, one fault, at the n-th request that it is about.

A rule sees a request before it is forwarded and the CA's answer before it goes back, and may put a Reply or CUT in
the place of either. New kinds of faults are subclasses that override `before` or `after`.
"""

from __future__ import annotations

import re
import typing as t
import urllib.parse
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Request:
    """One request of a client; `target` is the path with the query."""

    method: str
    target: str
    headers: t.Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return urllib.parse.urlsplit(self.target).path


@dataclass(frozen=True)
class Reply:
    """An answer to a client. Content-Length and Connection are for the proxy to set."""

    status: int
    headers: t.Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def with_header(self, name: str, value: str | None) -> Reply:
        """The same with a header set in place of any of that name, or without it where `value` is None."""
        headers = {key: old for key, old in self.headers.items() if key.lower() != name.lower()}
        return replace(self, headers=headers if value is None else {**headers, name: value})


class Cut:
    """The connection is reset in place of an answer."""


CUT = Cut()
Outcome = t.Union[Reply, Cut]


class Rule:
    """Base of all rules: it is about requests whose path matches, from the `nth` of them on, `times` times."""

    def __init__(self, path: str, *, method: str | None = None, nth: int = 1, times: int = 1) -> None:
        """`path` is a regular expression that has to match at the beginning of the path."""
        self._path, self._method = re.compile(path), method
        self._skip, self.left = nth - 1, times

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._path.pattern!r}, method={self._method!r})"

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
        return True


class Refuse(Rule):
    """Reset the connection before the request has reached the CA."""

    def before(self, request: Request) -> Outcome | None:
        return CUT if self._fires() else None


class Respond(Rule):
    """Give an answer of our own; the CA never sees the request."""

    def __init__(self, path: str, reply: Reply, **rule: t.Any) -> None:
        super().__init__(path, **rule)
        self._reply = reply

    def before(self, request: Request) -> Outcome | None:
        return self._reply if self._fires() else None


class AfterSuccess(Rule):
    """Base of rules about answers. Only good ones (below 400) count: the CA refuses nonces at random."""

    def after(self, request: Request, reply: Reply) -> Outcome | None:
        return self.change(reply) if reply.status < 400 and self._fires() else None

    def change(self, reply: Reply) -> Outcome:
        """What comes instead of this good answer."""
        raise NotImplementedError


class LoseAnswer(AfterSuccess):
    """Forward the request, let the CA do it, and reset the connection instead of answering."""

    def change(self, reply: Reply) -> Outcome:
        return CUT


class Rewrite(AfterSuccess):
    """Change a good answer on its way back."""

    def __init__(self, path: str, change: t.Callable[[Reply], Outcome], **rule: t.Any) -> None:
        super().__init__(path, **rule)
        self._change = change

    def change(self, reply: Reply) -> Outcome:
        return self._change(reply)
