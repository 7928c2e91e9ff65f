# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rolling a key over at CAs that lose answers, refuse, or cannot: what is on disk, what is said, what is asked."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.problems import AcmeProblem
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.step_account import converge_account
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._acme.scripted_ca import (
    CUT,
    RESET,
    Answer,
    ScriptedCa,
    problem,
)

UNKNOWN = problem("accountDoesNotExist")
NO_BINDING = problem("externalAccountRequired", status=403)
CHANGED = Answer(200, b"")


class Roller:
    """A user who rolls a key over, again and again; `new` is where the new key is to be."""

    def __init__(self, tls_ca: ScriptedCa, options: dict[str, t.Any], tmp_path: Path) -> None:
        self.ca, self.new, self.old = tls_ca, tmp_path / "new.pem", Path(options["account_key_path"])
        change = {"state": "changed_key", "new_account_key_type": "ec-256", "new_account_key_path": str(self.new)}
        self.options = {**options, **change}

    def directory(self) -> Answer:
        answer = self.ca.directory()
        return replace(answer, body={**answer.body, "keyChange": f"{self.ca.url}keyChange"})

    def account(self, number: int = 1) -> Answer:
        return Answer(200, {"status": "valid"}, {"Location": f"{self.ca.url}account/{number}"})

    def roll(self, *script: t.Any, check: bool = False, **given: t.Any) -> dict[str, t.Any]:
        """Run, the CA answering so after its directory; `paths` are those asked for."""
        self.ca.script = [self.directory(), *script]
        mark = len(self.ca.paths)
        try:
            return converge_account({**self.options, **given}, check=check, warn=pytest.fail)
        finally:
            self.paths = self.ca.paths[mark + 1 :]

    def make_key(self) -> None:
        self.new.write_bytes(keys.to_pem(keys.generate("ec-256")))


@pytest.fixture
def roller(tls_ca: ScriptedCa, options: dict[str, t.Any], tmp_path: Path) -> Roller:
    return Roller(tls_ca, options, tmp_path)


def test_a_rollover_is_three_requests_and_its_repetition_two(roller: Roller) -> None:
    """Beside the directory: the account by the old key, the change, the account by the new key; then both look-ups."""
    done = roller.roll(roller.account(), CHANGED, roller.account())
    assert (done["changed"], done["account_uri"]) == (True, f"{roller.ca.url}account/1")
    assert roller.paths == ["/newAccount", "/keyChange", "/newAccount"]
    again = roller.roll(roller.account(), UNKNOWN)
    assert (again["changed"], again["account_uri"]) == (False, f"{roller.ca.url}account/1")
    assert done["account"]["public_account_key"] == again["account"]["public_account_key"]


@pytest.mark.parametrize("answer", [CUT, RESET, Answer(500), Answer(200, b"", breaks_off=True)])
def test_r50_a_lost_answer_is_settled_by_looking_the_account_up_by_the_new_key(roller: Roller, answer: t.Any) -> None:
    assert roller.roll(roller.account(), answer, roller.account())["changed"]


def test_r50_a_change_that_has_not_happened_is_said_and_the_next_run_makes_it_with_the_same_key(roller: Roller) -> None:
    with pytest.raises(UserError, match="has not changed the account's key for .*account/1: .*No answer came.*old key"):
        roller.roll(roller.account(), CUT, UNKNOWN)
    made = roller.new.read_bytes()
    assert roller.roll(UNKNOWN, roller.account(), CHANGED, roller.account())["changed"]
    assert roller.new.read_bytes() == made


def test_r50_where_the_ca_cannot_be_asked_any_more_the_next_run_finds_out(roller: Roller) -> None:
    with pytest.raises(AcmeProblem, match="both at hand: run again"):
        roller.roll(roller.account(), CUT, problem("rateLimited", status=429))
    assert not roller.roll(roller.account(), UNKNOWN)["changed"]


def test_the_old_key_may_be_gone_once_the_account_has_the_new_one(roller: Roller) -> None:
    roller.make_key()
    roller.old.unlink()
    assert not roller.roll(roller.account())["changed"]
    with pytest.raises(UserError, match="knows no account for the account key, nor for the new one"):
        roller.roll(UNKNOWN, UNKNOWN)


