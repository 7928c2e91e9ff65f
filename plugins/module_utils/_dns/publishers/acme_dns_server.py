# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTP API of an acme-dns server: accounts are made, and their values written. Private to this collection."""

from __future__ import annotations

import ipaddress
import re
import ssl
import typing as t
from urllib.parse import urlsplit

from ..._errors import BadInput, UserError
from .acme_dns_accounts import Account
from .masking import mask

if t.TYPE_CHECKING:
    import requests

_HEADER = re.compile(r"[!-~]+\Z")


class AcmeDnsServer:
    """One server by its URL. No error tells a user name or a password."""

    def __init__(self, url: str, *, ca_path: str | None, timeout: float, options: str = "") -> None:
        """Check URL and roots; nothing is asked yet. `options` stands before the names of options in errors."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise BadInput(f"{options}url", None, "not a plain URL", remedy="Give it like https://auth.example.com.")
        self.url = url.rstrip("/")
        self._options, self._timeout = options, timeout
        self._verify: str | bool = ca_path or True
        try:
            if ca_path is not None:
                ssl.create_default_context(cafile=ca_path)
        except OSError as error:
            why = f"no root certificate can be read there ({error.strerror or error})"
            raise BadInput(f"{options}ca_path", ca_path, why, remedy="Give the root of the CA in PEM form.") from None

    def register(self, *, allow_from: t.Sequence[str]) -> Account:
        """Make an account; it is lost where nobody keeps it."""
        answer = self._post("register", {"allowfrom": [*allow_from]} if allow_from else {})
        if answer.status_code != 201:
            raise self._refused("to register", answer, remedy="See whether it lets everybody register.")
        try:
            made = answer.json()
            named = {name: str(made[name]) for name in ("subdomain", "fulldomain", "username", "password")}
        except (ValueError, TypeError, KeyError):
            remedy = f"Correct {self._options}url."
            raise UserError("What answers is no acme-dns server", name=self.url, remedy=remedy) from None
        return Account(**named, server_url=self.url, allowfrom=tuple(made.get("allowfrom") or ()))

    def update(self, account: Account, value: str) -> None:
        """Write a value in the place of the older of the two that the account has."""
        if not _HEADER.match(account.username) or not _HEADER.match(account.password):
            what = "User name or password have characters that acme-dns never gives"
            raise UserError(what, name=account.fulldomain, remedy="Correct the account.")
        headers = {"X-Api-User": account.username, "X-Api-Key": account.password}
        answer = self._post("update", {"subdomain": account.subdomain, "txt": value}, headers)
        if answer.status_code != 200:
            remedy = "Look into the server's log."
            if answer.status_code == 401:
                remedy = "Correct user name, password and subdomain, or the addresses that may write (allowfrom)."
            raise self._refused(f"an update of {account.fulldomain}", answer, remedy=remedy, secrets=headers.values())

    def _post(self, path: str, body: t.Any, headers: dict[str, str] | None = None) -> requests.Response:
        import requests

        url = f"{self.url}/{path}"
        try:
            return requests.post(
                url, json=body, headers=headers, timeout=self._timeout, verify=self._verify, allow_redirects=False
            )
        except (requests.RequestException, OSError) as error:
            remedy = f"Check {self._options}url, the network, and the proxy of the controller (HTTPS_PROXY)."
            if isinstance(error, requests.exceptions.SSLError):
                remedy = f"For a private CA, give its root certificate in {self._options}ca_path."
            why = f"{type(error).__name__}: {error}"
            raise UserError("The acme-dns server cannot be asked", name=url, answer=why, remedy=remedy) from None

    def _refused(
        self, what: str, answer: requests.Response, *, remedy: str, secrets: t.Iterable[str] = ()
    ) -> UserError:
        if answer.is_redirect:
            remedy = f"Give {answer.headers['Location']} in {self._options}url, if that is yours."
        said = mask(answer.text.strip(), secrets)[:200] or "without a word"
        answered = f"{answer.status_code} {answer.reason}, {said}"
        return UserError(f"The acme-dns server refused {what}", name=self.url, answer=answered, remedy=remedy)


def parse_networks(given: t.Sequence[str], *, option: str) -> list[str]:
    """Give networks as acme-dns takes them, a single address as one too. Raises BadInput."""
    networks = []
    for text in given:
        try:
            networks.append(str(ipaddress.ip_network(text.strip())))
        except ValueError as error:
            raise BadInput(option, text, str(error), remedy="Write it like 192.0.2.0/24, or 192.0.2.7.") from None
    return networks
