# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Accounts at CAs that are not as Pebble is: no list of orders, no look-up without binding, endless pages."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.account import (
    Account,
    deactivate,
    find_account,
    list_orders,
    look_up,
)
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.problems import AcmeProblem
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.session import Session
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.step_account import (
    converge_account,
    show_account,
)
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._acme.scripted_ca import (
    CUT,
    Answer,
    ScriptedCa,
    problem,
)

PRESENT = {"state": "present", "allow_creation": True, "terms_agreed": True}
BINDING = {"kid": "kid-1", "key": "AAAA", "alg": "HS256"}


def deactivated(kind: str = "unauthorized") -> Answer:
    answer = problem(kind, status=403)
    return replace(answer, body={**answer.body, "detail": "Account has been deactivated"})


def account(tls_ca: ScriptedCa, *, code: int = 200, **document: t.Any) -> Answer:
    return Answer(code, {"status": "valid", **document}, {"Location": f"{tls_ca.url}account/1"})


def page(tls_ca: ScriptedCa, *numbers: int, following: str | None = None) -> Answer:
    links = {} if following is None else {"Link": f'<{following}>;rel="next", <{tls_ca.url}directory>;rel="index"'}
    return Answer(200, {"orders": [f"{tls_ca.url}order/{number}" for number in numbers]}, links)


def converge(options: dict[str, t.Any], **given: t.Any) -> dict[str, t.Any]:
    return converge_account({**options, **PRESENT, **given}, check=False, warn=pytest.fail)


def test_an_account_that_is_deactivated_is_found_as_such_by_key_and_by_url(
    tls_ca: ScriptedCa, session: Session
) -> None:
    """RFC 8555 has no problem type for it, so the CA's words tell."""
    tls_ca.script = [deactivated(), deactivated()]
    assert look_up(session) == Account(f"{tls_ca.url}account/1", "deactivated")
    session.forget_account()
    assert look_up(session) == Account("", "deactivated")


@pytest.mark.parametrize("status", ["deactivated", "revoked"])
def test_an_account_that_is_not_valid_is_not_used(tls_ca: ScriptedCa, session: Session, status: str) -> None:
    session.forget_account()
    tls_ca.script = [account(tls_ca, status=status)]
    with pytest.raises(UserError, match=f"The account is {status} for {tls_ca.url}account/1. Use another account key"):
        find_account(session)
    assert session.account_uri is None


def test_another_reason_to_refuse_an_account_is_no_deactivation(tls_ca: ScriptedCa, session: Session) -> None:
    """A signature that is not the account's, for one: account_uri is the wrong one then. Nor is it the word alone."""
    tls_ca.script = [problem("unauthorized", status=403), deactivated("malformed")]
    for _time in range(2):
        with pytest.raises(AcmeProblem, match="Check that account_uri is the account of this key"):
            look_up(session)


def test_a_deactivation_whose_answer_got_lost_is_asked_for_again(tls_ca: ScriptedCa, session: Session) -> None:
    before = Account(f"{tls_ca.url}account/1", "valid", ("mailto:ops@example.com",))
    tls_ca.script = [CUT, deactivated()]
    assert deactivate(session, before) == replace(before, status="deactivated")


def test_orders_are_listed_over_all_pages_each_once_in_the_order_of_the_ca(
    tls_ca: ScriptedCa, session: Session
) -> None:
    """The next page's address may be relative (RFC 8288 section 3.1)."""
    tls_ca.script = [
        page(tls_ca, 3, 1, following=f"{tls_ca.url}orders/2"),
        page(tls_ca, 2, 1, following="/orders/3"),
        page(tls_ca, 4),
    ]
    assert list_orders(session, f"{tls_ca.url}orders/1") == [f"{tls_ca.url}order/{n}" for n in (3, 1, 2, 4)]
    assert tls_ca.paths[-3:] == ["/orders/1", "/orders/2", "/orders/3"]


def test_pages_that_lead_back_to_themselves_come_to_an_end(tls_ca: ScriptedCa, session: Session) -> None:
    tls_ca.script = [
        page(tls_ca, 1, following=f"{tls_ca.url}orders/2"),
        page(tls_ca, 2, following=f"{tls_ca.url}orders/1"),
    ]
    assert len(list_orders(session, f"{tls_ca.url}orders/1")) == 2


