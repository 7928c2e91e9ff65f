# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chains: what is refused before a byte goes anywhere (R35, R36)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import chain as chains
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.csr import make_csr
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import MUST_STAPLE, Authority, Issued
from cryptography import x509
from cryptography.hazmat.primitives import hashes

NOW = datetime.now(timezone.utc)
NAMES = ("*.corp.example.com", "corp.example.com")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Lab CA")


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue(*NAMES)


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return Authority("Another CA")


def leaf_pem(issued: Issued) -> bytes:
    return chains.parse_chain(issued.fullchain_pem).pem(issuers=False)


def test_a_good_chain_passes_every_check(issued: Issued) -> None:
    chain = chains.parse_chain(issued.fullchain_pem)
    chains.check_links(chain)
    chains.check_key(chain, keys.public_sha256(keys.load(issued.key_pem).public_key()))
    chains.check_dates(chain, now=NOW)
    chains.check_exact_names(chain, reversed(NAMES))
    chains.check_covers(chain, ["app.corp.example.com"])


def test_another_key_is_refused(issued: Issued) -> None:
    with pytest.raises(chains.ChainError, match="not for this private key"):
        chains.check_key(
            chains.parse_chain(issued.fullchain_pem), keys.public_sha256(keys.generate("ec-256").public_key())
        )


def test_a_chain_that_ends_with_the_leaf_is_truncated(issued: Issued) -> None:
    with pytest.raises(chains.ChainError, match="truncated"):
        chains.check_links(chains.parse_chain(leaf_pem(issued)))


def test_a_leaf_alone_is_complete_where_its_issuer_is_a_given_root(issued: Issued, authority: Authority) -> None:
    chains.check_links(chains.parse_chain(leaf_pem(issued)), anchors=[authority.certificate])


def test_certificates_in_another_order_are_refused(issued: Issued, authority: Authority) -> None:
    with pytest.raises(chains.ChainError, match="not in order"):
        chains.check_links(chains.parse_chain(authority.pem + leaf_pem(issued)))


def test_issuers_of_another_ca_are_refused(issued: Issued, stranger: Authority) -> None:
    with pytest.raises(chains.ChainError, match="not in order"):
        chains.check_links(chains.parse_chain(leaf_pem(issued) + stranger.pem))


def test_an_expired_leaf_is_refused(authority: Authority) -> None:
    with pytest.raises(chains.ChainError, match="expired at"):
        chains.check_dates(chains.parse_chain(authority.issue(*NAMES, days=-1).fullchain_pem), now=NOW)


def test_a_leaf_of_the_future_is_refused(issued: Issued) -> None:
    early = chains.describe(issued.certificate).not_before - timedelta(hours=1)
    with pytest.raises(chains.ChainError, match="not valid before"):
        chains.check_dates(chains.parse_chain(issued.fullchain_pem), now=early)


@pytest.mark.parametrize("names", [("corp.example.com",), (*NAMES, "x.example.com"), ("corp.example.com",) * 2])
def test_other_names_than_ordered_are_refused(authority: Authority, names: tuple[str, ...]) -> None:
    """R35: some CAs strip `*.`, and add names of their own."""
    with pytest.raises(chains.ChainError, match="not for the names that were ordered"):
        chains.check_exact_names(chains.parse_chain(authority.issue(*names).fullchain_pem), NAMES)


def test_a_name_that_is_not_covered_is_named(issued: Issued) -> None:
    with pytest.raises(chains.ChainError, match=r"does not cover a\.b\.corp\.example\.com"):
        chains.check_covers(chains.parse_chain(issued.fullchain_pem), ["app.corp.example.com", "a.b.corp.example.com"])


def test_line_ends_and_text_between_the_blocks_do_not_matter(issued: Issued) -> None:
    messy = b"subject: x\r\n" + issued.fullchain_pem.replace(b"\n", b"\r\n").replace(
        b"-----BEGIN", b"\r\n\r\n-----BEGIN"
    )
    assert chains.parse_chain(messy).pem() == issued.fullchain_pem


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"", "no PEM certificate"),
        (b"<html>502</html>", "no PEM certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "damaged"),
    ],
)
def test_what_is_no_chain_is_refused(pem: bytes, why: str) -> None:
    with pytest.raises(chains.ChainError, match=why):
        chains.parse_chain(pem)


