# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Order, authorization and challenge as the CA shows them (RFC 8555 section 7.1), read leniently from its JSON.

The `acme` library's own classes are not used for reading: they refuse statuses and identifiers that CAs do send, and
re-encode tokens, which changes the key authorization (notes/acme.md 2.4 T5, T8, T16). Private to this collection.
"""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t
from dataclasses import dataclass, field
from datetime import datetime, timezone

from .._dns import persist
from .._errors import UserError

if t.TYPE_CHECKING:
    from .session import Session

PERSISTENT = "dns-persist-01"
"""The challenge type whose record is made once and stays: it holds no token, but names the account."""

LONGEST_NAME = 253
"""Characters that a DNS name may have, written without its final dot (RFC 1035 section 2.3.4)."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\Z")


def parse_moment(text: str | None) -> datetime | None:
    """Read an RFC 3339 time stamp as aware UTC; None stays None, and so does what is none."""
    if not isinstance(text, str):
        return None
    match = re.match(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z", text.strip())
    if match is None:
        return None
    zone = "+00:00" if match.group(3) in "Zz" else match.group(3)
    try:
        return datetime.fromisoformat(f"{match.group(1)}T{match.group(2)}{zone}").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Challenge:
    """One way to prove control. `token` is the raw text of the JSON, `document` all of it."""

    type: str
    url: str
    status: str
    token: str
    error: t.Mapping[str, t.Any] | None
    document: t.Mapping[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Authorization:
    """The CA's question whether this account controls `name` (never with `*.`; see `is_wildcard`)."""

    url: str
    name: str
    is_wildcard: bool
    status: str
    expires: datetime | None
    challenges: tuple[Challenge, ...]

    @property
    def identifier(self) -> str:
        """The name as it was ordered."""
        return f"*.{self.name}" if self.is_wildcard else self.name

    def challenge(self, kind: str) -> Challenge:
        """Find the challenge of this type. Raises UserError naming the types that the CA offers instead (R48)."""
        for challenge in self.challenges:
            if challenge.type == kind:
                return challenge
        offered = ", ".join(sorted(challenge.type for challenge in self.challenges)) or "none"
        raise UserError(
            f"The CA offers no {kind} challenge",
            name=self.identifier,
            answer=f"offered are: {offered}",
            remedy="Use a CA that validates by DNS; wildcards need it.",
        )

    def problem(self) -> dict[str, t.Any] | None:
        """Give the problem document of the challenge that failed, with the name it is about."""
        for challenge in self.challenges:
            if challenge.error:
                return {"identifier": {"type": "dns", "value": self.identifier}, **challenge.error}
        return None


@dataclass(frozen=True)
class Order:
    """An order; `retry_after` is the pause in seconds that the CA asked for with this answer."""

    url: str
    status: str
    expires: datetime | None
    identifiers: tuple[str, ...]
    authorization_urls: tuple[str, ...]
    finalize_url: str
    certificate_url: str | None
    error: t.Mapping[str, t.Any] | None
    retry_after: float | None


def read_order(session: Session, url: str) -> Order:
    """Ask the CA how an order stands. Raises AcmeProblem (`is_gone` where it knows no such order of this account)."""
    return order_from(session.ask(url, doing="show the order"), url)


def order_from(response: t.Any, url: str) -> Order:
    """Read an order from the CA's answer."""
    from .transport import retry_after_seconds

    document = response.json()
    return Order(
        url=url,
        status=document.get("status", "pending"),
        expires=parse_moment(document.get("expires")),
        identifiers=tuple(_identifier(item, url).lower() for item in document.get("identifiers") or ()),
        authorization_urls=tuple(document.get("authorizations") or ()),
        finalize_url=document.get("finalize", ""),
        certificate_url=document.get("certificate"),
        error=document.get("error") or None,
        retry_after=retry_after_seconds(response),
    )


def _identifier(item: t.Any, url: str) -> str:
    """Read the name out of an identifier object. Raises UserError where the CA sent none."""
    name = item.get("value") if isinstance(item, dict) else None
    if not isinstance(name, str) or not name:
        raise UserError("The CA's answer lacks the name that it is about", name=url, remedy="Run again later.")
    return name


def read_authorization(session: Session, url: str) -> Authorization:
    """Ask the CA how an authorization stands."""
    document = session.ask(url, doing="show an authorization").json()
    name = _identifier(document.get("identifier"), url).lower()
    return Authorization(
        url=url,
        name=name[2:] if name.startswith("*.") else name,
        is_wildcard=bool(document.get("wildcard")) or name.startswith("*."),
        status=document.get("status", "pending"),
        expires=parse_moment(document.get("expires")),
        challenges=tuple(
            Challenge(
                type=item.get("type", ""),
                url=item.get("url", ""),
                status=item.get("status", "pending"),
                token=item.get("token", ""),
                error=item.get("error") or None,
                document=item,
            )
            for item in document.get("challenges") or ()
        ),
    )


def record_name(identifier: str, kind: str, *, account_uri: str) -> str:
    """Give the name at which the TXT record of a challenge of this kind is looked for, without final dot.

    For dns-account-01 (draft-ietf-acme-dns-account-label-02) it has a label of the account's own, so that several
    accounts may each leave a CNAME for one name. Raises UserError for a name below which that label does not fit.
    """
    if kind == PERSISTENT:
        label = persist.LABEL
    elif kind == "dns-01":
        label = "_acme-challenge"
    else:
        digest = hashlib.sha256(account_uri.encode()).digest()[:10]
        label = f"_{base64.b32encode(digest).decode().lower()}._acme-challenge"
    name = f"{label}.{identifier[2:] if identifier.startswith('*.') else identifier}"
    if len(name) > LONGEST_NAME:
        raise UserError(
            f"No record of {kind} fits below a name of {len(name) - len(label) - 1} characters",
            name=identifier,
            remedy="Shorten it, or use challenge dns-01.",
        )
    return name


def dns_value(session: Session, challenge: Challenge) -> str:
    """Compute the TXT value of a challenge (RFC 8555 section 8.4, the same for dns-account-01) from its raw token.

    Raises UserError for a token that is no base64url (RFC 8555 section 8.3).
    """
    if not _TOKEN.match(challenge.token):
        raise UserError("The CA sent a malformed challenge token", name=challenge.url, remedy="Order again.")
    digest = hashlib.sha256(f"{challenge.token}.{session.thumbprint}".encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def persistent_value(session: Session, authorization: Authorization, *, is_wildcard: bool) -> persist.Wanted:
    """Tell what the record of dns-persist-01 must state; `is_wildcard` where it is to prove the name's wildcard too.

    Raises UserError where the CA does not offer it, or means a form that is not known here: nothing is guessed, since
    a wrong record would let another account get certificates for years.
    """
    challenge = authorization.challenge(PERSISTENT)
    wanted = persist.wanted_from(
        challenge.document,
        name=authorization.name,
        is_wildcard=is_wildcard,
        account_uri=session.account_uri or "",
        thumbprint=session.thumbprint,
        hash_prefix=session.meta.get("accountHashPrefix"),
    )
    if wanted is None:
        raise UserError(
            f"The CA's {PERSISTENT} challenge has a form that is not known here",
            name=authorization.identifier,
            answer=f"it holds {', '.join(sorted(challenge.document)) or 'nothing'}",
            remedy="Known are drafts -00 to -02 of draft-ietf-acme-dns-persist; use challenge dns-01.",
        )
    return wanted
