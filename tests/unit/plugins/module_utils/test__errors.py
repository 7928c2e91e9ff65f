# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors are sentences: what happened, to what, what was answered, what to do."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({}, "It broke."),
        ({"name": "a.example"}, "It broke for a.example."),
        ({"answer": "no."}, "It broke: no."),
        ({"remedy": "Mend it."}, "It broke. Mend it."),
        ({"name": "a", "answer": "no", "remedy": "Mend it.", "fact": 1}, "It broke for a: no. Mend it."),
    ],
)
@pytest.mark.parametrize("what", ["It broke", "It broke."])
def test_an_error_is_one_sentence_and_a_remedy(what: str, parts: dict[str, t.Any], sentence: str) -> None:
    error = UserError(what, **parts)
    assert str(error) == sentence
    assert error.facts == {key: value for key, value in parts.items() if key == "fact"}


def test_bad_input_names_option_and_value() -> None:
    assert str(BadInput("size", 3, "too small", remedy="Give 4.")) == "size '3': too small. Give 4."
    assert str(BadInput("names", None, "none given")) == "names: none given."
    assert str(BadInput("name", "", "empty")) == "name '': empty."


def test_a_caller_that_knows_better_gives_another_remedy() -> None:
    error = UserError("It broke", remedy="Mend it.")
    error.advise("Mend the key.")
    assert str(error) == "It broke. Mend the key."
