# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The chain that is preferred: taken where the CA has it, and never a reason to lose the default one (R37)."""

from __future__ import annotations

from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.download import Downloaded, download
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.resources import Order
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.session import Session
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.csr import make_csr
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._acme.scripted_ca import (
    Answer,
    ScriptedCa,
    problem,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

FIRST, SECOND, OTHER = Authority("Root One"), Authority("Root Two"), Authority("Root Three")
ISSUED = FIRST.issue("a.example")


def fetch(ca: ScriptedCa, session: Session, *alternates: Answer, preferred: str | None) -> Downloaded:
    """Download from a CA whose default chain ends at the first root, and that has these alternates."""
    links = [f'<{ca.url}directory>;rel="index"']
    links += [f'</alternate/{number}>;rel="alternate"' for number in range(len(alternates))]
    ca.script = [Answer(200, ISSUED.fullchain_pem, {"Link": ", ".join(links)}), *alternates]
    order = Order(f"{ca.url}o/1", "valid", None, ("a.example",), (), "", f"{ca.url}cert/1", None, None)
    csr = make_csr(keys.load(ISSUED.key_pem), ["a.example"])
    return download(session, order, csr=csr, names=["a.example"], anchors=[], preferred=preferred)


def chain_to(name: str) -> bytes:
    """The same leaf and issuer, whose certificate a root of this name has signed."""
    root = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = FIRST.certificate
    builder = x509.CertificateBuilder().issuer_name(root).subject_name(certificate.subject)
    builder = builder.public_key(certificate.public_key()).serial_number(7)
    builder = builder.not_valid_before(certificate.not_valid_before_utc).not_valid_after(
        certificate.not_valid_after_utc
    )
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    crossed = builder.sign(keys.generate("ec-256"), hashes.SHA256())
    return ISSUED.certificate.public_bytes(Encoding.PEM) + crossed.public_bytes(Encoding.PEM)


def test_without_a_preference_no_alternate_is_asked_for(tls_ca: ScriptedCa, session: Session) -> None:
    assert fetch(tls_ca, session, preferred=None).warnings == ()


def test_the_default_chain_is_taken_where_it_ends_at_the_preferred_root(tls_ca: ScriptedCa, session: Session) -> None:
    got = fetch(tls_ca, session, preferred="Root One")
    assert (got.chain.ends_at, got.warnings) == ("Root One", ())


def test_the_alternate_that_ends_at_the_preferred_root_is_taken(tls_ca: ScriptedCa, session: Session) -> None:
    alternates = [Answer(200, chain_to("Root Two")), Answer(200, chain_to("Root Three"))]
    got = fetch(tls_ca, session, *alternates, preferred="Root Three")
    assert (got.chain.ends_at, got.chain.leaf, got.warnings) == ("Root Three", ISSUED.certificate, ())


def test_r37_a_preference_that_the_ca_cannot_meet_is_a_warning(tls_ca: ScriptedCa, session: Session) -> None:
    got = fetch(tls_ca, session, Answer(200, chain_to("Root Two")), preferred="Root Nine")
    assert got.chain.ends_at == "Root One"
    assert got.warnings == (
        "No chain of the CA ends at 'Root Nine' (preferred_chain), the default one is used; there is: 'Root One', "
        "'Root Two'.",
    )


def test_r37_alternates_that_are_of_no_use_are_warnings_and_the_next_is_tried(
    tls_ca: ScriptedCa, session: Session
) -> None:
    foreign = OTHER.issue("a.example").fullchain_pem
    alternates = [
        problem("serverInternal", status=404),
        Answer(200, b"<html>"),
        Answer(200, foreign),
        Answer(200, chain_to("Root Two")),
    ]
    got = fetch(tls_ca, session, *alternates, preferred="Root Two")
    assert got.chain.ends_at == "Root Two"
    assert len(got.warnings) == 3
    assert "serverInternal" in got.warnings[0] and "no PEM certificate" in got.warnings[1]
    assert "another certificate" in got.warnings[2]
