# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that every ACME module shares, and the objects that they become.

Private to this collection.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from functools import partial

from .._errors import BadInput
from .._option_file import complete_from_file

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
"""Filled in where no directory is given at all; not a default of the option, so that a credential can give another."""

CHALLENGES = ("dns-01", "dns-account-01", "dns-persist-01")
"""The challenge types that are proven by a TXT record."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}\Z")
_TO_BASE64URL = str.maketrans("+/", "-_")

ACCOUNT: dict[str, t.Any] = {
    "acme_directory": {"type": "str"},
    "account_key_path": {"type": "path", "aliases": ["account_key_src"]},
    "account_key_content": {"type": "str", "no_log": True},
    "account_key_passphrase": {"type": "str", "no_log": True},
    "account_uri": {"type": "str"},
    "external_account_binding": {
        "type": "dict",
        "options": {
            "kid": {"type": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": True},
            "alg": {"type": "str", "choices": ["HS256", "HS384", "HS512"], "default": "HS256"},
        },
    },
    "ca_path": {"type": "path"},
    "ca_content": {"type": "str"},
    "validate_certs": {"type": "bool", "default": True},
    "request_timeout": {"type": "int", "default": 45},
}
"""What every ACME module takes, and what may stand in its account_file."""

ACCOUNT_KEY = ("account_key_path", "account_key_content")
EXCLUSIVE = (ACCOUNT_KEY, ("ca_path", "ca_content"))

DNS_CHECK: dict[str, t.Any] = {
    "verify_dns": {"type": "str", "choices": ["authoritative", "recursive", "none"], "default": "authoritative"},
    "resolvers": {"type": "list", "elements": "str"},
}

CHALLENGE: dict[str, t.Any] = {
    "challenge": {"type": "str", "choices": list(CHALLENGES), "default": "dns-01"},
}

RECORD: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "entries": {"type": "list", "elements": "str", "required": True},
    "zone": {"type": "str"},
    "record": {"type": "str"},
    "type": {"type": "str"},
    "ttl": {"type": "int"},
    "identifiers": {"type": "list", "elements": "str"},
    "challenge_names": {"type": "list", "elements": "str"},
}
"""Sub-options of a TXT record, as modules return it."""

DELEGATION: dict[str, t.Any] = {
    "delegation": {"type": "dict"},
    "follow_cname": {"type": "bool", "default": False},
}

TIMEOUTS: dict[str, t.Any] = {
    "propagation_timeout": {"type": "int", "default": 120},
    "validation_timeout": {"type": "int", "default": 300},
    "issuance_timeout": {"type": "int", "default": 300},
}


def acme_spec(
    *groups: dict[str, t.Any],
    account_key_required: bool = True,
    mutually_exclusive: t.Sequence[t.Sequence[str]] = (),
    required_one_of: t.Sequence[t.Sequence[str]] = (),
    required_if: t.Sequence[t.Sequence[t.Any]] = (),
    complete: t.Callable[[dict[str, t.Any]], dict[str, t.Any]] = lambda params: params,
    **own: t.Any,
) -> dict[str, t.Any]:
    """Give `run`'s spec for a module with the shared options (also from a file), option groups, and its own.

    `complete` completes what is given beside the account. `account_key_required` is false where the module can do
    without (a certificate's own key may ask to revoke it).
    """
    spec: dict[str, t.Any] = {**ACCOUNT, "account_file": {"type": "path"}}
    for group in groups:
        spec.update(group)
    spec.update(own)
    needed = (ACCOUNT_KEY, *required_one_of) if account_key_required else required_one_of
    return {
        "argument_spec": spec,
        "mutually_exclusive": [*map(list, (*EXCLUSIVE, *mutually_exclusive))],
        "required_one_of": [*map(list, needed)],
        "required_if": [*map(list, required_if)],
        "complete": lambda params: complete(_complete_account(params)),
    }


_complete_account = partial(complete_from_file, option="account_file", options=ACCOUNT, exclusive=EXCLUSIVE)


@dataclass(frozen=True)
class Binding:
    """External account binding (RFC 8555 section 7.3.4); `key` is the MAC key in base64url, not padded."""

    kid: str
    key: str
    alg: str


@dataclass(frozen=True)
class Access:
    """How to reach the CA and as whom, checked; the key itself is read in `account_key.py`."""

    directory: str
    key_path: str | None
    key_content: str | None
    passphrase: str | None
    account_uri: str | None
    binding: Binding | None
    ca_path: str | None
    ca_content: str | None
    validate_certs: bool
    request_timeout: int


def _binding(given: t.Mapping[str, t.Any] | None) -> Binding | None:
    if not given:
        return None
    key = given["key"].strip().translate(_TO_BASE64URL)
    if not _BASE64URL.match(key) or len(key.rstrip("=")) % 4 == 1:
        raise BadInput(
            "external_account_binding",
            given["kid"],
            "its key is not in base64url or base64",
            remedy="Give the MAC key (HMAC) as the CA hands it out.",
        )
    return Binding(given["kid"], key.rstrip("="), given["alg"])


def access_from(params: t.Mapping[str, t.Any]) -> Access:
    """Read the shared options. Raises BadInput where one is malformed."""
    directory = params.get("acme_directory") or LETS_ENCRYPT
    if not directory.startswith("https://"):
        raise BadInput(
            "acme_directory", directory, "not an https:// URL", remedy=f"Give the CA's directory, like {LETS_ENCRYPT}."
        )
    if params["request_timeout"] <= 0:
        raise BadInput("request_timeout", params["request_timeout"], "not a number of seconds", remedy="Give 45 or so.")
    return Access(
        directory=directory,
        key_path=params.get("account_key_path"),
        key_content=params.get("account_key_content"),
        passphrase=params.get("account_key_passphrase"),
        account_uri=params.get("account_uri"),
        binding=_binding(params.get("external_account_binding")),
        ca_path=params.get("ca_path"),
        ca_content=params.get("ca_content"),
        validate_certs=params["validate_certs"],
        request_timeout=params["request_timeout"],
    )
