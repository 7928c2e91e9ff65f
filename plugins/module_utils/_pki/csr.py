# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificate signing request: the names as SANs and nothing else. Private to this collection."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from .keys import PrivateKey


def make_csr(key: PrivateKey, names: t.Sequence[str]) -> bytes:
    """Make a CSR (DER) with an empty subject and DNS SANs.

    No common name (CAs that want one take the first SAN; it is limited to 64 characters), no extended key usage
    (Google Trust Services refuses clientAuth), no must-staple (Let's Encrypt refuses it, Pomerium cannot serve it).
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
