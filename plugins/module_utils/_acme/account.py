# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accounts at the CA: find, create, update, deactivate, and list the orders of one (RFC 8555 section 7.3).

Private to this collection.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace
from urllib.parse import urljoin

from .._errors import BadInput, UserError
from .account_key import key_source
from .options import Access
from .problems import AcmeProblem

if t.TYPE_CHECKING:
    from .session import Session


@dataclass(frozen=True)
class Account:
    """An account as the CA shows it; `contact` is None where it shows none, or keeps none (Let's Encrypt).

    `uri` is empty where the CA only says that the key's account is deactivated. `is_new`: made by this request.
    """

    uri: str
    status: str
    contact: tuple[str, ...] | None = None
    orders_url: str | None = None
    is_new: bool = False

    @property
    def is_usable(self) -> bool:
        """Tell whether the CA still takes requests of this account."""
        return self.status == "valid"


def _read(response: t.Any, uri: str) -> Account:
    document = response.json()
    contact = document.get("contact")
    return Account(
        uri=uri,
        status=document.get("status", "valid"),
        contact=tuple(contact or ()) if "contact" in document else None,
        orders_url=document.get("orders"),
        is_new=response.status_code == 201,
    )


def _says_deactivated(problem: AcmeProblem, *, by_key: bool) -> bool:
    """Tell whether the CA refuses for this reason, of which RFC 8555 section 7.3.6 has no type of its own.

    By the CA's words; to a look-up by key, which needs no right but the key, also by its status 401 alone.
    """
    says_so = "deactivated" in str(problem.answer) or (by_key and problem.status == 401)
    return problem.type == "unauthorized" and says_so


def _address(response: t.Any) -> str:
    """Give the account's URL, which is only in a header (RFC 8555 section 7.3)."""
    address: str | None = response.headers.get("Location")
    if not address:
        raise UserError(
            "The CA did not tell the address of the account", remedy="Run again, or give it in account_uri."
        )
    return address


def look_up(session: Session) -> Account | None:
    """Look the account up by its key (onlyReturnExisting), or by the URL that is already known, whatever its status.

    None where the CA knows no such account.
    """
    from acme import messages

    try:
        if session.account_uri:
            return _read(session.ask(session.account_uri, doing="show the account"), session.account_uri)
        body = messages.NewRegistration(only_return_existing=True)
        response = session.ask(session.directory["newAccount"], body, doing="look the account up", repeatable=True)
        return _read(response, _address(response))
    except AcmeProblem as problem:
        if problem.type == "accountDoesNotExist" or (problem.status == 404 and not session.account_uri):
            return None
        if _says_deactivated(problem, by_key=not session.account_uri):
            return Account(session.account_uri or "", "deactivated")
        if problem.type == "externalAccountRequired":
            problem.advise("This CA looks up no account by its key alone: give account_uri.")
        elif session.account_uri and problem.type in ("malformed", "unauthorized"):
            problem.advise("Check that account_uri is the account of this key, or leave it out.")
        raise


def find_account(session: Session) -> Account | None:
    """Look the account up, and sign as it from now on; None where the CA knows no such account.

    Raises UserError where it is deactivated or revoked.
    """
    account = look_up(session)
    if account is None:
        return None
    if not account.is_usable:
        raise UserError(
            f"The account is {account.status}",
            name=account.uri or None,
            remedy="Use another account key; it cannot be revived.",
        )
    session.use_account(account.uri)
    return account


def check_creation(session: Session, access: Access, *, terms_agreed: bool) -> None:
    """Refuse to ask for an account where the CA would refuse: before a key is written, before anything is sent.

    Raises BadInput naming `terms_agreed` or `external_account_binding`.
    """
    meta = session.directory.meta
    if meta.terms_of_service and not terms_agreed:
        raise BadInput(
            "terms_agreed",
            None,
            f"the CA opens an account only when its terms are agreed to: {meta.terms_of_service}",
            remedy="Read them, then set terms_agreed: true (certificate_terms_agreed of the role).",
        )
    if meta.external_account_required and access.binding is None:
        raise BadInput(
            "external_account_binding",
            None,
            f"{session.url} opens an account only with external account binding",
            remedy="Give kid and key, which the CA hands out.",
        )


def create_account(session: Session, access: Access, *, contact: t.Sequence[str] = (), terms_agreed: bool) -> Account:
    """Create the account for the session's key; a new key is on disk before the CA hears of it.

    Asking twice is as asking once: the CA gives the account that the key has (RFC 8555 section 7.3.1). Raises as
    `check_creation`.
    """
    from acme import messages

    check_creation(session, access, terms_agreed=terms_agreed)
    if session.key_is_new:
        key_source(access).save(session.key)
    details: dict[str, t.Any] = {"contact": tuple(contact)} if contact else {}
    if access.binding is not None:
        details["external_account_binding"] = messages.ExternalAccountBinding.from_data(
            session.jwk.public_key(), access.binding.kid, access.binding.key, session.directory, access.binding.alg
        )
    body = messages.NewRegistration.from_data(terms_of_service_agreed=terms_agreed or None, **details)
    try:
        response = session.ask(session.directory["newAccount"], body, doing="open an account", repeatable=True)
    except AcmeProblem as problem:
        if access.binding is not None and problem.type in ("malformed", "unauthorized"):
            problem.advise("Check kid, key and alg of external_account_binding: the CA hands them out, some only once.")
        raise
    account = _read(response, _address(response))
    session.use_account(account.uri)
    return account


def update_contact(session: Session, account: Account, contact: t.Sequence[str]) -> Account:
    """Replace the account's contacts."""
    from acme import messages

    body = messages.UpdateRegistration.from_data(contact=tuple(contact))
    return _read(session.ask(account.uri, body, doing="update the account", repeatable=True), account.uri)


def deactivate(session: Session, account: Account) -> Account:
    """Deactivate the account for good (RFC 8555 section 7.3.6); one that is so already stays so."""
    from acme import messages

    body = messages.Registration(status="deactivated")
    try:
        return _read(session.ask(account.uri, body, doing="deactivate the account", repeatable=True), account.uri)
    except AcmeProblem as problem:
        if not _says_deactivated(problem, by_key=False):
            raise
        return replace(account, status="deactivated")


def list_orders(session: Session, url: str) -> list[str]:
    """List the URLs of an account's orders over all pages (RFC 8555 section 7.1.2.1), in the CA's order."""
    listed: list[str] = []
    pages: list[str] = []
    page: str | None = url
    while page is not None and page not in pages:
        pages.append(page)
        response = session.ask(page, doing="list the account's orders", document=False)
        listed += _order_urls(response)
        following = response.links.get("next", {}).get("url")
        page = urljoin(page, following) if following else None
    return list(dict.fromkeys(listed))


def _order_urls(response: t.Any) -> list[str]:
    """Read one page of the list; step-ca gives the array without the object around it."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, (dict, list)):
        raise UserError("The CA's list of the account's orders is none", name=response.url, remedy="Run again.")
    return (document.get("orders") if isinstance(document, dict) else document) or []


def require_account(session: Session) -> str:
    """Give the URL of an account that must exist: the session's own, else found by the key."""
    if session.account_uri:
        return session.account_uri
    account = find_account(session)
    if account is None:
        raise UserError(
            "The CA knows no account for this account key",
            name=session.url,
            remedy="Create it once with acme_account (terms_agreed: true).",
        )
    return account.uri
