# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account key: found or made, read from PEM or JWK, written, and in the form that requests are signed with.

Importing this file costs nothing of `cryptography` or `josepy`. Private to this collection.
"""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass

from .. import _files
from .._errors import BadInput, UserError
from .._pki import keys
from .options import Access

ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
"""The signature algorithm must suit the curve (RFC 7518 section 3.4). Let's Encrypt refuses P-521, other CAs do not."""

CURVES = ("P-256", "P-384", "P-521")


@dataclass(frozen=True)
class KeySource:
    """Where a user keeps a key to sign with: in a file, or as text in an option; `option` begins the options' names."""

    path: str | None
    content: str | None
    passphrase: str | None
    option: str = "account_key"

    @property
    def is_missing(self) -> bool:
        """Tell whether the key is to be at a path where nothing is yet."""
        return self.path is not None and not os.path.exists(self.path)

    def refusal(self, why: str, *, remedy: str | None = None) -> BadInput:
        """Make the error about this key, which names its option and path and never quotes it."""
        named = f"{self.option}_{'content' if self.path is None else 'path'}"
        return BadInput(named, self.path, why, remedy=remedy)

    def load(self) -> keys.PrivateKey:
        """Read the key. Raises BadInput where it is missing, encrypted without passphrase, or none that can sign."""
        text = self._read()
        try:
            key = load_jwk(text) if text.lstrip().startswith(b"{") else keys.load(text, passphrase=self.passphrase)
        except UserError as error:
            remedy = f"Give {self.option}_passphrase." if "encrypted" in error.what else error.remedy
            raise self.refusal(error.what[0].lower() + error.what[1:], remedy=remedy) from error
        curve = getattr(key, "curve", None)
        if curve is not None and curve.name not in ALGORITHMS:
            raise self.refusal(f"no ACME CA takes curve {curve.name}", remedy="Use ec-256.")
        return key

    def _read(self) -> bytes:
        if self.path is None:
            return (self.content or "").encode()
        try:
            return _files.read_bytes(self.path)
        except FileNotFoundError as error:
            raise self.refusal(
                "there is no account key",
                remedy="Correct the path, or let acme_account (or acme_certificate with terms_agreed) make one there.",
            ) from error
        except OSError as error:
            raise self.refusal(f"cannot be read ({error.strerror})") from error

    def save(self, key: keys.PrivateKey) -> None:
        """Write a new key (mode 0600) at the path that the user gave, before the CA hears of it."""
        path = os.path.abspath(t.cast("str", self.path))
        try:
            _files.make_directory(os.path.dirname(path))
            _files.write_file(path, keys.to_pem(key), mode=0o600)
        except OSError as error:
            raise self.refusal(
                f"the new key cannot be written ({error.strerror})",
                remedy="Mend the rights of its directory, or give another path.",
            ) from error


def key_source(access: Access) -> KeySource:
    """Give where the account key is kept."""
    return KeySource(access.key_path, access.key_content, access.passphrase)


def load_account_key(access: Access) -> keys.PrivateKey:
    """Read the account key. Raises as `KeySource.load`."""
    return key_source(access).load()


def load_jwk(text: bytes) -> keys.PrivateKey:
    """Read a private JWK (RFC 7517), as certbot keeps its account keys. Raises UserError that never quotes the key."""
    document = _json_object(text)
    if document is None:
        why = "is not valid JSON"
    elif document.get("kty") == "oct":
        why = "is a symmetric key"
    elif document.get("kty") not in ("EC", "RSA"):
        why = "is neither an EC nor an RSA key"
    elif document["kty"] == "EC" and document.get("crv") not in CURVES:
        why = f"is on a curve that no ACME CA takes (none of {', '.join(CURVES)})"
    elif "d" not in document:
        why = "is a public key"
    else:
        key = _private_key(document)
        if key is not None:
            return key
        why = "is damaged"
    raise UserError(f"The JWK {why}", remedy="Give a private key, EC or RSA, such as certbot's private_key.json.")


def _json_object(text: bytes) -> dict[str, t.Any] | None:
    try:
        document = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _private_key(document: dict[str, t.Any]) -> keys.PrivateKey | None:
    """Let `josepy` read a JWK. What it says about one that is damaged is dropped: it quotes private numbers."""
    import josepy

    try:
        jwk: t.Any = josepy.JWK.from_json(document)
        return keys.load(keys.to_pem(jwk.key))
    except (josepy.errors.Error, KeyError, ValueError, TypeError, AttributeError):
        return None


def signer(key: keys.PrivateKey) -> tuple[t.Any, t.Any]:
    """Give the key and its signature algorithm as `josepy` wants them."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from josepy import jwa, jwk
    from josepy.util import ComparableECKey, ComparableRSAKey

    if isinstance(key, rsa.RSAPrivateKey):
        return jwk.JWKRSA(key=ComparableRSAKey(key)), jwa.RS256
    return jwk.JWKEC(key=ComparableECKey(key)), getattr(jwa, ALGORITHMS[key.curve.name])
