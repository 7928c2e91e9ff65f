# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Orders: remembered before anything else, and never placed twice for want of an answer (R2, R7, R35)."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.memory import load_memory
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.options import access_from
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.order import Placed, Wish, remembering_limits
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.place import place
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.problems import AcmeProblem
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.session import Session, open_session
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.step_finalize import finalize_order
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.step_order import place_order
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.transport import LostAnswer
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.persist import account_hash
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.names import parse_identifiers
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._acme.scripted_ca import (
    CUT,
    Answer,
    ScriptedCa,
    problem,
)

NAME = "a.example"
WISH = Wish(tuple(parse_identifiers([NAME])), None)
LIMIT = problem("rateLimited", status=429, Retry_After="3600")


def place_remembered(session: Session) -> tuple[Placed, list[str]]:
    """Place an order; give it with what was remembered of it."""
    remembered: list[str] = []
    placed = place(session, WISH, remember=lambda order: remembered.append(order.order_uri), warn=print)
    return placed, remembered


def test_an_order_is_remembered_before_its_authorizations_are_read(tls_ca: ScriptedCa, session: Session) -> None:
    tls_ca.script = [tls_ca.order(NAME), problem("unauthorized", status=403)]
    remembered: list[str] = []
    with pytest.raises(AcmeProblem):
        place(session, WISH, remember=lambda order: remembered.append(order.order_uri), warn=print)
    assert remembered == [f"{tls_ca.url}order/1"]


def lost_answers(ca: ScriptedCa) -> dict[str, t.Any]:
    return {
        "cut": CUT,
        "failed": Answer(502, b"<html>"),
        "broken off": Answer(201, {}, breaks_off=True),
        "without its address": ca.order(NAME, location=False),
    }


@pytest.mark.parametrize("how", ["cut", "failed", "broken off", "without its address"])
def test_an_order_whose_answer_is_lost_is_found_at_the_ca(tls_ca: ScriptedCa, session: Session, how: str) -> None:
    """R2: among the newest, open, and for just these names."""
    orders = [f"{tls_ca.url}order/{number}" for number in (7, 8, 9)]
    tls_ca.script = [
        lost_answers(tls_ca)[how],
        Answer(200, {"status": "valid", "orders": f"{tls_ca.url}orders"}),
        Answer(200, {"orders": orders}),
        tls_ca.order("b.example", number=9),
        tls_ca.order(NAME, number=8),
        tls_ca.authorization(NAME),
    ]
    placed, remembered = place_remembered(session)
    assert remembered == [placed.order.url] == [orders[1]]


@pytest.mark.parametrize("how", ["cut", "failed", "broken off", "without its address"])
def test_where_the_ca_keeps_no_list_it_is_placed_once_more(tls_ca: ScriptedCa, session: Session, how: str) -> None:
    lost = lost_answers(tls_ca)[how]
    tls_ca.script = [lost, Answer(200, {"status": "valid"}), tls_ca.order(NAME), tls_ca.authorization(NAME)]
    assert place_remembered(session)[1] == [f"{tls_ca.url}order/1"]
    tls_ca.script = [lost, Answer(200, {"status": "valid"}), lost]
    with pytest.raises(LostAnswer):
        place_remembered(session)


@pytest.mark.parametrize("names", [("b.example",), (NAME, "b.example"), ()])
def test_an_order_for_other_names_is_refused(tls_ca: ScriptedCa, session: Session, names: tuple[str, ...]) -> None:
    """R35."""
    tls_ca.script = [tls_ca.order(*names)]
    with pytest.raises(UserError, match=f"asked were {NAME}; it has "):
        place_remembered(session)


