# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records at an acme-dns server, to which a CNAME made once leads. Private to this collection."""

from __future__ import annotations

import re
import time
import typing as t
from itertools import zip_longest

from ..._errors import BadInput
from ..publisher import Publisher
from ..records import absolute, bare
from .acme_dns_accounts import Account, base_name, challenge_name, read_accounts
from .acme_dns_server import AcmeDnsServer

if t.TYPE_CHECKING:
    from ..records import DnsRecord

KEPT = 2
"""How many values an account has: the next one takes the place of the oldest."""

_VALUE = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class AcmeDns(Publisher):
    """Writes by the account that each base name has there."""

    OPTIONS: t.ClassVar[dict[str, t.Any]] = {
        "url": {"type": "str"},
        "accounts": {
            "type": "list",
            "elements": "dict",
            "options": {
                "domain": {"type": "str", "required": True},
                "subdomain": {"type": "str", "required": True},
                "fulldomain": {"type": "str", "required": True},
                "username": {"type": "str", "required": True},
                "password": {"type": "str", "required": True, "no_log": True},
            },
        },
        "accounts_path": {"type": "path"},
        "ca_path": {"type": "path"},
    }
    REQUIRED = ("url",)
    REMOVES = False

    def __init__(self, options: t.Mapping[str, t.Any]) -> None:
        super().__init__(options)
        self._accounts = _read(options)
        self._servers = {url: self._server(url) for url in {options["url"], *map(self._url, self._accounts.values())}}
        self._by_name = {
            name: account
            for domain, account in self._accounts.items()
            for name in (challenge_name(domain), absolute(account.fulldomain))
        }

    def _url(self, account: Account) -> str:
        return account.server_url or str(self.options["url"])

    def _server(self, url: str) -> AcmeDnsServer:
        return AcmeDnsServer(url, ca_path=self.options.get("ca_path"), timeout=self.timeout, options="publisher.")

    @property
    def delegation(self) -> t.Mapping[str, str]:
        return {challenge_name(domain): absolute(one.fulldomain) for domain, one in self._accounts.items()}

    def prepare(self, names: t.Sequence[str]) -> None:
        for name in names:
            self._account_for(name)

    def add(self, records: t.Sequence[DnsRecord]) -> None:
        """Write all values, after all of them are found to fit.

        The server knows the older of two by whole seconds: those of one account are written in seconds of their own.
        """
        wanted: dict[Account, list[str]] = {}
        for record in records:
            values = wanted.setdefault(self._account_for(record.name), [])
            values += [entry for entry in record.entries if entry not in values]
        for account, values in wanted.items():
            _check_values(account, values)
        turns = [*zip_longest(*wanted.values())]
        for turn in turns:
            if len(turns) > 1:
                time.sleep(1)
            for account, value in zip(wanted, turn):
                if value is not None:
                    self._servers[self._url(account)].update(account, value)

    def remove(self, records: t.Sequence[DnsRecord]) -> None:
        """Leave them: acme-dns has no way to remove a value, and the next ones take their places."""

    def _account_for(self, name: str) -> Account:
        account = self._by_name.get(absolute(name))
        if account is None:
            why = f"none of them is for {bare(absolute(name))} (there are some for {', '.join(sorted(self._accounts))})"
            remedy = "Register it with the module acme_dns_account, and add its CNAME."
            raise BadInput("publisher.accounts", None, why, remedy=remedy)
        return account


def _read(options: t.Mapping[str, t.Any]) -> dict[str, Account]:
    """Give the accounts of both options by base name."""
    accounts, path = {}, options.get("accounts_path")
    if path:
        try:
            accounts = read_accounts(path, option="publisher.accounts_path")
        except FileNotFoundError:
            remedy = "Correct the path, or make it with the module acme_dns_account."
            raise BadInput("publisher.accounts_path", path, "no such file", remedy=remedy) from None
    for given in options.get("accounts") or ():
        named = {name: given[name] for name in ("subdomain", "fulldomain", "username", "password")}
        accounts[base_name(given["domain"])] = Account(**named)
    if not accounts:
        remedy = "Register one with the module acme_dns_account, and give its accounts_path."
        raise BadInput("publisher.accounts", None, "there is no account", remedy=remedy)
    return accounts


def _check_values(account: Account, values: t.Sequence[str]) -> None:
    if len(values) > KEPT:
        why = f"{len(values)} values are to be at {account.fulldomain}, and acme-dns keeps {KEPT}"
        raise BadInput("publisher.accounts", None, why, remedy="Register an account of its own for each base name.")
    for value in values:
        if not _VALUE.match(value):
            why = f"acme-dns takes no value like {value!r}, only the 43 characters of dns-01"
            raise BadInput("publisher.type", "acme_dns", why, remedy="Use another publisher, or challenge dns-01.")