def test_a_ca_that_keeps_no_list_of_orders_is_a_warning(tls_ca: ScriptedCa, options: dict[str, t.Any]) -> None:
    """Let's Encrypt is one."""
    tls_ca.script = [tls_ca.directory(), account(tls_ca)]
    warnings: list[str] = []
    shown = show_account({**options, "retrieve_orders": "object_list"}, check=False, warn=warnings.append)
    assert (shown["exists"], shown["order_uris"], shown["orders"]) == (True, [], [])
    assert warnings == [f"The CA keeps no list of the orders of {tls_ca.url}account/1."]


def test_an_order_that_is_gone_is_left_out_of_the_list(tls_ca: ScriptedCa, options: dict[str, t.Any]) -> None:
    tls_ca.script = [
        tls_ca.directory(),
        account(tls_ca, orders=f"{tls_ca.url}orders/1"),
        page(tls_ca, 1, 2),
        problem("malformed", status=404),
        tls_ca.order("a.example", number=2),
    ]
    shown = show_account({**options, "retrieve_orders": "object_list"}, check=False, warn=pytest.fail)
    assert shown["order_uris"] == [f"{tls_ca.url}order/2"]
    assert [order["identifiers"][0]["value"] for order in shown["orders"]] == ["a.example"]


@pytest.mark.parametrize(("code", "is_new"), [(201, True), (200, False)])
def test_a_ca_that_looks_up_nothing_without_binding_tells_by_new_account_whether_it_is_new(
    tls_ca: ScriptedCa, options: dict[str, t.Any], code: int, is_new: bool
) -> None:
    tls_ca.script = [
        tls_ca.directory(),
        problem("externalAccountRequired", status=403),
        account(tls_ca, code=code),
    ]
    done = converge(options, external_account_binding=BINDING)
    assert (done["changed"], done["created"]) == (is_new, is_new)
    assert done["account_uri"] == f"{tls_ca.url}account/1"


def test_without_a_binding_such_a_ca_s_account_is_asked_for_by_its_url(
    tls_ca: ScriptedCa, options: dict[str, t.Any]
) -> None:
    """And so it is updated: newAccount is never asked (T14)."""
    tls_ca.script = [tls_ca.directory(), problem("externalAccountRequired", status=403)]
    with pytest.raises(AcmeProblem, match="give account_uri"):
        converge(options)
    contact = ["mailto:ops@example.com"]
    tls_ca.script = [tls_ca.directory(), account(tls_ca, contact=["mailto:old@example.com"]), account(tls_ca)]
    mark = len(tls_ca.paths)
    assert converge(options, account_uri=f"{tls_ca.url}account/1", contact=contact)["changed"]
    assert tls_ca.paths[mark:] == ["/directory", "/account/1", "/account/1"]


def test_an_account_url_that_the_ca_does_not_know_opens_no_other_account(
    tls_ca: ScriptedCa, options: dict[str, t.Any]
) -> None:
    """R33: each run would say that it has opened one, and none would be used."""
    tls_ca.script = [tls_ca.directory(), problem("accountDoesNotExist")]
    with pytest.raises(UserError, match=f"does not know the account for {tls_ca.url}account/9. Correct account_uri"):
        converge(options, account_uri=f"{tls_ca.url}account/9")


def test_a_key_that_is_missing_is_not_made_for_an_account_that_is_there(
    tls_ca: ScriptedCa, options: dict[str, t.Any]
) -> None:
    with pytest.raises(UserError, match="there is no account key"):
        converge({**options, "account_key_path": "/nowhere/account.pem"}, account_uri=f"{tls_ca.url}account/1")


@pytest.mark.parametrize(
    ("shown", "answered", "changes"),
    [
        ({}, {}, False),
        ({}, {"contact": ["mailto:ops@example.com"]}, True),
        ({"contact": None}, {"contact": ["mailto:ops@example.com"]}, True),
        ({"contact": ["mailto:old@example.com"]}, {"contact": ["mailto:ops@example.com"]}, True),
    ],
)
def test_contacts_are_sent_to_a_ca_that_shows_none_and_its_answer_tells_whether_it_keeps_them(
    tls_ca: ScriptedCa,
    options: dict[str, t.Any],
    shown: dict[str, t.Any],
    answered: dict[str, t.Any],
    changes: bool,
) -> None:
    """Let's Encrypt keeps none; step-ca shows none of an account that has none yet."""
    tls_ca.script = [tls_ca.directory(), account(tls_ca, **shown), account(tls_ca, **answered)]
    done = converge(options, contact=["mailto:ops@example.com"])
    assert done["changed"] is changes
    assert (done["diff"]["before"] != done["diff"]["after"]) is changes
