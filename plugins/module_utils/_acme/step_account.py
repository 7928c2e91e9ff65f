# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The work of acme_account and acme_account_info.

Private to this collection.
"""

from __future__ import annotations

import typing as t

from .._errors import UserError
from .._pki import keys
from .account import (
    Account,
    check_creation,
    create_account,
    deactivate,
    find_account,
    list_orders,
    look_up,
    require_account,
    update_contact,
)
from .options import Access, access_from
from .order import side_by_side
from .problems import AcmeProblem
from .rollover import Rollover, new_key_source
from .session import Session, open_session

Warn = t.Callable[[str], None]
Returns = t.Dict[str, t.Any]


def converge_account(params: dict[str, t.Any], *, check: bool, warn: Warn) -> Returns:
    """Do the work of module acme_account."""
    work = {"present": _be_present, "absent": _be_absent, "changed_key": _change_key}[params["state"]]
    return work(params, access_from(params), check)


def _be_present(params: t.Mapping[str, t.Any], access: Access, check: bool) -> Returns:
    """Make the account (and its key) be there, with these contacts."""
    session = open_session(access, may_create_key=params["allow_creation"] and access.account_uri is None)
    try:
        known = None if session.key_is_new else _find(session, access)
    except AcmeProblem as problem:
        if problem.type != "externalAccountRequired" or access.binding is None:
            raise
        # This CA tells only in answer to a newAccount with a binding; it opens no second account for a key.
        return _create(session, access, params, check, is_sure=False)
    if known is None:
        return _create(session, access, params, check)
    account, wanted = known, params.get("contact")
    differs = wanted is not None and set(wanted) != set(known.contact or ())
    if differs and not check:
        account = update_contact(session, known, wanted or ())
    before, after = _facts(known, session), _facts(account, session)
    if differs and check and known.contact is not None:
        after["contact"] = list(wanted or ())
    # Where the CA shows no contacts, only its answer tells whether it keeps any (Let's Encrypt does not).
    return _returns(account, session, changed=before != after, before=before, after=after)


def _find(session: Session, access: Access) -> Account | None:
    """Find the account by its key; one whose URL the user knows must be there."""
    account = find_account(session)
    if account is None and access.account_uri is not None:
        raise UserError(
            "The CA does not know the account",
            name=access.account_uri,
            remedy="Correct account_uri, or leave it out: the account is found by its key, or a new one is opened.",
        )
    return account


def _create(
    session: Session, access: Access, params: t.Mapping[str, t.Any], check: bool, *, is_sure: bool = True
) -> Returns:
    """Create the account; unless it `is_sure` that there is none, the CA's answer tells whether it is new."""
    if not params["allow_creation"]:
        require_account(session)
    contact = params.get("contact") or ()
    check_creation(session, access, terms_agreed=params["terms_agreed"])
    if check:
        after = _facts(Account("", "valid", tuple(contact)), session, is_key_known=not session.key_is_new)
        return {**_returns(None, session, changed=True, before={}, after=after), "created": True}
    account = create_account(session, access, contact=contact, terms_agreed=params["terms_agreed"])
    is_new, after = is_sure or account.is_new, _facts(account, session)
    before = {} if is_new else after
    return {**_returns(account, session, changed=is_new, before=before, after=after), "created": is_new}


def _be_absent(params: t.Mapping[str, t.Any], access: Access, check: bool) -> Returns:
    """Deactivate the account; one that is so already, or that the CA does not know, stays as it is."""
    session = open_session(access)
    account = look_up(session)
    if account is None or not account.is_usable:
        facts = _facts(account, session)
        return _returns(account, session, changed=False, before=facts, after=facts)
    session.use_account(account.uri)
    before = _facts(account, session)
    if not check:
        account = deactivate(session, account)
    return _returns(account, session, changed=True, before=before, after={**before, "status": "deactivated"})


def _change_key(params: t.Mapping[str, t.Any], access: Access, check: bool) -> Returns:
    """Make the new key the account's."""
    rollover = Rollover(access, new_key_source(params, access), key_type=params["new_account_key_type"])
    session, newcomer, account = rollover.session, rollover.newcomer, rollover.account
    if rollover.is_done:
        facts = _facts(account, newcomer)
        return _returns(account, newcomer, changed=False, before=facts, after=facts)
    before = _facts(account, session)
    after = _facts(account, newcomer, is_key_known=not (check and rollover.is_made))
    if check:
        return _returns(account, session, changed=True, before=before, after=after)
    rollover.change()
    return _returns(rollover.account, newcomer, changed=True, before=before, after=after)


def show_account(params: dict[str, t.Any], *, check: bool, warn: Warn) -> Returns:
    """Do the work of module acme_account_info."""
    session = open_session(access_from(params))
    account = look_up(session)
    exists = account is not None and account.is_usable
    found: list[tuple[str, t.Any]] = []
    if account is not None and exists and params["retrieve_orders"] != "ignore":
        session.use_account(account.uri)
        found = _orders(session, account, whole=params["retrieve_orders"] == "object_list", warn=warn)
    return {
        "changed": False,
        "exists": exists,
        **_account(account, session),
        "order_uris": [url for url, order in found],
        "orders": [order for url, order in found if order is not None],
    }


def _orders(session: Session, account: Account, *, whole: bool, warn: Warn) -> list[tuple[str, t.Any]]:
    """List the account's orders, each with its object where that is wanted; those that are gone are left out."""
    if account.orders_url is None:
        warn(f"The CA keeps no list of the orders of {account.uri}.")
        return []
    urls = list_orders(session, account.orders_url)
    if not whole:
        return [(url, None) for url in urls]

    def read(url: str) -> t.Any:
        try:
            return session.ask(url, doing="show the order").json()
        except AcmeProblem as problem:
            if not problem.is_gone:
                raise
            return None

    return [(url, order) for url, order in zip(urls, side_by_side(read, urls)) if order is not None]


def _returns(account: Account | None, session: Session, *, changed: bool, before: Returns, after: Returns) -> Returns:
    diff = {"before": before, "after": after}
    return {"changed": changed, "created": False, **_account(account, session), "diff": diff}


def _account(account: Account | None, session: Session) -> Returns:
    if account is None:
        return {"account_uri": None, "account": None}
    shown = {
        "status": account.status,
        "contact": list(account.contact or ()),
        "orders": account.orders_url,
        "public_account_key": session.jwk.public_key().to_json(),
    }
    return {"account_uri": account.uri or None, "account": shown}


def _facts(account: Account | None, session: Session, *, is_key_known: bool = True) -> Returns:
    """Give what a diff shows of an account; nothing of one that the CA does not know.

    A key that is not known yet, since check mode only would make it, has no thumbprint.
    """
    if account is None:
        return {}
    facts = {
        "status": account.status,
        "contact": list(account.contact or ()),
        "key_type": keys.key_type(session.key.public_key()),
    }
    return {**facts, "key_thumbprint": session.thumbprint} if is_key_known else facts
