# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records: one per name, and text that can be pasted."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone

import dns.zone
import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.persist import Wanted
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.records import (
    DnsRecord,
    absolute,
    instructions,
    merge,
    relative,
    zone_lines,
)

APEX = ("_acme-challenge.corp.example.com", "value-b", "corp.example.com")
WILDCARD = ("_acme-challenge.corp.example.com", "value-a", "*.corp.example.com")
OTHER = ("_acme-challenge.a.example.com", "value-c", "a.example.com")
VALID_UNTIL = datetime(2026, 12, 1, 10, 0, 59, tzinfo=timezone.utc)


def test_wildcard_and_apex_share_one_record() -> None:
    (record,) = merge([APEX, WILDCARD])
    assert record.name == "_acme-challenge.corp.example.com."
    assert record.entries == ("value-a", "value-b")
    assert record.identifiers == ("*.corp.example.com", "corp.example.com")


def test_the_order_of_the_ca_changes_nothing() -> None:
    results = {tuple(merge(order)) for order in itertools.permutations([APEX, WILDCARD, OTHER])}
    assert len(results) == 1


def test_entries_and_identifiers_are_sorted() -> None:
    letters = "hgfedcba"
    (record,) = merge([("x.example.com", letter, letter) for letter in letters])
    assert record.entries == record.identifiers == tuple(reversed(letters))


def test_the_same_value_twice_is_one_entry() -> None:
    (record,) = merge([APEX, APEX])
    assert record.entries == ("value-b",)


def test_record_is_the_name_relative_to_its_zone() -> None:
    (record,) = merge([APEX], zones={"_acme-challenge.corp.example.com.": "example.com"})
    assert (record.zone, record.record) == ("example.com", "_acme-challenge.corp")


@pytest.mark.parametrize("zone", [None, "example.net", "ample.com"])
def test_a_zone_that_does_not_hold_the_name_is_not_given(zone: str | None) -> None:
    (record,) = merge([APEX], zones={"_acme-challenge.corp.example.com.": zone})
    assert (record.zone, record.record) == (None, None)


def test_the_apex_of_a_zone_is_at() -> None:
    assert relative("_acme-challenge.example.com.", zone="_ACME-challenge.example.com") == "@"


def test_names_are_compared_in_one_form() -> None:
    assert absolute("Corp.Example.com") == absolute("corp.example.com.") == "corp.example.com."


def test_returns_hold_lists_and_every_documented_key() -> None:
    assert merge([WILDCARD])[0].returns() == {
        "name": "_acme-challenge.corp.example.com.",
        "zone": None,
        "record": None,
        "type": "TXT",
        "ttl": 300,
        "entries": ["value-a"],
        "identifiers": ["*.corp.example.com"],
        "challenge_names": ["_acme-challenge.corp.example.com."],
    }


def test_a_zone_line_can_be_pasted_as_ansible_prints_it() -> None:
    (record,) = merge([("_acme-challenge.corp.example.com", "Yz0B1U", "corp.example.com")])
    assert zone_lines([record]) == ["_acme-challenge.corp.example.com.  300  IN  TXT  Yz0B1U"]


@pytest.mark.parametrize("value", ["Yz0B1U", 'a "quoted" \\ value; no comment', "x" * 300, "grün"])
def test_lines_are_read_back_from_a_zone_file(value: str) -> None:
    lines = zone_lines(merge([("_acme-challenge.example.com", value, "example.com"), OTHER]))
    text = "\n".join(["@ 60 IN SOA ns1 h 1 1 1 1 1", "@ 60 IN NS ns1", *lines, ""])
    zone = dns.zone.from_text(text, origin="example.com.", relativize=False)
    (rdata,) = zone.find_rdataset("_acme-challenge.example.com.", "TXT")
    assert b"".join(rdata.strings).decode() == value
    assert all(len(string) <= 255 for string in rdata.strings)


def test_r47_a_name_and_its_wildcard_share_one_record_that_stays() -> None:
    wanted = Wanted(("ca.example", "old-ca.example"), ("https://ca.example/acct/1",), is_wildcard=True)
    name = "_validation-persist.corp.example.com"
    (record,) = merge([(name, wanted, "corp.example.com"), (name, wanted, "*.corp.example.com")])
    value = "ca.example; accounturi=https://ca.example/acct/1; policy=wildcard"
    assert record.returns()["entries"] == [value] and "wanted" not in record.returns()
    assert zone_lines([record]) == [f'{name}.  300  IN  TXT  "{value}"']
    assert record.is_proven_by(value, {f"old-{value}"}) and not record.is_proven_by("another", {f"old-{value}"})


def test_instructions_say_until_when_in_utc() -> None:
    east = VALID_UNTIL.astimezone(timezone(timedelta(hours=9)))
    assert instructions(merge([OTHER]), valid_until=east) == [
        "Add these TXT records, then run this again (order valid until 2026-12-01 10:00 UTC):",
        "_acme-challenge.a.example.com.  300  IN  TXT  value-c",
    ]


def test_two_values_at_one_name_are_said_to_belong_together() -> None:
    assert instructions(merge([APEX, WILDCARD, OTHER]), valid_until=None) == [
        "Add these TXT records, then run this again:",
        "_acme-challenge.a.example.com.  300  IN  TXT  value-c",
        "_acme-challenge.corp.example.com.  300  IN  TXT  value-a",
        "_acme-challenge.corp.example.com.  300  IN  TXT  value-b",
        "Both values belong at one name: add the second, do not replace the first.",
    ]


def test_several_names_with_several_values_get_one_sentence() -> None:
    records = [DnsRecord("a.", ("1", "2"), ("a",)), DnsRecord("b.", ("1", "2", "3"), ("b",))]
    assert instructions(records, valid_until=None)[-1] == (
        "All values of one name belong there together: add each, replace none."
    )


def test_nothing_to_add_is_nothing_to_say() -> None:
    assert instructions([], valid_until=VALID_UNTIL) == []