@pytest.mark.parametrize("part", [0.3, 0.5, 0.8, 0.99])
def test_a_chain_that_was_cut_off_somewhere_is_damaged(issued: Issued, part: float) -> None:
    with pytest.raises(chains.ChainError, match="damaged"):
        chains.parse_chain(issued.fullchain_pem[: int(len(issued.fullchain_pem) * part)])


def test_a_chain_with_a_hole_in_it_is_damaged(issued: Issued) -> None:
    pem = issued.fullchain_pem
    with pytest.raises(chains.ChainError, match="damaged"):
        chains.parse_chain(pem[:300] + pem[-300:])


def test_a_root_at_the_end_and_text_of_any_encoding_do_no_harm(issued: Issued, authority: Authority) -> None:
    chain = chains.parse_chain("# Käse\n".encode("latin-1") + issued.fullchain_pem)
    chains.check_links(chain)
    assert chain.pem(leaf=False) == authority.pem
    assert chain.pem(issuers=False) + chain.pem(leaf=False) == chain.pem() == issued.fullchain_pem


def test_a_leaf_that_comes_twice_is_not_its_own_issuer(issued: Issued, authority: Authority) -> None:
    with pytest.raises(chains.ChainError, match="not in order"):
        chains.check_links(chains.parse_chain(leaf_pem(issued) * 2 + authority.pem))


def test_a_certificate_that_signed_itself_is_no_chain(authority: Authority) -> None:
    with pytest.raises(chains.ChainError, match="truncated"):
        chains.check_links(chains.parse_chain(authority.pem))


def test_a_certificate_without_names_or_issuer_key_is_described_all_the_same() -> None:
    key, now = keys.generate("ec-256"), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Bare CA")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    facts = chains.describe(builder.sign(key, hashes.SHA256()))
    assert (facts.names, facts.cert_id, facts.issuer) == ((), None, "CN=Bare CA")
    assert set(facts.returns()) == {
        "names", "not_before", "not_after", "serial", "fingerprint_sha256", "issuer", "cert_id"
    }  # fmt: skip


def test_anything_but_certificates_in_a_chain_is_refused(issued: Issued) -> None:
    """RFC 8555 section 11.4."""
    with pytest.raises(chains.ChainError, match="PRIVATE KEY"):
        chains.parse_chain(issued.fullchain_pem + issued.key_pem)


def test_the_certificate_id_has_the_sign_octet_of_the_serial() -> None:
    """The example of RFC 9773 section 4.1: serial 00:87:65:43:21, key identifier 69:88:5B:..."""
    identifier = bytes.fromhex("69885b6b87464041e1b37b847ba0ae2cde01c8d4")
    key = keys.generate("ec-256")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(0x87654321)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.AuthorityKeyIdentifier(identifier, None, None), critical=False)
        .sign(key, hashes.SHA256())
    )
    assert chains.describe(certificate).cert_id == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


@pytest.mark.parametrize(
    ("issuer", "is_test"),
    [
        ("(STAGING) Pretend Pear X1", True),
        ("Pebble Intermediate CA 31500d", True),
        ("YE1", False),
        ("Lab CA", False),
    ],
)
def test_test_issuers_are_recognised(issuer: str, is_test: bool) -> None:
    assert chains.is_test_issuer(Authority(issuer).issue("a.example").certificate) is is_test


def test_must_staple_is_seen(authority: Authority, issued: Issued) -> None:
    assert chains.must_staple(authority.issue("a.example", extensions=[MUST_STAPLE]).certificate)
    assert not chains.must_staple(issued.certificate)


def test_every_host_gives_a_version_the_same_name(issued: Issued) -> None:
    leaf = issued.certificate
    assert chains.version_id(leaf) == f"{leaf.not_valid_before_utc:%Y%m%dT%H%M%SZ}-{leaf.serial_number:x}"


def test_a_csr_has_the_names_and_nothing_else() -> None:
    csr = x509.load_der_x509_csr(make_csr(keys.generate("ec-256"), NAMES).der)
    assert csr.subject == x509.Name([])
    (extension,) = csr.extensions
    assert extension.value.get_values_for_type(x509.DNSName) == list(NAMES)
