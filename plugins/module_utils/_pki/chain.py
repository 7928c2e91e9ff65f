# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificate chains: split, described, and checked before a byte of them goes anywhere.

Pure functions over bytes; `cryptography` is imported when needed. Private to this collection.
"""

from __future__ import annotations

import base64
import re
import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from .._errors import UserError
from . import keys, names

if t.TYPE_CHECKING:
    from cryptography import x509

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)

TEST_ISSUER = re.compile(r"\(STAGING\)|Fake LE|happy hacker fake|Pebble (Intermediate|Root) CA", re.IGNORECASE)
"""Issuers that nothing should trust because of us: Let's Encrypt's staging environment and Pebble."""

MUST_STAPLE_OID = "1.3.6.1.5.5.7.1.24"


CERT_ID = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
"""How renewal information names a certificate (RFC 9773 section 4.1)."""


class ChainError(UserError):
    """A certificate chain that must not be used; nothing was written."""


@dataclass(frozen=True)
class Chain:
    """A leaf and the certificates that link it to its root, leaf first, each as `cryptography` object."""

    certificates: tuple[x509.Certificate, ...]

    @property
    def leaf(self) -> x509.Certificate:
        """The end-entity certificate."""
        return self.certificates[0]

    @property
    def ends_at(self) -> str:
        """Common name of the issuer of the topmost certificate: the root that a client has to trust."""
        from cryptography import x509

        issuer = self.certificates[-1].issuer
        names = issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(names[0].value) if names else issuer.rfc4514_string()

    def pem(self, *, leaf: bool = True, issuers: bool = True) -> bytes:
        """Write it as PEM: whole, the leaf alone, or the issuers alone."""
        from cryptography.hazmat.primitives.serialization import Encoding

        chosen = (self.certificates[:1] if leaf else ()) + (self.certificates[1:] if issuers else ())
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chosen)


def parse_chain(pem: bytes) -> Chain:
    """Read a PEM chain, leaf first. CRLF, blank lines and text between the blocks are fine (some CAs send them).

    Raises ChainError where there is no certificate, one is damaged, or a block is anything else (RFC 8555
    section 11.4: a downloaded chain must not smuggle other content in).
    """
    from cryptography import x509

    labels = [match.group(1) for match in _BLOCK.finditer(pem)]
    other = [label.decode() for label in labels if label != b"CERTIFICATE"]
    if other:
        raise ChainError(f"The chain holds a {other[0]} block", remedy="Only certificates may be in it.")
    begun = pem.count(b"-----BEGIN ")
    if not begun:
        raise ChainError("There is no PEM certificate in the chain")
    if begun != len(labels):
        raise ChainError("A certificate in the chain is damaged", answer="a block begins that does not end")
    try:
        return Chain(tuple(x509.load_pem_x509_certificates(pem)))
    except ValueError as error:
        raise ChainError("A certificate in the chain is damaged", answer=str(error)) from error


@dataclass(frozen=True)
class Facts:
    """What a certificate says, in the forms that modules return: ISO 8601 UTC, hex, RFC 4514."""

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    fingerprint_sha256: str
    issuer: str
    key_type: str
    public_sha256: str
    cert_id: str | None

    @property
    def lifetime(self) -> timedelta:
        """How long the certificate is valid in all."""
        return self.not_after - self.not_before

    def returns(self) -> dict[str, t.Any]:
        """Give the return values that every module with a certificate has."""
        return {
            "names": list(self.names),
            "not_before": iso(self.not_before),
            "not_after": iso(self.not_after),
            "serial": self.serial,
            "fingerprint_sha256": self.fingerprint_sha256,
            "issuer": self.issuer,
            "cert_id": self.cert_id,
        }


def iso(moment: datetime) -> str:
    """Write a moment as ISO 8601 UTC with Z."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def describe(certificate: x509.Certificate) -> Facts:
    """Read what a certificate says. Names come from the SANs, never from the common name."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        sans = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns_names = tuple(name.lower() for name in sans.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        dns_names = ()
    public = certificate.public_key()
    return Facts(
        names=dns_names,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=f"{certificate.serial_number:x}",
        fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        issuer=certificate.issuer.rfc4514_string(),
        key_type=keys.key_type(public),
        public_sha256=keys.public_sha256(public),
        cert_id=_cert_id(certificate),
    )


def _cert_id(certificate: x509.Certificate) -> str | None:
    """Name a certificate as ARI does (RFC 9773 section 4.1): key identifier and DER serial with its sign octet."""
    from cryptography import x509

    try:
        identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None
    if identifier is None:
        return None
    serial = certificate.serial_number
    octets = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (identifier, octets))


def version_id(certificate: x509.Certificate) -> str:
    """Name the version of a bundle: its begin in UTC and its serial, so that every host has the same name for it."""
    return f"{certificate.not_valid_before_utc:%Y%m%dT%H%M%SZ}-{certificate.serial_number:x}"


def is_test_issuer(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate comes from a staging or test CA."""
    return TEST_ISSUER.search(certificate.issuer.rfc4514_string()) is not None


