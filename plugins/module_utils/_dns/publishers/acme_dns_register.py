# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The work of acme_dns_account: an account for each base name, made once and kept. Private to this collection."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ..._errors import BadInput
from ..._lock import hold_lock
from ..._pki.names import parse_name
from ..records import absolute, cname_line
from .acme_dns_accounts import Account, base_name, challenge_name, read_accounts, write_accounts
from .acme_dns_server import AcmeDnsServer, parse_networks


def register_domains(params: t.Mapping[str, t.Any], *, check: bool, warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Do the work of module acme_dns_account."""
    domains = _domains(params["domains"])
    allow_from = parse_networks(params.get("allow_from") or (), option="allow_from")
    if params["timeout"] <= 0:
        raise BadInput("timeout", params["timeout"], "not a number of seconds", remedy="Give 60 or so.")
    server = AcmeDnsServer(params["url"], ca_path=params.get("ca_path"), timeout=params["timeout"])
    path: str = params["accounts_path"]
    with contextlib.nullcontext() if check else hold_lock(f"{os.path.abspath(path)}.lock", within=params["timeout"]):
        before = _read(path)
        _check_server(before, domains, server, path)
        missing = [domain for domain in domains if domain not in before]
        accounts = before if check or not missing else _register(server, missing, allow_from, before, path)
    ours = {domain: accounts[domain] for domain in domains if domain in accounts}
    return {
        "changed": bool(missing),
        **_returns(ours),
        "diff": {"before": {"domains": sorted(before)}, "after": {"domains": sorted({*before, *domains})}},
    }


def _register(
    server: AcmeDnsServer,
    domains: t.Sequence[str],
    allow_from: t.Sequence[str],
    before: t.Mapping[str, Account],
    path: str,
) -> dict[str, Account]:
    """Register one after the other, each on disk before the next; that it can be is found out before the first."""
    accounts = dict(before)
    write_accounts(path, accounts)
    for domain in domains:
        accounts[domain] = server.register(allow_from=allow_from)
        write_accounts(path, accounts)
    return accounts


def _domains(given: t.Sequence[str]) -> list[str]:
    """Give the base names, each once, in the form that a challenge name has."""
    domains: list[str] = []
    for domain in given:
        try:
            name = parse_name(base_name(domain)).ascii
        except BadInput as error:
            raise BadInput("domains", domain, error.why, remedy=error.remedy) from None
        domains += [name] if name not in domains else []
    if not domains:
        raise BadInput("domains", None, "no names given", remedy="Give at least one, like corp.example.com.")
    return domains


def _read(path: str) -> dict[str, Account]:
    try:
        return read_accounts(path, option="accounts_path")
    except FileNotFoundError:
        return {}


def _check_server(
    accounts: t.Mapping[str, Account], domains: t.Sequence[str], server: AcmeDnsServer, path: str
) -> None:
    """Refuse to take an account elsewhere for one here."""
    for domain in domains:
        known = accounts[domain].server_url if domain in accounts else None
        if known is not None and known.rstrip("/") != server.url:
            why = f"{domain} has an account there already, at {known}"
            raise BadInput("accounts_path", path, why, remedy="Give that url, another path, or remove this account.")


def _returns(accounts: t.Mapping[str, Account]) -> dict[str, t.Any]:
    """Give what is no secret."""
    cnames = [
        {"name": challenge_name(domain), "target": absolute(account.fulldomain)} for domain, account in accounts.items()
    ]
    lines = [cname_line(cname["name"], cname["target"]) for cname in cnames]
    return {
        "accounts": [
            {"domain": domain, "subdomain": account.subdomain, "fulldomain": account.fulldomain}
            for domain, account in accounts.items()
        ],
        "cname_records": cnames,
        "instructions": ["Add these CNAME records, once; no TXT record has to be added after that:", *lines]
        if lines
        else [],
    }
