# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificate signing request: ours has the names as SANs and nothing else; a user's own is read and checked.

`cryptography` is imported when needed. Private to this collection.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .._errors import UserError
from . import keys

if t.TYPE_CHECKING:
    from .keys import PrivateKey


@dataclass(frozen=True)
class Csr:
    """A request as DER, with what it asks for: DNS names (lower case) and the digest of its public key."""

    der: bytes
    names: tuple[str, ...]
    public_sha256: str


def make_csr(key: PrivateKey, names: t.Sequence[str]) -> Csr:
    """Make a CSR with an empty subject and DNS SANs.

    No common name (CAs that want one take the first SAN; it is limited to 64 characters), no extended key usage
    (Google Trust Services refuses clientAuth), no must-staple (Let's Encrypt refuses it, Pomerium cannot serve it).
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return Csr(der, tuple(names), keys.public_sha256(key.public_key()))


def parse_csr(data: bytes) -> Csr:
    """Read a user's CSR, PEM or DER; its names are the DNS SANs and the common name, as a CA reads them.

    Raises UserError where it is none, its signature is wrong, or it asks for something else than DNS names.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        is_pem = b"-----BEGIN" in data
        request = x509.load_pem_x509_csr(data) if is_pem else x509.load_der_x509_csr(data)
        if not request.is_signature_valid:
            raise UserError("The signature of the certificate signing request is wrong", remedy="Make it anew.")
        public = request.public_key()
        sans = [extension.value for extension in request.extensions if extension.oid == x509.SubjectAlternativeName.oid]
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(
            "This is not a certificate signing request (PKCS#10)", remedy="Give it in PEM or DER form."
        ) from error
    general = [name for san in sans for name in t.cast("x509.SubjectAlternativeName", san)]
    if any(not isinstance(name, x509.DNSName) for name in general):
        raise UserError(
            "The certificate signing request asks for something else than DNS names",
            remedy="Give one whose subject alternative names are DNS names alone.",
        )
    common = [str(item.value) for item in request.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    names = dict.fromkeys(str(name).lower() for name in (*(one.value for one in general), *common))
    return Csr(request.public_bytes(serialization.Encoding.DER), tuple(names), keys.public_sha256(public))
