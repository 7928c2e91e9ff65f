# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys: made, read, compared; never quoted."""

from __future__ import annotations

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519


def encrypted(key: keys.PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"right"),
    )


@pytest.mark.parametrize("key_type", ["ec-256", "ec-384", "rsa-2048"])
def test_a_key_survives_its_pem_and_has_the_type_it_was_made_with(key_type: str) -> None:
    key = keys.generate(key_type)
    again = keys.load(keys.to_pem(key))
    assert keys.key_type(again.public_key()) == key_type
    assert keys.public_sha256(again.public_key()) == keys.public_sha256(key.public_key())


@pytest.mark.parametrize("key_type", ["ec-256", "rsa-2048"])
def test_only_the_other_half_of_a_key_verifies_its_signature(key_type: str) -> None:
    key, other = keys.generate(key_type), keys.generate(key_type)
    signature = keys.sign(key, b"data")
    assert keys.is_signed_by(key.public_key(), signature, b"data")
    assert not keys.is_signed_by(key.public_key(), signature, b"datum")
    assert not keys.is_signed_by(other.public_key(), signature, b"data")


def test_an_encrypted_key_needs_its_passphrase() -> None:
    key = keys.generate("ec-256")
    assert keys.public_sha256(keys.load(encrypted(key), passphrase="right").public_key()) == keys.public_sha256(
        key.public_key()
    )
    with pytest.raises(UserError, match="is encrypted"):
        keys.load(encrypted(key))
    with pytest.raises(UserError, match="passphrase is wrong"):
        keys.load(encrypted(key), passphrase="wrong")


def test_a_passphrase_for_a_key_that_has_none_does_no_harm() -> None:
    assert keys.load(keys.to_pem(keys.generate("ec-256")), passphrase="none needed")


def test_a_kind_of_key_that_no_ca_takes_is_named() -> None:
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(UserError, match="Ed25519"):
        keys.load(pem)


@pytest.mark.parametrize("passphrase", [None, "other"])
def test_what_is_no_key_is_refused_without_being_quoted(passphrase: str | None) -> None:
    """Not in the error, and not in those that it was raised from."""
    with pytest.raises(UserError) as error:
        keys.load(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", passphrase=passphrase)
    raised = [error.value, error.value.__cause__, error.value.__context__]
    assert not [one for one in raised if "c2VjcmV0" in repr(one) or "secret" in repr(one)]
    assert error.value.remedy


@pytest.mark.parametrize("pem", [b"", b"\xff\xfe", b"-----BEGIN PRIVATE KEY-----\n", b"{}"])
def test_what_is_no_pem_is_refused(pem: bytes) -> None:
    with pytest.raises(UserError, match="not a PEM private key"):
        keys.load(pem)


@pytest.mark.parametrize("key_type", ["ec-256", "rsa-2048"])
def test_the_older_forms_of_pem_are_read(key_type: str) -> None:
    """SEC1 and PKCS#1, as openssl wrote them."""
    key = keys.generate(key_type)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    assert keys.to_pem(keys.load(pem)) == keys.to_pem(key)


def test_public_keys_of_other_kinds_have_a_name_too() -> None:
    assert keys.key_type(ec.generate_private_key(ec.SECP521R1()).public_key()) == "ec-521"
    assert keys.key_type(ed25519.Ed25519PrivateKey.generate().public_key()) == "ed25519"
