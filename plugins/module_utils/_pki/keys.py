# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private keys: make, read, write, compare, sign. Pure functions over bytes; `cryptography` is imported when needed.

Key types are named as acme.sh and lego do: ec-256, ec-384, rsa-2048, rsa-3072, rsa-4096. Private to this collection.
"""

from __future__ import annotations

import hashlib
import typing as t

from .._errors import UserError

if t.TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    PrivateKey = t.Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]
    PublicKey = t.Union[ec.EllipticCurvePublicKey, rsa.RSAPublicKey]

KEY_TYPES = ("ec-256", "ec-384", "rsa-2048", "rsa-3072", "rsa-4096")
"""What public CAs take (Let's Encrypt refuses P-521). Of the curves, Pomerium before 0.30 takes only P-256."""


def generate(key_type: str) -> PrivateKey:
    """Make a new private key of one of KEY_TYPES."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    kind, size = key_type.split("-")
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=int(size))
    return ec.generate_private_key(ec.SECP256R1() if size == "256" else ec.SECP384R1())


def load(pem: bytes, *, passphrase: str | None = None) -> PrivateKey:
    """Read a PEM private key (PKCS#8, SEC1 or PKCS#1). Raises UserError that never quotes the key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
    except TypeError as error:
        if passphrase is None:
            raise UserError("The private key is encrypted", remedy="Give its passphrase.") from error
        return load(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        why = "cannot be read, or its passphrase is wrong" if passphrase else "is not a PEM private key"
        raise UserError(f"The private key {why}", remedy="Give PKCS#8, SEC1 or PKCS#1 in PEM form.") from error
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise UserError(
            f"The private key is of a kind that no public CA takes ({type(key).__name__.strip('_')})",
            remedy=f"Use one of {', '.join(KEY_TYPES)}.",
        )
    return key


def to_pem(key: PrivateKey) -> bytes:
    """Write a private key as PKCS#8 PEM, not encrypted."""
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_type(public: t.Any) -> str:
    """Name the type of a public key as in KEY_TYPES; other kinds get a name too (`rsa-1024`, `ec-521`, `ed25519`)."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if isinstance(public, rsa.RSAPublicKey):
        return f"rsa-{public.key_size}"
    if isinstance(public, ec.EllipticCurvePublicKey):
        return f"ec-{public.curve.key_size}"
    return type(public).__name__.strip("_").replace("PublicKey", "").lower()


def public_sha256(public: t.Any) -> str:
    """Digest the SubjectPublicKeyInfo (hex): equal for a key and the certificate made for it."""
    from cryptography.hazmat.primitives import serialization

    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def sign(key: PrivateKey, data: bytes) -> bytes:
    """Sign with the key itself: ECDSA with SHA-256 (DER), or RSASSA-PKCS1-v1_5 with SHA-256."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hashes.SHA256()))
    return key.sign(data, padding.PKCS1v15(), hashes.SHA256())


def is_signed_by(public: PublicKey, signature: bytes, data: bytes) -> bool:
    """Tell whether `sign` made this signature over this data with the private half of `public`."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            public.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        else:
            public.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True
