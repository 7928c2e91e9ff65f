# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Account keys: every form in which people keep them is read, and an error about one names it and never quotes it."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import traceback
import typing as t
from pathlib import Path

import josepy
import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.account_key import KeySource, load_jwk, signer
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PASSPHRASE = "correct horse"
CURVES = {"ec-256": ec.SECP256R1(), "ec-384": ec.SECP384R1(), "ec-521": ec.SECP521R1()}
KINDS = (*CURVES, "rsa-2048")
ALGORITHMS = {"ec-256": "ES256", "ec-384": "ES384", "ec-521": "ES512", "rsa-2048": "RS256"}
PKCS8 = serialization.PrivateFormat.PKCS8
TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL


@pytest.fixture(scope="module")
def made() -> dict[str, t.Any]:
    """A key of each kind."""
    made: dict[str, t.Any] = {kind: ec.generate_private_key(curve) for kind, curve in CURVES.items()}
    return {**made, "rsa-2048": rsa.generate_private_key(public_exponent=65537, key_size=2048)}


def pem_of(key: t.Any, form: serialization.PrivateFormat, passphrase: str | None = None) -> str:
    seal: t.Any = serialization.NoEncryption()
    if passphrase is not None:
        seal = serialization.BestAvailableEncryption(passphrase.encode())
    return str(key.private_bytes(serialization.Encoding.PEM, form, seal).decode())


def jwk_of(key: t.Any) -> dict[str, str]:
    """The JWK, as certbot writes one."""
    kind = josepy.JWKRSA if isinstance(key, rsa.RSAPrivateKey) else josepy.JWKEC
    return t.cast("dict[str, str]", kind(key=key).to_json())


def by_text(text: str, passphrase: str | None = None) -> KeySource:
    return KeySource(None, text, passphrase)


def is_same(one: t.Any, other: t.Any) -> bool:
    return bool(keys.to_pem(one) == keys.to_pem(other))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [PKCS8, TRADITIONAL])
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_pem_key_is_read_in_every_form_encrypted_or_not(
    made: dict[str, t.Any], kind: str, form: serialization.PrivateFormat, passphrase: str | None
) -> None:
    assert is_same(by_text(pem_of(made[kind], form, passphrase), passphrase).load(), made[kind])


def test_a_passphrase_that_is_not_needed_does_no_harm(made: dict[str, t.Any]) -> None:
    """It may come from the account_file, for another key."""
    assert is_same(by_text(pem_of(made["ec-256"], PKCS8), PASSPHRASE).load(), made["ec-256"])
    assert is_same(by_text(json.dumps(jwk_of(made["ec-256"])), PASSPHRASE).load(), made["ec-256"])


