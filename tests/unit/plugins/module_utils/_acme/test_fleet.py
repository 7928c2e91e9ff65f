# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at a fleet become a lineage: what counts, what wins, who can give and who lacks what."""

from __future__ import annotations

import base64
import json
import time
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme import memory as memories
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.fleet import MOST_KEY_HOSTS, Fleet
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.memory import Memory, Remembered
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.options import access_from
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.order import Wish
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import chain as chains
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.names import parse_identifiers
from ansible_collections.zerotrust.pomerium.plugins.module_utils._store import looks
from ansible_collections.zerotrust.pomerium.plugins.module_utils._store.lineage import Lineage
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued

DIRECTORY = "https://ca.example/directory"
ACCOUNT = "https://ca.example/account/1"
NAMES = ("*.corp.example.com", "corp.example.com")
AUTHORITY = Authority("Lab CA")
ACCOUNT_KEY = keys.generate("ec-256")


def encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def bundle(
    issued: Issued, *, is_current: bool = True, key: keys.PrivateKey = ACCOUNT_KEY, **changed: t.Any
) -> dict[str, t.Any]:
    """A certificate as a host tells of it, ordered by the account; `changed` is what the note says otherwise."""
    facts = chains.describe(issued.certificate)
    noted = {"directory": DIRECTORY, "account_uri": ACCOUNT, "fingerprint_sha256": facts.fingerprint_sha256, **changed}
    meta = json.dumps(noted).encode()
    return {
        "is_current": is_current,
        "chain": encoded(issued.fullchain_pem),
        "meta": encoded(meta),
        "signature": encoded(keys.sign(key, meta)),
        "problem": None,
    }


def order(number: int, *, created: str = "2026-11-28T10:00:00Z", key_sha256: str | None = "ab") -> Remembered:
    uri = f"https://ca.example/order/{number}"
    return Remembered(DIRECTORY, ACCOUNT, uri, NAMES, None, created, None, key_sha256=key_sha256)


class Run:
    """One run: looks that were left, and what is made of them."""

    def __init__(self, store: Path, **params: t.Any) -> None:
        self.store = str(store)
        self.params = {
            "store_path": self.store,
            "name": "pomerium",
            "acme_directory": DIRECTORY,
            "account_key_content": keys.to_pem(ACCOUNT_KEY).decode(),
            "validate_certs": True,
            "request_timeout": 10,
            "allow_limited": False,
            **params,
        }
        self.warnings: list[str] = []
        self.wish = Wish(tuple(parse_identifiers(list(NAMES))))
        self.lineage = Lineage(self.store, "pomerium", is_fleet=True)

    def look(
        self,
        host: str,
        *bundles: dict[str, t.Any],
        order: Remembered | bytes | None = None,
        has_key: bool = True,
        state: t.Mapping[str, t.Any] | None = None,
        is_writable: bool = True,
        is_held: bool = False,
        **said: t.Any,
    ) -> None:
        """Leave a look."""
        text = self.order_text(order) if isinstance(order, Remembered) else order
        kept = {
            "bundles": list(bundles),
            "order": encoded(text),
            "has_key": has_key,
            "state": None if state is None else encoded((json.dumps(state, indent=2) + "\n").encode()),
            "is_writable": is_writable,
        }
        answer = {"kept": kept, "problem": None, "hold": {} if is_held else None}
        self.leave(host, answer, **said)

    def leave(self, host: str, answer: t.Any, **said: t.Any) -> None:
        own = {"limit": None, "batch": 3, "play_hosts": 3, "identifiers": sorted(NAMES)}
        looks.write_look(self.store, "pomerium", host, answer, **{**own, **said})

    def order_text(self, remembered: Remembered) -> bytes:
        path = Path(self.store) / "written"
        memories.save_memory(str(path), Memory(order=remembered))
        return path.read_bytes()

    def fleet(self) -> Fleet:
        return Fleet(self.params, access_from(self.params), self.wish, self.lineage, self.warnings.append)

    def merged(self) -> Fleet:
        fleet = self.fleet()
        fleet.merge()
        return fleet

    def current(self) -> str | None:
        found = self.lineage.current()
        return None if found is None else found.facts.fingerprint_sha256

    def order(self) -> Remembered | None:
        return memories.load_memory(self.lineage.order_path, option="store_path").order


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def fingerprint(issued: Issued) -> str:
    return chains.describe(issued.certificate).fingerprint_sha256


