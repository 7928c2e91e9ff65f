# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificate signing requests: ours hold the names and nothing else, a user's own is read and checked."""

from __future__ import annotations

import ipaddress

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.csr import make_csr, parse_csr
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

KEY = keys.generate("ec-256")


def request(*names: x509.GeneralName, common_name: str | None = None) -> x509.CertificateSigningRequest:
    subject = [x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_a_users_request_is_read_in_both_forms_with_the_common_name_among_its_names(encoding: Encoding) -> None:
    given = request(x509.DNSName("*.A.example"), x509.DNSName("b.example"), common_name="b.example")
    read = parse_csr(given.public_bytes(encoding))
    assert read.names == ("*.a.example", "b.example")
    assert read.public_sha256 == keys.public_sha256(KEY.public_key())
    assert read.der == given.public_bytes(Encoding.DER)
    assert parse_csr(request(common_name="c.example").public_bytes(encoding)).names == ("c.example",)


def test_our_own_request_can_be_read_like_a_users() -> None:
    made = make_csr(KEY, ["*.a.example", "a.example"])
    assert parse_csr(made.der) == made


def test_what_is_no_request_or_asks_for_more_than_names_is_refused() -> None:
    address = request(x509.IPAddress(ipaddress.ip_address("192.0.2.1"))).public_bytes(Encoding.PEM)
    forged = bytearray(request(x509.DNSName("a.example")).public_bytes(Encoding.DER))
    forged[-1] ^= 1
    for data, message in (
        (b"", "not a certificate signing request"),
        (keys.to_pem(KEY), "not a certificate signing request"),
        (address, "something else than DNS names"),
        (bytes(forged), "not a certificate signing request|signature .* is wrong"),
    ):
        with pytest.raises(UserError, match=message) as error:
            parse_csr(data)
        assert error.value.remedy