def test_what_openssl_ecparam_writes_is_read(made: dict[str, t.Any]) -> None:
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert is_same(by_text(parameters + pem_of(made["ec-256"], TRADITIONAL)).load(), made["ec-256"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_jwk_is_read(made: dict[str, t.Any], kind: str) -> None:
    jwk = jwk_of(made[kind])
    for text in (json.dumps(jwk), f"\n {json.dumps(jwk, indent=2)}\n"):
        assert is_same(by_text(text).load(), made[kind])


def test_an_rsa_jwk_with_nothing_but_its_private_exponent_is_read(made: dict[str, t.Any]) -> None:
    jwk = {name: value for name, value in jwk_of(made["rsa-2048"]).items() if name in ("kty", "n", "e", "d")}
    numbers = load_jwk(json.dumps(jwk).encode()).private_numbers()
    assert numbers.public_numbers == made["rsa-2048"].public_key().public_numbers()


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_signs_with_the_algorithm_that_suits_it(made: dict[str, t.Any], kind: str) -> None:
    jwk, algorithm = signer(made[kind])
    assert algorithm.name == ALGORITHMS[kind]
    assert jwk.to_json() == jwk_of(made[kind])


DAMAGED = [
    ({"kty": "oct", "k": "c2VjcmV0LXN5bW1ldHJpYw"}, "is a symmetric key"),
    ({"kty": "OKP", "crv": "Ed25519", "d": "c2VjcmV0", "x": "c2VjcmV0"}, "is neither an EC nor an RSA key"),
    ({"d": "c2VjcmV0"}, "is neither an EC nor an RSA key"),
    ({"kty": ["c2VjcmV0"]}, "is neither an EC nor an RSA key"),
    ({"kty": "EC", "crv": "secp256k1", "d": "c2VjcmV0"}, "is on a curve that no ACME CA takes"),
    ({"kty": "EC", "d": "c2VjcmV0"}, "is on a curve that no ACME CA takes"),
    ({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, "is a public key"),
    ({"kty": "RSA", "n": "AA", "e": "AQAB"}, "is a public key"),
    ({"kty": "EC", "crv": "P-256", "d": "c2VjcmV0"}, "is damaged"),
    ({"kty": "EC", "crv": "P-256", "d": 5, "x": "AA", "y": "AA"}, "is damaged"),
    ({"kty": "EC", "crv": "P-256", "d": "!", "x": "é", "y": None}, "is damaged"),
    ({"kty": "RSA", "n": "AA", "e": "AQAB", "d": "c2VjcmV0", "p": "c2VjcmV0LXA"}, "is damaged"),
    ({"kty": "RSA", "n": "c2VjcmV0", "e": "AQAB", "d": "c2VjcmV0"}, "is damaged"),
]


@pytest.mark.parametrize(("jwk", "why"), DAMAGED)
def test_a_jwk_that_is_of_no_use_is_told_apart_and_not_quoted(jwk: dict[str, t.Any], why: str) -> None:
    """Not by its traceback either, which core shows where it is asked to: `josepy` quotes what it could not read."""
    with pytest.raises(BadInput, match=f"account_key_content: the JWK {why}") as caught:
        by_text(json.dumps(jwk)).load()
    told = "".join(traceback.format_exception(type(caught.value), caught.value, caught.value.__traceback__))
    assert "c2VjcmV0" not in told.replace(json.dumps(jwk), "")
    assert "private_key.json" in str(caught.value)


def test_a_jwk_whose_halves_are_of_different_keys_is_damaged(made: dict[str, t.Any]) -> None:
    other = jwk_of(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(UserError, match="is damaged"):
        load_jwk(json.dumps({**jwk_of(made["ec-256"]), "d": other["d"]}).encode())


@pytest.mark.parametrize("text", ["{", "{'kty': ", "{" * 5000, "{]", '{"a": 1} x', "{1, 2}"])
def test_what_begins_like_json_and_is_none_is_said(text: str) -> None:
    with pytest.raises(UserError, match="The JWK is not valid JSON"):
        load_jwk(text.encode())


@pytest.mark.parametrize("curve", [ec.SECP256K1(), ec.BrainpoolP256R1()])
def test_a_curve_of_the_right_size_that_no_ca_takes_is_refused(curve: ec.EllipticCurve) -> None:
    """They have 256 bits, but are not P-256."""
    with pytest.raises(BadInput, match=f"account_key_content: no ACME CA takes curve {curve.name}. Use ec-256"):
        by_text(pem_of(ec.generate_private_key(curve), PKCS8)).load()


def test_an_encrypted_key_without_its_passphrase_names_the_option_that_lacks(made: dict[str, t.Any]) -> None:
    text = pem_of(made["ec-256"], PKCS8, PASSPHRASE)
    with pytest.raises(BadInput, match="account_key_content: .*encrypted. Give account_key_passphrase"):
        by_text(text).load()
    with pytest.raises(BadInput, match="new_account_key_content: .*encrypted. Give new_account_key_passphrase"):
        KeySource(None, text, None, option="new_account_key").load()
    with pytest.raises(BadInput, match="its passphrase is wrong"):
        by_text(text, "another").load()


@pytest.mark.parametrize(
    ("text", "why"), [(None, "there is no account key"), ("", "is not a PEM private key"), ("dir", "cannot be read")]
)
def test_a_key_that_cannot_be_used_is_named_with_its_option_and_path(
    tmp_path: Path, text: str | None, why: str
) -> None:
    path = tmp_path / "account.pem"
    if text == "dir":
        path.mkdir()
    elif text is not None:
        path.write_text(text)
    for option in ("account_key", "new_account_key"):
        with pytest.raises(BadInput, match=f"{option}_path '{path}': .*{why}"):
            KeySource(str(path), None, None, option=option).load()


def test_a_new_key_is_written_for_us_alone_and_read_again(tmp_path: Path, made: dict[str, t.Any]) -> None:
    source = KeySource(str(tmp_path / "a/b/account.pem"), None, None)
    assert source.is_missing
    source.save(made["ec-256"])
    assert not source.is_missing and is_same(source.load(), made["ec-256"])
    assert stat.S_IMODE((tmp_path / "a/b/account.pem").stat().st_mode) == 0o600


def test_reading_a_pem_key_loads_nothing_of_acme(tmp_path: Path, made: dict[str, t.Any]) -> None:
    (tmp_path / "account.pem").write_text(pem_of(made["ec-256"], PKCS8))
    module = KeySource.__module__
    script = (
        f"import sys; from {module} import KeySource; KeySource({str(tmp_path / 'account.pem')!r}, None, None).load();"
        "print(sorted({'acme', 'josepy', 'requests'} & set(sys.modules)))"
    )
    root = str(Path(__file__).parents[8])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONPATH": root}
    )
    assert done.stdout == "[]\n"
