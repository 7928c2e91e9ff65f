# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The accounts at an acme-dns server: a JSON file by base name, as goacmedns writes it for lego and cert-manager.

It holds passwords: no error quotes it, and it is 0600. Private to this collection.
"""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import asdict, dataclass, field

from ..._errors import BadInput, UserError
from ..._files import make_directory, read_bytes, write_file
from ..records import absolute, bare

CHALLENGE = "_acme-challenge."


@dataclass(frozen=True)
class Account:
    """One account: the name `fulldomain`, whose values `username` may write at `server_url` (None: the one given)."""

    subdomain: str
    fulldomain: str
    username: str = field(repr=False)
    password: str = field(repr=False)
    server_url: str | None = None
    allowfrom: t.Sequence[str] = ()


def base_name(name: str) -> str:
    """Give the name that an account is for: without `*.` and `_acme-challenge.`, since both lead to one record."""
    text = bare(absolute(name.strip()))
    for prefix in ("*.", CHALLENGE):
        text = text[len(prefix) :] if text.startswith(prefix) else text
    return text


def challenge_name(domain: str) -> str:
    """Give the name, with its final dot, at which the CNAME for a base name belongs."""
    return absolute(CHALLENGE + domain)


def read_accounts(path: str, *, option: str) -> dict[str, Account]:
    """Read the accounts of a file by base name; a missing file raises FileNotFoundError, what is damaged BadInput."""
    try:
        document = json.loads(read_bytes(path))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput(option, path, f"cannot be read ({error.strerror})", remedy="Mend its rights.") from None
    except ValueError:
        raise BadInput(option, path, "is not JSON", remedy="Restore it, or give another path.") from None
    if not isinstance(document, dict):
        raise BadInput(option, path, "holds no JSON object", remedy="Write one object, with an account a base name.")
    return {base_name(domain): _account(given, domain, option, path) for domain, given in document.items()}


def _account(given: t.Any, domain: str, option: str, path: str) -> Account:
    names = ("subdomain", "fulldomain", "username", "password")
    given = given if isinstance(given, dict) else {}
    lacking = [name for name in names if not isinstance(given.get(name), str) or not given[name]]
    if lacking:
        why = f"the account of {domain} has no {', '.join(lacking)}"
        raise BadInput(option, path, why, remedy="Restore it, or remove this account, to have another one made.")
    return Account(
        **{name: given[name] for name in names},
        server_url=given.get("server_url") or None,
        allowfrom=tuple(given.get("allowfrom") or ()),
    )


def write_accounts(path: str, accounts: t.Mapping[str, Account]) -> None:
    """Write the file, whole or not at all. Raises UserError where that cannot be."""
    text = json.dumps({domain: asdict(account) for domain, account in sorted(accounts.items())}, indent=2)
    try:
        make_directory(os.path.dirname(os.path.abspath(path)))
        write_file(path, f"{text}\n".encode())
    except OSError as error:
        raise UserError(
            "The accounts cannot be written",
            name=path,
            answer=error.strerror,
            remedy="Free space, mend the rights of its directory, or give another path.",
        ) from error
