# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What CAs send, read leniently."""

from __future__ import annotations

import typing as t
from datetime import datetime, timezone

import pytest
import requests
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme import resources
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError


class Session:
    """Gives one document to whoever reads."""

    thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

    account_uri = "https://ca.example/acct/123"

    def __init__(self, document: dict[str, t.Any]) -> None:
        self.document = document
        self.meta: dict[str, t.Any] = {}

    def ask(self, url: str, body: t.Any = None, *, doing: str) -> t.Any:
        response = requests.Response()
        response.json = lambda **kwargs: self.document  # type: ignore[method-assign]
        return response


def authorization(**document: t.Any) -> resources.Authorization:
    whole = {"identifier": {"type": "dns", "value": "a.example"}, "status": "pending", **document}
    return resources.read_authorization(t.cast("t.Any", Session(whole)), "https://ca/authz/1")


@pytest.mark.parametrize("status", ["expired", "deactivated", "something-new"])
def test_statuses_that_the_library_refuses_are_read(status: str) -> None:
    """T5, R42."""
    assert authorization(status=status).status == status


def test_an_empty_error_is_none_and_unknown_challenges_are_kept() -> None:
    """R42."""
    found = authorization(challenges=[{"type": "x-new-01", "url": "u", "error": {}}, {"type": "dns-01", "url": "v"}])
    assert found.challenge("dns-01").error is None
    assert found.problem() is None


@pytest.mark.parametrize("challenges", [None, [], [{"type": "http-01", "url": "u", "token": "t"}]])
def test_what_is_offered_instead_of_dns_is_told(challenges: t.Any) -> None:
    """R48."""
    offered = "http-01" if challenges else "none"
    with pytest.raises(UserError, match=f"no dns-01 challenge for a.example: offered are: {offered}"):
        authorization(challenges=challenges).challenge("dns-01")


@pytest.mark.parametrize(
    ("document", "identifier"),
    [
        ({"wildcard": True}, "*.a.example"),
        ({"identifier": {"type": "dns", "value": "*.A.example"}}, "*.a.example"),
        ({}, "a.example"),
    ],
)
def test_a_wildcard_is_told_in_either_way(document: dict[str, t.Any], identifier: str) -> None:
    found = authorization(**document)
    assert (found.identifier, found.name) == (identifier, "a.example")


def test_the_value_is_made_of_the_raw_token() -> None:
    """T8: a token of odd length or non-canonical base64url is taken as it is (RFC 8555 section 8.4)."""
    session = t.cast("t.Any", Session({}))
    values = [
        resources.dns_value(session, resources.Challenge("dns-01", "u", "pending", token, None))
        for token in ("abc", "abd", "a")
    ]
    assert len({*values}) == 3
    assert {len(value) for value in values} == {43}


@pytest.mark.parametrize("token", ["", "a.b", "a b", "a\n", "ä", "../x"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    challenge = resources.Challenge("dns-01", "u", "pending", token, None)
    with pytest.raises(UserError, match="malformed challenge token"):
        resources.dns_value(t.cast("t.Any", Session({})), challenge)


PERSIST = {"type": "dns-persist-01", "url": "u", "status": "pending"}


@pytest.mark.parametrize(("is_wildcard", "policy"), [(False, ""), (True, "; policy=wildcard")])
def test_r47_draft_01_gives_the_record_that_it_describes(is_wildcard: bool, policy: str) -> None:
    found = authorization(challenges=[{**PERSIST, "issuer-domain-names": ["ca.example"], "accounturi": "https://a/1"}])
    value = resources.persistent_value(t.cast("t.Any", Session({})), found, is_wildcard=is_wildcard)
    assert str(value) == f"ca.example; accounturi=https://a/1{policy}"
    assert resources.record_name(found.identifier, "dns-persist-01", account_uri="") == "_validation-persist.a.example"


def test_r47_draft_02_gives_a_hash_behind_the_prefix_of_the_directory() -> None:
    session = Session({})
    session.meta = {"accountHashPrefix": "https://ca.example/h/"}
    found = authorization(
        identifier={"type": "dns", "value": "example.com"},
        challenges=[{**PERSIST, "issuerDomainNames": ["ca.example"]}],
    )
    value = resources.persistent_value(t.cast("t.Any", session), found, is_wildcard=False)
    digest = "5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw"
    assert str(value) == f"ca.example; accounturi=https://ca.example/h/sha-256/{digest}"


def test_r47_a_form_that_is_not_known_is_told_by_what_the_challenge_holds() -> None:
    found = authorization(challenges=[{**PERSIST, "issuers": ["ca.example"]}], wildcard=True)
    with pytest.raises(UserError) as raised:
        resources.persistent_value(t.cast("t.Any", Session({})), found, is_wildcard=True)
    assert str(raised.value) == (
        "The CA's dns-persist-01 challenge has a form that is not known here for *.a.example: it holds issuers, "
        "status, type, url. Known are drafts -00 to -02 of draft-ietf-acme-dns-persist; use challenge dns-01."
    )


@pytest.mark.parametrize("kind", ["dns-account-01", "dns-persist-01"])
def test_a_name_below_which_the_label_does_not_fit_is_told(kind: str) -> None:
    longest = ".".join(["a" * 58] * 4)
    found = authorization(identifier={"type": "dns", "value": longest})
    assert resources.record_name(found.identifier, "dns-01", account_uri="").endswith(longest)
    with pytest.raises(UserError, match=f"No record of {kind} fits below a name of 235 characters for a"):
        resources.record_name(found.identifier, kind, account_uri="")


@pytest.mark.parametrize(
    "text",
    ["2026-12-01T10:00:00Z", "2026-12-01T10:00:00.123456789Z", "2026-12-01T12:00:00+02:00", "2026-12-01t10:00:00z"],
)
def test_time_stamps_are_read_in_every_form(text: str) -> None:
    assert resources.parse_moment(text) == datetime(2026, 12, 1, 10, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "text", [None, "", "tomorrow", "2026-12-01", "2026-13-45T99:99:99Z", "0001-01-01T00:00:00+05:00"]
)
def test_what_is_no_time_stamp_is_none(text: str | None) -> None:
    assert resources.parse_moment(text) is None
