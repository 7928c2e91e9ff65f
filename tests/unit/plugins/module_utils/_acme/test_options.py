# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shared options: what a binding's key may look like, and what every ACME module's spec has."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.options import access_from, acme_spec
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput

KEY = bytes(range(190, 255))[:64]
URLSAFE, STANDARD = base64.urlsafe_b64encode(KEY).decode(), base64.b64encode(KEY).decode()


def binding_key(text: str) -> str:
    given = {"kid": "kid-1", "key": text, "alg": "HS512"}
    binding = access_from({"external_account_binding": given, "request_timeout": 45, "validate_certs": True}).binding
    return "" if binding is None else binding.key


@pytest.mark.parametrize("text", [URLSAFE, STANDARD])
@pytest.mark.parametrize("form", ["{}", " {}\n"])
@pytest.mark.parametrize("is_padded", [True, False])
def test_a_binding_key_is_taken_in_both_alphabets_padded_or_not(text: str, form: str, is_padded: bool) -> None:
    assert {"+", "/"} & set(STANDARD) and {"-", "_"} & set(URLSAFE) and URLSAFE.endswith("=")
    given = form.format(text if is_padded else text.rstrip("="))
    assert base64.urlsafe_b64decode(binding_key(given) + "==") == KEY


@pytest.mark.parametrize("text", ["not base64!", "AAAAA", "AA=A", "==", "é"])
def test_a_binding_key_that_is_none_is_refused_with_its_kid_and_not_quoted(text: str) -> None:
    with pytest.raises(BadInput, match="external_account_binding 'kid-1': its key is not in base64url") as caught:
        binding_key(text)
    assert text not in str(caught.value)


def test_every_module_takes_the_shared_options_also_from_a_file() -> None:
    """And none has a default directory, so that the file's own counts (a private CA's account goes nowhere else)."""
    spec = acme_spec(own={"type": "str"})
    assert {"account_file", "acme_directory", "account_key_content", "own"} <= set(spec["argument_spec"])
    assert "default" not in spec["argument_spec"]["acme_directory"]
    assert ["account_key_path", "account_key_content"] in spec["required_one_of"]
    assert spec["complete"]({"own": "x"}) == {"own": "x"}


def test_a_module_may_do_without_an_account_key() -> None:
    """A certificate's own key may ask to revoke it."""
    spec = acme_spec(account_key_required=False, required_one_of=[("a", "b")])
    assert spec["required_one_of"] == [["a", "b"]]
    assert ["account_key_path", "account_key_content"] in spec["mutually_exclusive"]