@pytest.mark.parametrize(
    ("answer", "is_limit"),
    [
        (LIMIT, True),
        (Answer(429, b"<html>slow down</html>", {"Retry-After": "3600"}), True),
        (problem("serverInternal", status=503, Retry_After="3600"), False),
        (problem("rateLimited", status=429), False),
        (problem("malformed", Retry_After="3600"), False),
    ],
)
def test_only_a_limit_with_its_time_is_remembered(
    tls_ca: ScriptedCa, session: Session, answer: Answer, is_limit: bool
) -> None:
    """R7."""
    tls_ca.script = [answer]
    limits: list[tuple[datetime, str | None]] = []
    with pytest.raises(AcmeProblem), remembering_limits(lambda until, why: limits.append((until, why))):
        session.ask(f"{tls_ca.url}order/1", doing="show the order")
    assert bool(limits) is is_limit


@pytest.mark.parametrize("kind", ["alreadyReplaced", "unauthorized", "malformed"])
def test_r26_an_order_that_may_not_replace_is_placed_once_more_without(
    tls_ca: ScriptedCa, options: dict[str, t.Any], kind: str
) -> None:
    """RFC 9773 section 5: the CA makes no order then."""
    directory = tls_ca.directory()
    directory.body["renewalInfo"] = f"{tls_ca.url}renewal"
    tls_ca.script = [directory, problem(kind, status=409), tls_ca.order(NAME), tls_ca.authorization(NAME)]
    session = open_session(access_from(options))
    session.use_account(f"{tls_ca.url}account/1")
    warnings: list[str] = []
    wish = replace(WISH, replaces="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
    placed = place(session, wish, remember=lambda order: None, warn=warnings.append)
    first, second = (json.loads(payload) for payload in tls_ca.payloads[:2])
    assert (first.pop("replaces"), first) == ("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", second)
    assert placed.order.identifiers == (NAME,)
    assert len(warnings) == 1 and kind in warnings[0] and "Ordered without" in warnings[0]


def test_replaces_is_not_sent_to_a_ca_without_renewal_information(tls_ca: ScriptedCa, session: Session) -> None:
    tls_ca.script = [tls_ca.order(NAME), tls_ca.authorization(NAME)]
    warnings: list[str] = []
    place(session, replace(WISH, replaces="a.b"), remember=lambda order: None, warn=warnings.append)
    assert "replaces" not in json.loads(tls_ca.payloads[0]) and "no renewal information" in warnings[0]


@pytest.fixture
def order_options(options: dict[str, t.Any], tls_ca: ScriptedCa, tmp_path: Path) -> dict[str, t.Any]:
    return {
        **options,
        "account_uri": f"{tls_ca.url}account/1",
        "identifiers": [NAME],
        "state_path": str(tmp_path / "state.json"),
        "challenge": "dns-01",
        "verify_dns": "none",
        "renew": False,
        "reuse_min_remaining": 1800,
        "zone": "a.example",
        "follow_cname": False,
    }


def run(params: dict[str, t.Any], *, check: bool = False) -> dict[str, t.Any]:
    warnings: list[str] = []
    return {**place_order(params, check=check, warn=warnings.append), "warnings": warnings}


def test_a_limit_right_after_the_order_does_not_lose_the_order(
    tls_ca: ScriptedCa, order_options: dict[str, t.Any]
) -> None:
    tls_ca.script = [tls_ca.directory(), tls_ca.order(NAME), LIMIT]
    with pytest.raises(AcmeProblem, match="rateLimited"):
        run(order_options)
    memory = load_memory(order_options["state_path"], option="state_path")
    assert memory.order is not None
    assert memory.order.order_uri == f"{tls_ca.url}order/1"
    assert memory.limited_until is not None
    with pytest.raises(UserError, match="limits requests until"):
        run(order_options)  # and nothing is sent


def test_check_mode_does_not_even_remember_a_limit(tls_ca: ScriptedCa, order_options: dict[str, t.Any]) -> None:
    tls_ca.script = [tls_ca.directory(), tls_ca.order(NAME), tls_ca.authorization(NAME)]
    assert run(order_options)["changed"]
    before = Path(order_options["state_path"]).read_bytes()
    tls_ca.script = [tls_ca.directory(), LIMIT]
    with pytest.raises(AcmeProblem, match="rateLimited"):
        run(order_options, check=True)
    assert Path(order_options["state_path"]).read_bytes() == before


def test_an_order_for_other_names_is_not_picked_up_by_the_next_run_either(
    tls_ca: ScriptedCa, order_options: dict[str, t.Any]
) -> None:
    """R35: a CA that strips `*.` must not get its way by being asked twice."""
    order_options["identifiers"] = [f"*.{NAME}"]
    tls_ca.script = [tls_ca.directory(), tls_ca.order(NAME)]
    with pytest.raises(UserError, match="for other names than asked"):
        run(order_options)
    tls_ca.script = [tls_ca.directory(), tls_ca.order(NAME), tls_ca.order(NAME, number=2)]
    with pytest.raises(UserError, match="for other names than asked"):
        run(order_options)


def test_an_order_for_other_names_than_remembered_is_not_finalized(
    tls_ca: ScriptedCa, order_options: dict[str, t.Any], tmp_path: Path
) -> None:
    order_options["identifiers"] = [f"*.{NAME}"]
    tls_ca.script = [tls_ca.directory(), tls_ca.order(NAME)]
    with pytest.raises(UserError, match="for other names than asked"):
        run(order_options)
    tls_ca.script = [tls_ca.directory(), tls_ca.order(NAME, status="ready")]
    how = {
        "key_type": "ec-256",
        "private_key_dest": str(tmp_path / "key.pem"),
        "on_pending": "fail",
        "allow_staging": False,
    }
    times = {"propagation_timeout": 1, "validation_timeout": 1, "issuance_timeout": 1}
    with pytest.raises(UserError, match=rf"asked were \*\.{NAME}; it has {NAME}"):
        finalize_order({**order_options, **how, **times}, check=False, warn=print)
    assert not (tmp_path / "key.pem.pending").exists()


def test_the_same_order_gives_the_same_records_and_changes_nothing(
    tls_ca: ScriptedCa, order_options: dict[str, t.Any]
) -> None:
    """R29; the state holds what the next run needs and no secret."""
    tls_ca.script = [tls_ca.directory(), tls_ca.order(NAME), tls_ca.authorization(NAME)]
    first = run(order_options)
    tls_ca.script = [tls_ca.directory(), tls_ca.order(NAME), tls_ca.authorization(NAME)]
    second = run(order_options)
    assert (first["changed"], second["changed"], second["reused"]) == (True, False, True)
    assert first["dns_records"] == second["dns_records"] != []
    state = json.loads(Path(order_options["state_path"]).read_text())
    assert state["order"]["records"] == first["dns_records"]


def test_r47_draft_02_is_ordered_with_the_hash_of_the_account(
    tls_ca: ScriptedCa, order_options: dict[str, t.Any], session: Session
) -> None:
    prefix, issuers = "https://ca.example/h/", ["pki.example", "ca.example"]
    tls_ca.script = [
        tls_ca.directory(accountHashPrefix=prefix),
        tls_ca.order(NAME),
        tls_ca.authorization(NAME, type="dns-persist-01", issuerDomainNames=issuers),
    ]
    account = account_hash(NAME, thumbprint=session.thumbprint, account_uri=order_options["account_uri"])
    (record,) = run({**order_options, "challenge": "dns-persist-01"})["dns_records"]
    assert (record["name"], record["record"]) == (f"_validation-persist.{NAME}.", "_validation-persist")
    assert record["entries"] == [f"ca.example; accounturi={prefix}sha-256/{account}"]


def test_r47_no_record_is_given_where_the_form_is_not_known(
    tls_ca: ScriptedCa, order_options: dict[str, t.Any]
) -> None:
    tls_ca.script = [
        tls_ca.directory(),
        tls_ca.order(NAME),
        tls_ca.authorization(NAME, type="dns-persist-01", issuerDomainNames=["ca.example"]),
    ]
    with pytest.raises(UserError, match="it holds issuerDomainNames, status, type, url"):
        run({**order_options, "challenge": "dns-persist-01"})
