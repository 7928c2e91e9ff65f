# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The list of an account's orders, in the forms that CAs give it."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.account import list_orders
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.session import Session
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._acme.scripted_ca import Answer, ScriptedCa


@pytest.mark.parametrize(
    "body", [{"orders": ["https://ca/1"]}, ["https://ca/1"]], ids=["as in RFC 8555", "as step-ca has it"]
)
def test_orders_are_read_from_an_object_and_from_a_bare_array(
    tls_ca: ScriptedCa, session: Session, body: t.Any
) -> None:
    tls_ca.script = [Answer(200, body)]
    assert list_orders(session, f"{tls_ca.url}orders") == ["https://ca/1"]


@pytest.mark.parametrize("body", [{"orders": None}, {}, []])
def test_a_list_may_be_empty_or_absent(tls_ca: ScriptedCa, session: Session, body: t.Any) -> None:
    tls_ca.script = [Answer(200, body)]
    assert list_orders(session, f"{tls_ca.url}orders") == []


@pytest.mark.parametrize("body", [b"<html>", 7])
def test_what_is_no_list_is_said(tls_ca: ScriptedCa, session: Session, body: t.Any) -> None:
    tls_ca.script = [Answer(200, body)]
    with pytest.raises(UserError, match="list of the account's orders is none"):
        list_orders(session, f"{tls_ca.url}orders")