def must_staple(certificate: x509.Certificate) -> bool:
    """Tell whether it demands OCSP stapling, which is fatal to Pomerium at its start (notes: TLS feature)."""
    return any(extension.oid.dotted_string == MUST_STAPLE_OID for extension in certificate.extensions)


def check_links(chain: Chain, *, anchors: t.Iterable[x509.Certificate] = ()) -> None:
    """Refuse a chain whose certificates do not issue one another in turn, or that ends before an issuer.

    A leaf alone is complete only where one of `anchors` (the roots that the user gave) issued it.
    """
    for lower, upper in zip(chain.certificates, chain.certificates[1:]):
        if not _issued(upper, lower):
            raise ChainError(
                "The chain is not in order: a certificate is not issued by the one after it",
                name=lower.subject.rfc4514_string() or "the leaf",
                answer=f"issuer {lower.issuer.rfc4514_string()!r}, next is {upper.subject.rfc4514_string()!r}",
            )
    if len(chain.certificates) == 1 and not any(_issued(root, chain.leaf) for root in anchors):
        raise ChainError(
            "The chain is truncated: the leaf came alone, without its issuer",
            name=", ".join(describe(chain.leaf).names) or None,
            answer=f"issuer {chain.leaf.issuer.rfc4514_string()!r}",
            remedy="Give the full chain (fullchain.pem, not cert.pem).",
        )


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def check_key(chain: Chain, public_sha256: str) -> None:
    """Refuse a chain whose leaf is not for the key with this digest."""
    if keys.public_sha256(chain.leaf.public_key()) != public_sha256:
        raise ChainError(
            "The certificate is not for this private key",
            name=", ".join(describe(chain.leaf).names) or None,
            remedy="Give the key that the certificate was requested with.",
        )


class ExpiredError(ChainError):
    """A certificate whose time is over, since `not_after`."""

    def __init__(self, facts: Facts) -> None:
        """Say so."""
        self.not_after = facts.not_after
        super().__init__(f"The certificate expired at {iso(facts.not_after)}", name=", ".join(facts.names))


def check_dates(chain: Chain, *, now: datetime) -> None:
    """Refuse a leaf that has expired, or that begins in the future by more than a minute."""
    facts = describe(chain.leaf)
    if facts.not_after <= now:
        raise ExpiredError(facts)
    if facts.not_before > now + timedelta(minutes=1):
        raise ChainError(f"The certificate is not valid before {iso(facts.not_before)}", name=", ".join(facts.names))


def check_exact_names(chain: Chain, wanted: t.Iterable[str]) -> None:
    """Refuse a leaf whose SANs are not just the names that were ordered (some CAs strip `*.`)."""
    found, expected = set(describe(chain.leaf).names), set(wanted)
    if found != expected:
        raise ChainError(
            "The certificate is not for the names that were ordered",
            answer=f"it has {', '.join(sorted(found)) or 'none'}; ordered were {', '.join(sorted(expected))}",
        )


def check_covers(chain: Chain, wanted: t.Iterable[str]) -> None:
    """Refuse a leaf that does not cover one of these names."""
    found = describe(chain.leaf).names
    missing = [name for name in wanted if not any(names.covers(pattern, name) for pattern in found)]
    if missing:
        raise ChainError(
            f"The certificate does not cover {', '.join(missing)}",
            answer=f"it is for {', '.join(found) or 'no DNS name'}",
            remedy="Order a certificate for these names, or correct expect_names.",
        )
