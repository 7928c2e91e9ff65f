# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records of dns-persist-01: what a challenge wants, and which value that is in DNS does it."""

from __future__ import annotations

import typing as t
from datetime import datetime, timezone

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.persist import (
    Stated,
    Wanted,
    account_hash,
    parse,
    wanted_from,
)

ACCOUNT = "https://ca.example/acct/123"
THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
NOW = datetime(2027, 1, 15, 8, tzinfo=timezone.utc)
SECOND = int(NOW.timestamp())
ONE = {"type": "dns-persist-01", "issuer-domain-names": ["ca.example"], "accounturi": ACCOUNT}


def wanted(challenge: dict[str, t.Any], *, is_wildcard: bool = False, hash_prefix: t.Any = None) -> Wanted | None:
    return wanted_from(
        challenge,
        name="example.com",
        is_wildcard=is_wildcard,
        account_uri=ACCOUNT,
        thumbprint=THUMBPRINT,
        hash_prefix=hash_prefix,
    )


@pytest.mark.parametrize(
    ("domain", "digest"),
    [
        ("example.com", "5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw"),
        ("*", "NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug"),
    ],
)
def test_r47_the_hash_of_an_account_is_that_of_draft_02(domain: str, digest: str) -> None:
    assert account_hash(domain, thumbprint=THUMBPRINT, account_uri=ACCOUNT) == digest


@pytest.mark.parametrize(
    ("challenge", "value"),
    [
        (ONE, f"ca.example; accounturi={ACCOUNT}"),
        ({"issuer-domain-names": ["ca.example"]}, f"ca.example; accounturi={ACCOUNT}"),
        ({**ONE, "accounturi": "https://other.example/a"}, "ca.example; accounturi=https://other.example/a"),
    ],
)
def test_r47_up_to_draft_01_the_value_names_the_account_as_the_ca_says(challenge: dict[str, t.Any], value: str) -> None:
    assert str(wanted(challenge)) == value
    assert str(wanted(challenge, is_wildcard=True)) == f"{value}; policy=wildcard"


def test_r47_in_draft_02_the_value_has_the_hash_behind_the_cas_prefix() -> None:
    found = wanted({"issuerDomainNames": ["ca.example"]}, is_wildcard=True, hash_prefix="https://ca.example/h/")
    digest = account_hash("example.com", thumbprint=THUMBPRINT, account_uri=ACCOUNT)
    assert str(found) == f"ca.example; accounturi=https://ca.example/h/sha-256/{digest}; policy=wildcard"
    for_any = account_hash("*", thumbprint=THUMBPRINT, account_uri=ACCOUNT)
    there = f"ca.example; accounturi=https://ca.example/h/sha-256/{for_any}; policy=wildcard"
    assert found is not None and found.is_met_by(there)


def test_the_issuer_is_the_same_whatever_the_order_of_the_list() -> None:
    values = {
        str(wanted({**ONE, "issuer-domain-names": names}))
        for names in (["b.example", "a.example"], ["a.example", "b.example"])
    }
    assert values == {f"a.example; accounturi={ACCOUNT}"}


@pytest.mark.parametrize(
    "challenge",
    [
        {},
        {"token": "abc"},
        {"issuerDomainNames": ["ca.example"]},
        {**ONE, "issuer-domain-names": []},
        {**ONE, "issuer-domain-names": "ca.example"},
        {**ONE, "issuer-domain-names": [f"ca{number}.example" for number in range(11)]},
        {**ONE, "issuer-domain-names": ["CA.example"]},
        {**ONE, "issuer-domain-names": ["ca.example; policy=wildcard"]},
        {**ONE, "issuer-domain-names": ["ca.example\n"]},
        {**ONE, "issuer-domain-names": [1]},
        {**ONE, "accounturi": ""},
        {**ONE, "accounturi": None},
        {**ONE, "accounturi": "https://ca.example/acct/1; policy=wildcard"},
    ],
)
def test_r47_nothing_is_wanted_where_the_form_is_not_known(challenge: dict[str, t.Any]) -> None:
    assert wanted(challenge) is None


@pytest.mark.parametrize("prefix", [None, 5, "", "two words", "https://ca.example/h;"])
def test_r47_without_a_usable_prefix_of_hashes_draft_02_is_not_known(prefix: t.Any) -> None:
    assert wanted({"issuerDomainNames": ["ca.example"]}, hash_prefix=prefix) is None


@pytest.mark.parametrize(
    ("value", "stated"),
    [
        ("ca.example;accounturi=u", Stated("ca.example", "u")),
        ("  ca.example ;\tACCOUNTURI = u ; Policy=WILDCARD;PersistUntil=5", Stated("ca.example", "u", True, 5)),
        ("ca.example; accounturi=u; policy=strict; later=x", Stated("ca.example", "u")),
    ],
)
def test_a_value_is_read_with_tags_in_any_case_and_unknown_ones(value: str, stated: Stated) -> None:
    assert parse(value) == stated


@pytest.mark.parametrize(
    "value",
    [
        "ca.example",
        "ca.example;",
        "ca.example; accounturi=u;",
        "ca.example; accounturi=",
        "ca.example; accounturi",
        "ca.example; =u; accounturi=u",
        "ca.example; accounturi=u; AccountURI=u",
        "ca.example; accounturi=u v",
        "ca.example; accounturi=u; persistUntil=",
        "ca.example; accounturi=u; persistUntil=soon",
        "ca.example; accounturi=u; persistUntil=-1",
    ],
)
def test_a_value_that_cas_refuse_is_malformed(value: str) -> None:
    assert parse(value) == Stated("ca.example", is_malformed=True)


WANTED = Wanted(("ca.example", "old-ca.example"), (ACCOUNT,), is_wildcard=True)


@pytest.mark.parametrize(
    "value",
    [
        str(WANTED),
        f"old-ca.example;AccountURI={ACCOUNT};policy=WildCard",
        f"ca.example; persistUntil={SECOND + 1}; policy=wildcard; accounturi={ACCOUNT}",
    ],
)
def test_r47_a_record_that_states_the_same_in_another_way_does(value: str) -> None:
    assert WANTED.is_met_by(value, now=NOW)
    assert not WANTED.objection(value, now=NOW)


@pytest.mark.parametrize(
    ("value", "objection"),
    [
        (f"ca.example; accounturi={ACCOUNT}4; policy=wildcard", "it is for another account"),
        (f"ca.example; accounturi={ACCOUNT}", "it lacks policy=wildcard"),
        (f"ca.example; accounturi={ACCOUNT}; policy=wildcard;", "it is malformed"),
        (f"{WANTED}; persistUntil={SECOND}", "its persistUntil was 2027-01-15 08:00 UTC"),
        (f"{WANTED}; persistUntil=0", "its persistUntil was 1970-01-01 00:00 UTC"),
        (f"other.example; accounturi={ACCOUNT}; policy=wildcard", ""),
        (f"CA.example; accounturi={ACCOUNT}; policy=wildcard", ""),
        ("v=spf1 -all", ""),
    ],
)
def test_r47_any_other_record_does_not_and_it_is_said_why_where_it_was_meant_to(value: str, objection: str) -> None:
    assert not WANTED.is_met_by(value, now=NOW)
    assert WANTED.objection(value, now=NOW) == objection


def test_a_wildcards_record_does_for_the_name_itself() -> None:
    assert Wanted(("ca.example",), (ACCOUNT,), is_wildcard=False).is_met_by(f"{WANTED}; persistUntil={'9' * 18}")
