# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records of dns-persist-01 (draft-ietf-acme-dns-persist): a TXT value that names issuer and account.

    letsencrypt.org; accounturi=https://ca.example/acct/1; policy=wildcard; persistUntil=1893456000

It is made once and good for all orders to come. Up to draft -01, `accounturi` is what the CA says, or the account's
URL; in -02 it is a hash that the client makes. Which form a CA means is told by what its challenge holds.
Pure functions over text. Private to this collection.
"""

from __future__ import annotations

import base64
import hashlib
import re
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone

LABEL = "_validation-persist"
"""The record of a name, and of its wildcard, is at this label below it."""

MOST_ISSUERS = 10
"""A challenge with more is malformed, as is one with none (section 3.1 of the draft)."""

_ISSUER = re.compile(r"(?=.{1,253}\Z)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+\Z")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-:<-~]+\Z")
_VALUE = re.compile(r"[!-:<-~]+\Z")
_UNTIL = re.compile(r"\d{1,18}\Z")


@dataclass(frozen=True)
class Stated:
    """What a record states; one that `is_malformed` proves nothing."""

    issuer: str
    account: str | None = None
    is_wildcard: bool = False
    until: int | None = None
    is_malformed: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a record must state for a challenge: one of `issuers`, one of `accounts` (the first ones are written), and
    that it holds for the wildcard where one is wanted."""

    issuers: tuple[str, ...]
    accounts: tuple[str, ...]
    is_wildcard: bool

    def __str__(self) -> str:
        """Give the TXT value to write."""
        policy = "; policy=wildcard" if self.is_wildcard else ""
        return f"{self.issuers[0]}; accounturi={self.accounts[0]}{policy}"

    def is_met_by(self, value: str, *, now: datetime | None = None) -> bool:
        """Tell whether a value that is in DNS does, though it may be written in another way."""
        return parse(value).issuer in self.issuers and not self.objection(value, now=now)

    def objection(self, value: str, *, now: datetime | None = None) -> str:
        """Say what is wrong with a value in DNS that is meant for this CA; nothing where it is for another one."""
        stated = parse(value)
        if stated.issuer not in self.issuers:
            return ""
        if stated.is_malformed:
            return "it is malformed"
        if stated.account not in self.accounts:
            return "it is for another account"
        if self.is_wildcard and not stated.is_wildcard:
            return "it lacks policy=wildcard"
        if stated.until is not None and stated.until <= (now or datetime.now(timezone.utc)).timestamp():
            return f"its persistUntil was {_shown(stated.until)}"
        return ""


def _shown(until: int) -> str:
    try:
        return f"{datetime.fromtimestamp(until, timezone.utc):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return str(until)


def parse(value: str) -> Stated:
    """Read a TXT value as CAs do (RFC 8659 section 4.2): tags in any case, unknown ones ignored, none twice."""
    first, *rest = [part.strip(" \t") for part in value.split(";")]
    tags: dict[str, str] = {}
    for part in rest:
        tag, equals, text = (piece.strip(" \t") for piece in part.partition("="))
        if not tag or not equals or tag.lower() in tags or (text and not _VALUE.match(text)):
            return Stated(first, is_malformed=True)
        tags[tag.lower()] = text
    until = tags.get("persistuntil")
    if not tags.get("accounturi") or (until is not None and not _UNTIL.match(until)):
        return Stated(first, is_malformed=True)
    return Stated(
        first, tags["accounturi"], tags.get("policy", "").lower() == "wildcard", int(until) if until else None
    )


def wanted_from(
    challenge: t.Mapping[str, t.Any],
    *,
    name: str,
    is_wildcard: bool,
    account_uri: str,
    thumbprint: str,
    hash_prefix: t.Any,
) -> Wanted | None:
    """Tell what record a CA's challenge wants for `name` (without `*.`); None where its form is not known.

    `thumbprint` is the account key's (RFC 7638), `hash_prefix` the directory's accountHashPrefix, if it has one.
    """
    hashed, plain = challenge.get("issuerDomainNames"), challenge.get("issuer-domain-names")
    if hashed is not None and hash_prefix is not None:
        given = [account_hash(domain, thumbprint=thumbprint, account_uri=account_uri) for domain in (name, "*")]
        issuers, accounts = hashed, [f"{hash_prefix}sha-256/{one}" for one in given]
    else:
        issuers, accounts = plain, [challenge.get("accounturi", account_uri)]
    if not _are_issuers(issuers) or not all(isinstance(one, str) and _URI.match(one) for one in accounts):
        return None
    return Wanted(tuple(sorted(issuers)), tuple(accounts), is_wildcard)


def _are_issuers(names: t.Any) -> bool:
    if not isinstance(names, list) or not 1 <= len(names) <= MOST_ISSUERS:
        return False
    return all(isinstance(name, str) and _ISSUER.match(name) for name in names)


def account_hash(domain: str, *, thumbprint: str, account_uri: str) -> str:
    """Hash an account for the record of a domain, or for that of any (`*`), as draft -02 says."""
    data = domain.encode()
    digest = hashlib.sha256(bytes([len(data)]) + data + thumbprint.encode() + account_uri.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