def test_with_neither_key_nothing_is_made(roller: Roller) -> None:
    roller.old.unlink()
    with pytest.raises(BadInput, match="account_key_path .*there is no account key"):
        converge_account(roller.options, check=False, warn=pytest.fail)
    assert not roller.new.exists()


@pytest.mark.parametrize("gives_uri", [False, True])
def test_a_key_that_is_another_account_s_is_named_with_that_account(roller: Roller, gives_uri: bool) -> None:
    """Found before anything is changed; a CA that only says 409 is asked whose it is."""
    roller.make_key()
    given = {"account_uri": f"{roller.ca.url}account/1"} if gives_uri else {}
    looks = [roller.account(2)] if gives_uri else [roller.account(2), roller.account(1)]
    with pytest.raises(BadInput, match=f"new_account_key_path .*another account, {roller.ca.url}account/2. Use a new"):
        roller.roll(*looks, **given)
    assert "/keyChange" not in roller.paths


def test_a_conflict_that_the_ca_finds_is_told_with_the_account_s_url(roller: Roller) -> None:
    roller.make_key()
    with pytest.raises(BadInput, match=f"new_account_key_path .*another account, {roller.ca.url}account/2"):
        roller.roll(UNKNOWN, roller.account(), Answer(409, b""), roller.account(2))
    with pytest.raises(AcmeProblem, match="refused to change the account's key: .*409"):
        roller.roll(UNKNOWN, roller.account(), Answer(409, b""), UNKNOWN)


@pytest.mark.parametrize("status", [404, 405])
def test_a_ca_that_advertises_key_change_and_has_none_is_told(roller: Roller, status: int) -> None:
    """OpenBao is one."""
    with pytest.raises(UserError, match=f"changes no account keys for .*directory: .*{status}.*Open another account"):
        roller.roll(roller.account(), Answer(status, b"no handler for route"))


def test_a_ca_without_key_change_is_told_before_a_key_is_made_also_in_check_mode(
    roller: Roller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roller, "directory", roller.ca.directory)
    for check in (True, False):
        with pytest.raises(UserError, match="changes no account keys for .*: its directory has no keyChange"):
            roller.roll(roller.account(), check=check)
    assert not roller.new.exists()


def test_a_new_key_that_the_ca_does_not_take_is_the_ca_s_word(roller: Roller) -> None:
    with pytest.raises(AcmeProblem, match="refused to change the account's key: badPublicKey.*ec-256"):
        roller.roll(roller.account(), problem("badPublicKey"))


def test_a_ca_that_looks_up_nothing_without_binding_is_asked_by_the_account_s_url(roller: Roller) -> None:
    """It refuses a signature of a key that is not the account's (T14)."""
    uri = f"{roller.ca.url}account/1"
    roller.make_key()
    looks = [NO_BINDING, problem("malformed"), roller.account()]
    assert roller.roll(*looks, CHANGED, NO_BINDING, roller.account(), account_uri=uri)["changed"]
    assert not roller.roll(NO_BINDING, roller.account(), account_uri=uri)["changed"]
    with pytest.raises(AcmeProblem, match="give account_uri"):
        roller.roll(NO_BINDING)


def test_check_mode_makes_no_key_and_asks_for_no_change(roller: Roller) -> None:
    done = roller.roll(roller.account(), check=True)
    assert done["changed"] and "key_thumbprint" not in done["diff"]["after"]
    assert not roller.new.exists()


@pytest.mark.parametrize("name", ["account.pem", "./account.pem", "link.pem"])
def test_a_new_key_does_not_take_the_place_of_the_old_one(roller: Roller, tmp_path: Path, name: str) -> None:
    (tmp_path / "link.pem").symlink_to(roller.old)
    old = roller.old.read_bytes()
    options = {**roller.options, "new_account_key_path": f"{tmp_path}/{name}"}
    with pytest.raises(BadInput, match="new_account_key_path .*the path of account_key_path. Give another path"):
        converge_account(options, check=False, warn=pytest.fail)
    assert roller.old.read_bytes() == old


def test_a_new_key_that_cannot_be_written_is_not_sent(roller: Roller, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="new_account_key_path .*cannot be written"):
        roller.roll(roller.account(), new_account_key_path=str(tmp_path / "file/new.pem"))
    assert "/keyChange" not in roller.paths
