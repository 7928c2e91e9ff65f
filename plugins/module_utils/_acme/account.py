# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accounts at the CA: find, create, update (RFC 8555 section 7.3), and the two account modules' work.

Private to this collection.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._errors import BadInput, UserError
from .options import Access, access_from
from .problems import AcmeProblem
from .session import Session, open_session, save_account_key


@dataclass(frozen=True)
class Account:
    """An account as the CA shows it; `contact` is None where the CA keeps none (Let's Encrypt)."""

    uri: str
    status: str
    contact: tuple[str, ...] | None
    orders_url: str | None

    def returns(self) -> dict[str, t.Any]:
        """Give the `account` return value."""
        return {"status": self.status, "contact": list(self.contact or ()), "orders": self.orders_url}


def _read(document: t.Mapping[str, t.Any], uri: str) -> Account:
    contact = document.get("contact")
    return Account(
        uri=uri,
        status=document.get("status", "valid"),
        contact=tuple(contact) if contact else None,
        orders_url=document.get("orders"),
    )


def _address(response: t.Any) -> str:
    """Give the account's URL, which is only in a header (RFC 8555 section 7.3)."""
    address: str | None = response.headers.get("Location")
    if not address:
        raise UserError(
            "The CA did not tell the address of the account", remedy="Run again, or give it in account_uri."
        )
    return address


def find_account(session: Session) -> Account | None:
    """Look the account up by its key (onlyReturnExisting), or by the URL that is already known.

    Raises UserError where it is deactivated or revoked; None where the CA knows no such account.
    """
    from acme import messages

    try:
        if session.account_uri:
            response = session.ask(session.account_uri, doing="show the account")
            account = _read(response.json(), session.account_uri)
        else:
            body = messages.NewRegistration(only_return_existing=True)
            response = session.ask(session.directory["newAccount"], body, doing="look the account up")
            account = _read(response.json(), _address(response))
    except AcmeProblem as problem:
        if problem.type == "accountDoesNotExist" or (problem.status == 404 and not session.account_uri):
            return None
        raise
    if account.status != "valid":
        raise UserError(
            f"The account is {account.status}",
            name=account.uri,
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
        save_account_key(access, session.key)
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
    account = _read(response.json(), _address(response))
    session.use_account(account.uri)
    return account


def update_contact(session: Session, account: Account, contact: t.Sequence[str]) -> Account:
    """Replace the account's contacts."""
    from acme import messages

    body = messages.UpdateRegistration.from_data(contact=tuple(contact))
    return _read(session.ask(account.uri, body, doing="update the account").json(), account.uri)


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


def show_account(params: dict[str, t.Any], *, check: bool, warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Do the work of module acme_account_info."""
    account = find_account(open_session(access_from(params)))
    return {"changed": False, "exists": account is not None, **_returns(account)}


def converge_account(params: dict[str, t.Any], *, check: bool, warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Do the work of module acme_account: make the account (and its key) be there, with these contacts."""
    access, contact = access_from(params), params.get("contact")
    session = open_session(access, may_create_key=params["allow_creation"])
    account = None if session.key_is_new else find_account(session)
    if account is None:
        if not params["allow_creation"]:
            require_account(session)
        check_creation(session, access, terms_agreed=params["terms_agreed"])
        if not check:
            account = create_account(session, access, contact=contact or (), terms_agreed=params["terms_agreed"])
        return {"changed": True, "created": True, **_returns(account)}
    changed = contact is not None and account.contact is not None and set(contact) != set(account.contact)
    if changed and not check:
        account = update_contact(session, account, contact or ())
    return {"changed": changed, "created": False, **_returns(account)}


def _returns(account: Account | None) -> dict[str, t.Any]:
    if account is None:
        return {"account_uri": None, "account": None}
    return {"account_uri": account.uri, "account": account.returns()}