def test_the_newest_certificate_wins_wherever_it_lies(run: Run) -> None:
    old, new = AUTHORITY.issue(*NAMES, days=20), AUTHORITY.issue(*NAMES, days=40)
    run.look("pom1", bundle(old))
    run.look("pom2", bundle(old), bundle(new, is_current=False))
    run.look("pom3", bundle(old), is_held=True)
    fleet = run.merged()
    found = run.lineage.current()
    assert found is not None and not found.has_key and found.facts.fingerprint_sha256 == fingerprint(new)
    assert fleet.hosts_without(found) == ["pom1", "pom2"], "one that is held stays as it is"
    assert fleet.key_hosts(found, None) == ["pom2"]


def test_of_equal_ones_the_same_is_chosen_in_whatever_order_hosts_come(tmp_path: Path) -> None:
    first, second = AUTHORITY.issue(*NAMES), AUTHORITY.issue(*NAMES)
    chosen = set()
    for number, pair in enumerate([(first, second), (second, first)]):
        run = Run(tmp_path / str(number))
        run.look("pom1", bundle(pair[0]))
        run.look("pom2", bundle(pair[1]))
        run.merged()
        chosen.add(run.current())
    ends = {chains.describe(issued.certificate).not_after for issued in (first, second)}
    assert len(chosen) == 1 or len(ends) == 2


NOT_COUNTED: dict[str, tuple[dict[str, t.Any], str]] = {
    "signed by another account key": (
        bundle(AUTHORITY.issue(*NAMES), key=keys.generate("ec-256")),
        "neither the account key signed nor",
    ),
    "a note about another certificate": (
        bundle(AUTHORITY.issue(*NAMES), fingerprint_sha256="ab"),
        "neither the account key signed nor",
    ),
    "another directory": (bundle(AUTHORITY.issue(*NAMES), directory="https://staging/dir"), "another directory"),
    "no note": ({**bundle(AUTHORITY.issue(*NAMES)), "meta": None}, "another directory (unknown)"),
    "a key that does not fit": ({**bundle(AUTHORITY.issue(*NAMES)), "problem": "MISMATCH"}, "OpenSSL refuses"),
    "no certificate": ({**bundle(AUTHORITY.issue(*NAMES)), "chain": encoded(b"nonsense")}, "damaged"),
}


@pytest.mark.parametrize("what", NOT_COUNTED)
def test_what_does_not_count_is_said(run: Run, what: str) -> None:
    told, why = NOT_COUNTED[what]
    run.look("pom1", told)
    fleet = run.merged()
    assert run.current() is None
    assert why in run.warnings[0] and "pom1" in run.warnings[0]
    assert fleet.reason_without_bundle == ("directory" if what == "another directory" else None)


def test_a_trusted_root_counts_for_our_names_alone(tmp_path: Path) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(AUTHORITY.pem)
    other = keys.generate("ec-256")
    for names, counts in ((NAMES, True), (NAMES[:1], False)):
        run = Run(tmp_path / str(len(names)), trust_path=str(roots))
        run.look("pom1", bundle(AUTHORITY.issue(*names), key=other))
        run.merged()
        assert (run.current() is not None) is counts
    missing = Run(tmp_path / "missing", trust_path=str(tmp_path / "nothing"))
    missing.look("pom1", bundle(AUTHORITY.issue(*NAMES), key=other))
    with pytest.raises(BadInput, match="trust_path .*no such file"):
        missing.merged()


def test_of_orders_the_newest_is_taken_and_one_that_is_over_is_not(run: Run) -> None:
    newest = order(2, created="2026-11-28T11:00:00Z")
    run.look("pom1", order=order(1), has_key=True)
    run.look("pom2", order=newest, has_key=False)
    run.look("pom3", order=newest)
    run.look("pom4", order=b"{damaged")
    run.look("pom5", order=replace(order(5), directory="https://staging/dir", created="2027-01-01T00:00:00Z"))
    run.look("pom6", order=replace(newest, order_uri="https://mallory/order", created="2027-01-01T00:00:00Z"))
    fleet = run.merged()
    assert run.order() == newest
    assert fleet.key_hosts(None, newest) == ["pom3"] and fleet.is_key_elsewhere(newest)
    assert any("pom4 is damaged" in text for text in run.warnings)

    issued = AUTHORITY.issue(*NAMES)
    over = order(3, created="2026-11-29T00:00:00Z", key_sha256=chains.describe(issued.certificate).public_sha256)
    run.look("pom7", bundle(issued), order=over)
    run.merged()
    assert run.order() == newest, "the one that the certificate in use came from is not open"


def test_a_look_that_was_merged_is_not_merged_again(run: Run) -> None:
    """What this run did since counts: an order that it finished or dropped does not come back."""
    run.look("pom1", order=order(1))
    run.merged()
    run.lineage.drop_pending()
    fleet = run.merged()
    assert run.order() is None and fleet.is_unsaved()
    run.look("pom1", order=order(1))
    run.merged()
    assert run.order() == order(1), "a new look is news"


