# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names: what a user may write, what is sent, what is shown."""

from __future__ import annotations

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.names import covers, parse_identifiers, parse_name


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("*.corp.example.com", "*.corp.example.com"),
        (" Corp.Example.COM. ", "corp.example.com"),
        ("*.bücher.example", "*.xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1and1.example", "1and1.example"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_a_name_is_sent_as_lower_case_a_labels(given: str, sent: str) -> None:
    assert parse_name(given).ascii == sent


@pytest.mark.parametrize("given", ["*.bücher.example", "*.xn--bcher-kva.example"])
def test_an_internationalised_name_is_shown_in_both_forms(given: str) -> None:
    assert parse_name(given).shown == "*.bücher.example (*.xn--bcher-kva.example)"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("https://x.example", "not a DNS name"),
        ("x.example:443", "not a DNS name"),
        ("ops@x.example", "not a DNS name"),
        ("*.*.x.example", "wildcard must be the whole first label"),
        ("a*.x.example", "wildcard must be the whole first label"),
        ("a.*.x.example", "wildcard must be the whole first label"),
        ("-a.x.example", "'-a' is malformed"),
        ("a-.x.example", "'a-' is malformed"),
        ("a!.x.example", "'a!' is malformed"),
        ("a" * 64 + ".example", "64 octets"),
        (".".join(["a" * 60] * 5), "longer than 237"),
        ("_acme.x.example", "underscore"),
        ("a..example", "empty label"),
        (".example", "empty label"),
        ("", "empty name"),
        ("*", "wildcard must be the whole first label"),
        ("*.", "empty label"),
        (".", "empty label"),
        ("a.example..", "empty label"),
        ("bücher..example", "not a valid internationalised name"),
        ("b" + "ü" * 63 + ".example", "not a valid internationalised name"),
        ("localhost", "single label"),
        ("*.com", "single label"),
        ("192.0.2.1", "IP address"),
        ("xn--\u00fc.example", "not a valid internationalised name"),
    ],
)
def test_what_is_no_name_is_refused_with_the_option_and_the_value(given: str, why: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_name(given)
    assert why in str(error.value)
    assert str(error.value).startswith(f"identifiers {given!r}: ")
    assert error.value.remedy


@pytest.mark.parametrize(
    "given",
    [
        ["*.a.example", "b.example"],
        ["*.a.example, b.example"],
        ["*.a.example\n b.example\n"],
        [",*.a.example,,b.example,"],
        ["*.a.example,", " b.example"],
    ],
)
def test_a_list_may_be_typed_as_one_string(given: list[str]) -> None:
    assert [name.ascii for name in parse_identifiers(given)] == ["*.a.example", "b.example"]


def test_repeated_names_count_once() -> None:
    assert [name.ascii for name in parse_identifiers(["A.example", "a.example."])] == ["a.example"]


@pytest.mark.parametrize("given", [[], [""], [" "], [","]])
def test_no_names_are_refused(given: list[str]) -> None:
    with pytest.raises(BadInput, match="no names given"):
        parse_identifiers(given)


@pytest.mark.parametrize("empty", ["", " ", ","])
def test_an_empty_name_in_a_list_is_refused_since_a_template_may_have_failed(empty: str) -> None:
    with pytest.raises(BadInput, match="an empty name"):
        parse_identifiers(["a.example", empty])


@pytest.mark.parametrize("given", ["xn--zzzzzzzz999.example", "xn--a.example"])
def test_what_only_looks_internationalised_is_shown_as_it_is(given: str) -> None:
    assert parse_name(given).shown == given


@pytest.mark.parametrize(
    ("given", "sent"), [("bücher。example", "xn--bcher-kva.example"), ("ＡＢ.example", "ab.example")]
)
def test_signs_that_stand_for_others_are_read_as_browsers_do(given: str, sent: str) -> None:
    assert parse_name(given).ascii == sent


def test_a_name_beside_the_wildcard_that_covers_it_is_redundant() -> None:
    with pytest.raises(BadInput, match=r"'www.a.example': redundant, \*.a.example covers it"):
        parse_identifiers(["www.a.example", "*.a.example"])
    assert len(parse_identifiers(["a.example", "*.a.example", "x.y.a.example"])) == 3


@pytest.mark.parametrize(
    ("pattern", "name", "does"),
    [
        ("a.example", "a.example", True),
        ("*.a.example", "x.a.example", True),
        ("*.a.example", "a.example", False),
        ("*.a.example", "x.y.a.example", False),
        ("*.a.example", "*.a.example", True),
        ("*.example", "*.a.example", False),
    ],
)
def test_a_wildcard_is_one_label(pattern: str, name: str, does: bool) -> None:
    assert covers(pattern, name) is does
