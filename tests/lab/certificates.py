# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make certificates for the lab: a small CA and whatever leaf a test asks for, in PEM."""

from __future__ import annotations

import datetime as dt
import ipaddress
import typing as t
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = t.Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]
CA_KEY_USAGE = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
"""To sign certificates and CRLs. Python 3.13 verifies strictly: a CA needs this, and key identifiers."""
MUST_STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])


@dataclass(frozen=True)
class Issued:
    """A leaf with its chain and key, PEM."""

    certificate: x509.Certificate
    fullchain_pem: bytes
    key_pem: bytes

    def write(self, certificate_path: Path, key_path: Path) -> None:
        """Write the pair, the key readable by its owner only."""
        certificate_path.write_bytes(self.fullchain_pem)
        key_path.touch(mode=0o600)
        key_path.write_bytes(self.key_pem)


class Authority:
    """A CA that lives as long as the object: a root, or an intermediate of `issuer`."""

    def __init__(self, name: str, *, issuer: Authority | None = None) -> None:
        self._key = new_key("ec-256")
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = issuer or self
        builder = _builder(self.subject, signer.subject, self._key, days=30)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(CA_KEY_USAGE, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), False)
        signer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer._key.public_key())
        self.certificate = builder.add_extension(signer_key, False).sign(signer._key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pair(self) -> Issued:
        """Its own certificate and key, for a program that is to sign with it."""
        return Issued(self.certificate, self.pem, key_pem(self._key))

    def issue(
        self,
        *names: str,
        key_type: str = "ec-256",
        days: float = 30,
        extensions: t.Sequence[x509.ExtensionType] = (),
    ) -> Issued:
        """Issue for DNS names and IP addresses; `days` below zero makes an expired one."""
        key = new_key(key_type)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = _builder(subject, self.subject, key, days=days)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        for extension in (*extensions, issuer_key, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])):
            builder = builder.add_extension(extension, critical=False)
        leaf = builder.sign(self._key, hashes.SHA256())
        return Issued(leaf, leaf.public_bytes(serialization.Encoding.PEM) + self.pem, key_pem(key))


def new_key(key_type: str) -> Key:
    """A new key, named as in the collection: ec-256, ec-384, rsa-2048."""
    family, _dash, size = key_type.partition("-")
    if family == "ec":
        return ec.generate_private_key({"256": ec.SECP256R1(), "384": ec.SECP384R1()}[size])
    return rsa.generate_private_key(public_exponent=65537, key_size=int(size))


def key_pem(key: Key) -> bytes:
    """PKCS#8, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, *, days: float) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=abs(days) + 1))
        .not_valid_after(now + dt.timedelta(days=days))
    )