def test_what_was_learned_last_is_taken_over(run: Run) -> None:
    earlier = {"directory": DIRECTORY, "account_uri": ACCOUNT, "saved_at": "2026-11-28T10:00:00Z"}
    later = {**earlier, "limited_until": "2026-11-28T12:00:00Z", "saved_at": "2026-11-28T11:00:00Z"}
    run.look("pom1", state=earlier)
    run.look("pom2", state=later)
    run.look("pom3", state={**later, "directory": "https://staging/dir", "saved_at": "2026-11-28T11:30:00Z"})
    run.look("pom4", state={**later, "saved_at": "2199-01-01T00:00:00Z"})
    fleet = run.merged()
    assert run.lineage.state() == later
    assert fleet.is_unsaved(), "pom1 does not know it"


def test_hosts_that_keep_all_need_nothing_and_one_that_cannot_be_written_does_not_count(run: Run) -> None:
    issued, state = AUTHORITY.issue(*NAMES), {"account_uri": ACCOUNT, "saved_at": "2026-11-28T10:00:00Z"}
    run.look("pom1", bundle(issued), state=state)
    run.look("pom2", bundle(issued), state={**state, "saved_at": "2026-11-28T09:00:00Z"})
    run.look("pom3", bundle(issued), is_writable=False)
    fleet = run.merged()
    assert not fleet.is_unsaved() and not fleet.hosts_without(run.lineage.current())
    assert fleet.key_hosts(run.lineage.current(), None) == [], "no host lacks it, so no key travels"


def test_a_key_is_asked_of_some_hosts_and_not_of_hundreds(run: Run) -> None:
    issued = AUTHORITY.issue(*NAMES)
    for number in range(40):
        run.look(f"pom{number:02}", bundle(issued))
    run.look("pom99")
    fleet = run.merged()
    assert fleet.key_hosts(run.lineage.current(), None) == [f"pom{number:02}" for number in range(MOST_KEY_HOSTS)]


DOUBTS: dict[str, tuple[dict[str, t.Any], str]] = {
    "a limit": ({"limit": "pom1"}, "it is limited to pom1"),
    "a batch": ({"batch": 1}, "this is a batch of the play"),
    "other names": ({"identifiers": ["other.example.com"]}, "disagree on certificate_identifiers"),
}


@pytest.mark.parametrize("what", DOUBTS)
def test_an_order_that_only_looks_needed_is_refused(run: Run, what: str) -> None:
    said, why = DOUBTS[what]
    run.look("pom1", **said)
    run.leave("pom2", None)
    fleet = run.merged()
    with pytest.raises(BadInput, match=why):
        fleet.check_may_order(has_bundle=False)
    fleet.check_may_order(has_bundle=True)
    run.params["allow_limited"] = True
    fleet.check_may_order(has_bundle=False)


def test_hosts_under_another_name_are_said(run: Run) -> None:
    run.look("pom1")
    looks.write_look(run.store, "other", "pom2", None, limit=None, batch=2, play_hosts=2, identifiers=[])
    with pytest.raises(BadInput, match="disagree on pomerium_name .pom2: other"):
        run.merged().check_may_order(has_bundle=False)
    run.params["name"] = "third"
    with pytest.raises(BadInput, match="there are looks for: other, pomerium"):
        run.fleet()


def test_without_an_answer_or_a_place_nothing_is_ordered(run: Run) -> None:
    run.leave("pom1", None)
    run.leave("pom2", {"kept": "nonsense", "problem": None, "hold": None})
    with pytest.raises(UserError, match="Not one of the hosts .* pom1, pom2"):
        run.fleet()
    run.look("pom1", is_writable=False)
    fleet = run.merged()
    assert "Not looked at: pom2." in run.warnings[0]
    with pytest.raises(UserError, match="Not one host could keep the order"):
        fleet.check_may_order(has_bundle=True)


def test_five_hundred_looks_are_merged_in_less_than_two_seconds_of_cpu(run: Run) -> None:
    """Every host with a bundle (a third with the newest one), the order, and what it learned at another time."""
    issued = [AUTHORITY.issue(*NAMES, days=days) for days in (20, 30, 40)]
    bundles = [bundle(one) for one in issued]
    text = run.order_text(order(1))
    for number in range(500):
        state = {"account_uri": f"{ACCOUNT}{number % 60}", "saved_at": f"2026-11-28T10:{number % 60:02}:00Z"}
        run.look(f"pom{number}", bundles[number % 3], order=text, state=state)
    started = time.process_time()
    fleet = run.merged()
    assert len(fleet.hosts_without(run.lineage.current())) == 334
    assert fleet.is_unsaved() and fleet.key_hosts(run.lineage.current(), run.order())
    assert run.current() == fingerprint(issued[2])
    assert time.process_time() - started < 2
