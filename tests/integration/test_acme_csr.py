# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A request or a key that the user brings: its names are ordered, it is certified, and the key stays where it is."""

from __future__ import annotations

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, is_pair
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

NAMES = ("*.corp.example.com", "corp.example.com")
NO_KEY = {"private_key_dest": None}


def request(key: object, *names: str) -> bytes:
    """A request as OpenSSL users make it, with a common name too."""
    common = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[-1])])
    builder = x509.CertificateSigningRequestBuilder().subject_name(common)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


def test_a_users_request_is_ordered_and_certified(controller: Controller) -> None:
    key, path = new_key("rsa-2048"), controller.home / "corp.csr"
    path.write_bytes(request(key, *NAMES))
    (controller.home / "corp.key").write_bytes(key_pem(key))
    by_csr = {"identifiers": None, "csr_path": str(path)}
    order = controller.order(**by_csr)
    assert [one["identifier"] for one in order["authorizations"]] == list(NAMES)
    controller.paste(order)
    finished, again, other = controller.run_all(
        [
            ("acme_finalize", {**NO_KEY, "csr_path": str(path)}),
            ("acme_finalize", {**NO_KEY, "csr_content": path.read_text()}),
            ("acme_finalize", {**NO_KEY, "csr_content": request(new_key("ec-256"), *NAMES).decode()}),
        ]
    )
    assert finished.ok["changed"] and not again.ok["changed"]
    assert is_pair(controller.fullchain_path, controller.home / "corp.key")
    assert not controller.key_path.exists()
    assert "The certificate is not for this private key" in other.error
    assert "give the key that it was asked for with, or order anew (acme_order with renew: true)" in other.error


def test_a_request_that_cannot_be_used_is_refused_before_anything_is_sent(controller: Controller) -> None:
    path, account = controller.home / "bad.csr", controller.lab.account_key_path
    path.write_text("nothing")
    first = controller.order()
    account_key = serialization.load_pem_private_key(account.read_bytes(), None)
    mark = controller.lab.pebble.mark()
    none, damaged, of_account, finalize, both = controller.run_all(
        [
            ("acme_order", {"identifiers": None, "csr_path": str(controller.home / "none.csr")}),
            ("acme_order", {"identifiers": None, "csr_path": str(path)}),
            ("acme_order", {"identifiers": None, "csr_content": request(account_key, *NAMES).decode()}),
            ("acme_finalize", {**NO_KEY, "csr_content": request(account_key, *NAMES).decode()}),
            ("acme_order", {"csr_path": str(path)}),
        ]
    )
    assert "csr_path" in none.error and "cannot be read (No such file" in none.error
    assert "csr_path" in damaged.error and "not a certificate signing request" in damaged.error
    assert "csr_content: this is the account key" in of_account.error
    assert "csr_content: this is the account key" in finalize.error
    assert "mutually exclusive: identifiers|csr_path" in both.error
    assert controller.lab.pebble.requests(mark) == []
    assert controller.run("acme_order").ok["order_uri"] == first["order_uri"]


def test_a_request_for_other_names_than_ordered_is_refused_by_the_ca_and_the_order_stays(
    controller: Controller,
) -> None:
    key = new_key("ec-256")
    controller.paste(controller.order())
    other, right = controller.run_all(
        [
            ("acme_finalize", {**NO_KEY, "csr_content": request(key, "corp.example.com").decode()}),
            ("acme_finalize", {**NO_KEY, "csr_content": request(key, *NAMES).decode()}),
        ]
    )
    assert "csr_content" in other.error and "ordered were *.corp.example.com, corp.example.com" in other.error
    assert right.ok["phase"] == "issued"


def test_an_encrypted_key_is_taken_with_its_passphrase(controller: Controller) -> None:
    path, key = controller.home / "corp.key", new_key("ec-384")
    encryption = serialization.BestAvailableEncryption(b"correct horse")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    controller.paste(controller.order())
    own = {**NO_KEY, "private_key_path": str(path)}
    sealed, opened = controller.run_all(
        [("acme_finalize", own), ("acme_finalize", {**own, "private_key_passphrase": "correct horse"})]
    )
    assert "private_key_path" in sealed.error and "Give private_key_passphrase" in sealed.error
    assert opened.ok["phase"] == "issued"
    leaf = x509.load_pem_x509_certificate(controller.fullchain_path.read_bytes())
    assert leaf.public_key() == key.public_key()
