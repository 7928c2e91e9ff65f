# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a CA says when it refuses, in words that a person can act on (RFC 7807, RFC 8555 section 6.7).

Private to this collection.
"""

from __future__ import annotations

import typing as t
from datetime import datetime

from .._errors import UserError
from .._pki.chain import iso

_PREFIX = "urn:ietf:params:acme:error:"

_REMEDIES = {
    "accountDoesNotExist": "Check account_uri, the account key and acme_directory; acme_account creates an account.",
    "badPublicKey": "The CA does not take this kind of key; use ec-256 (or rsa-2048 and larger).",
    "badSignatureAlgorithm": "The CA does not take this kind of account key; use ec-256 (or rsa-2048).",
    "badRevocationReason": "Give another reason; most CAs take unspecified, superseded and cessationOfOperation, and "
    "keyCompromise with the certificate's own key.",
    "caa": "Allow this CA in the CAA records of the zone (issuewild for wildcards).",
    "connection": "Check that the CA can reach the name servers of the zone.",
    "dns": "Check the zone with an outside resolver, then run again.",
    "externalAccountRequired": "Give external_account_binding (kid and key), which the CA hands out.",
    "incorrectResponse": "Publish just the value that is shown at every name server, then run again.",
    "invalidContact": "Correct contact (mailto:somebody@example.com), or leave it out.",
    "invalidProfile": "Give one of the profiles in the directory's meta.profiles, or none.",
    "rateLimited": "Nothing is wrong with this host; run again after the time given.",
    "rejectedIdentifier": "Remove or correct the names that the CA names.",
    "unsupportedContact": "Correct contact (mailto:somebody@example.com), or leave it out.",
    "userActionRequired": "Open the address that the CA names, then run again.",
}


_PAUSED = "Do what the CA says (open the address that it names), then run again; trying before does not help."
"""For a limit without a time: Let's Encrypt pauses an account for a name whose validation kept failing."""


class AcmeProblem(UserError):
    """The CA answered with a problem document (or with an error that is none)."""

    def __init__(
        self,
        doing: str,
        problem: t.Mapping[str, t.Any],
        *,
        status: int | None = None,
        retry_at: datetime | None = None,
        name: str | None = None,
        remedy: str | None = None,
    ) -> None:
        self.problem = dict(problem)
        self.type = str(problem.get("type") or "about:blank").replace(_PREFIX, "")
        self.status = status
        self.retry_at = retry_at
        answer = describe_problem(problem)
        if retry_at is not None:
            answer += f" (not before {iso(retry_at)})"
        super().__init__(
            f"The CA refused to {doing}",
            name=name,
            answer=answer,
            remedy=remedy or (_PAUSED if self.type == "rateLimited" and retry_at is None else _REMEDIES.get(self.type)),
            problem=self.problem,
            retry_after=None if retry_at is None else iso(retry_at),
        )

    @property
    def is_limit(self) -> bool:
        """Tell whether the CA (or what stands before it) wants fewer requests."""
        return self.type == "rateLimited" or self.status == 429

    @property
    def is_gone(self) -> bool:
        """Tell whether the object asked for does not exist for this account (any more)."""
        return self.status in (401, 403, 404, 410) or self.type in ("malformed", "unauthorized") and self.status == 400


def describe_problem(problem: t.Mapping[str, t.Any] | None) -> str:
    """Say type, detail and every subproblem with its name, in one line."""
    if not problem:
        return "no reason given"
    subproblems = problem.get("subproblems")
    parts = []
    for part in (problem, *(subproblems if isinstance(subproblems, list) else ())):
        if not isinstance(part, t.Mapping):
            continue
        kind = str(part.get("type") or "about:blank").replace(_PREFIX, "")
        identifier = part.get("identifier")
        name = identifier.get("value") if isinstance(identifier, dict) else identifier
        detail = part.get("detail") or part.get("title")
        parts.append(f"{f'{name}: ' if name else ''}{kind}{f', {detail!r}' if detail else ''}")
    return "; ".join(parts)
