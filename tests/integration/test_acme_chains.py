# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a CA hands out is checked before a byte of it goes anywhere: key, names, order and completeness, dates."""

from __future__ import annotations

import datetime as dt
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, made, tree
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, new_key
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import Outcome, Reply
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

Chain = t.List[x509.Certificate]
DAY = dt.timedelta(days=1)


def resigned(leaf: x509.Certificate, *, names: t.Sequence[str], ends: dt.timedelta = DAY) -> Chain:
    """A leaf for the same key, signed by a CA of ours, with names of our choice and an end from now."""
    now, key = dt.datetime.now(dt.timezone.utc), new_key("ec-256")
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Another CA")])
    builder = x509.CertificateBuilder().issuer_name(issuer).not_valid_before(now - 30 * DAY)
    builder = builder.serial_number(x509.random_serial_number())
    root = builder.subject_name(issuer).public_key(key.public_key()).not_valid_after(now + 30 * DAY)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    again = builder.subject_name(x509.Name([])).public_key(leaf.public_key()).not_valid_after(now + ends)
    again = again.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
    return [again.sign(key, hashes.SHA256()), root.sign(key, hashes.SHA256())]


def foreign(chain: Chain) -> Chain:
    issued = Authority("Another CA").issue("*.corp.example.com", "corp.example.com")
    return x509.load_pem_x509_certificates(issued.fullchain_pem)


BOTH = ("*.corp.example.com", "corp.example.com")
FORGERIES: dict[str, tuple[t.Callable[[Chain], Chain], str]] = {
    "a leaf for another key": (foreign, "The certificate is not for this private key"),
    "the leaf alone": (lambda chain: chain[:1], "The chain is truncated"),
    "a link left out": (lambda chain: [chain[0], chain[2]], "The chain is not in order"),
    "issuers the wrong way round": (lambda chain: [chain[0], chain[2], chain[1]], "The chain is not in order"),
    "the leaf last": (lambda chain: [*chain[1:], chain[0]], "The certificate is not for this private key"),
    "an expired leaf": (lambda chain: resigned(chain[0], names=BOTH, ends=-DAY), "The certificate expired at "),
    "a wildcard without its star": (
        lambda chain: resigned(chain[0], names=BOTH[1:]),
        "it has corp.example.com; ordered were *.corp.example.com, corp.example.com",
    ),
    "a name too many": (
        lambda chain: resigned(chain[0], names=(*BOTH, "www.example.org")),
        "The certificate is not for the names that were ordered: it has *.corp.example.com, corp.example.com, www.",
    ),
    "no certificate": (lambda chain: [], "There is no PEM certificate in the chain"),
}


def rewriting(forge: t.Callable[[Chain], Chain]) -> t.Callable[[Reply], Outcome]:
    def change(reply: Reply) -> Outcome:
        chain = forge(x509.load_pem_x509_certificates(reply.body))
        return replace(reply, body=b"".join(one.public_bytes(Encoding.PEM) for one in chain))

    return change


def refused(controller: Controller, module: str, forgeries: t.Collection[str]) -> dict[str, str]:
    """Run the module once against each forgery; the messages, by what was wrong."""
    assert controller.lab.proxy is not None
    for what in forgeries:
        controller.lab.proxy.rewrite("certificate", rewriting(FORGERIES[what][0]))
    return dict(zip(forgeries, (done.error for done in controller.run_all([(module, {})] * len(forgeries)))))


def check_messages(errors: t.Mapping[str, str]) -> None:
    wrong = {what: error for what, error in errors.items() if FORGERIES[what][1] not in error}
    assert wrong == {}


def test_r35_r36_a_wrong_chain_is_refused_and_old_files_stay_byte_identical(start: t.Callable[..., Controller]) -> None:
    controller = start(faults=True, pebble={"chain_length": 2})
    controller.paste(controller.order())
    first, renewal = controller.run_all([("acme_finalize", {}), ("acme_order", {"renew": True})])
    controller.paste(renewal.ok)
    before = tree(controller.key_path.parent)
    assert first.ok and sorted(before) == ["fullchain.pem", "privkey.pem"]

    check_messages(refused(controller, "acme_finalize", FORGERIES))
    after = tree(controller.key_path.parent)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"privkey.pem.pending"}, "the key that the CA has signed for"

    assert controller.run("acme_finalize").ok["changed"]
    after = tree(controller.key_path.parent)
    assert sorted(after) == sorted(before) and all(after[name] != before[name] for name in before)
    assert made(controller.lab) == {"accounts": 1, "orders": 2, "certificates": 2}


def test_r36_a_wrong_chain_never_gets_into_the_store(start: t.Callable[..., Controller]) -> None:
    controller = start(faults=True, pebble={"chain_length": 2})
    controller.paste(controller.run("acme_certificate").ok)
    check_messages(refused(controller, "acme_certificate", ["a leaf for another key", "an expired leaf"]))
    assert not [name for name in tree(controller.lineage) if "versions" in name or "current" in name]

    assert controller.run("acme_certificate").ok["renewed"]
    assert len(list((controller.lineage / "versions").iterdir())) == 1
    assert made(controller.lab) == {"accounts": 1, "orders": 1, "certificates": 1}


def root_names(controller: Controller, number: int) -> list[str]:
    """The common names of the CA's roots: the default one, then the alternates."""
    pems = [controller.lab.pebble.root_pem(count) for count in range(number)]
    subjects = [x509.load_pem_x509_certificate(pem).subject for pem in pems]
    return [str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value) for subject in subjects]


def topmost_issuer(path: Path) -> str:
    issuer = x509.load_pem_x509_certificates(path.read_bytes())[-1].issuer
    return str(issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def test_the_preferred_chain_is_taken_and_another_preference_fetches_another_without_an_order(
    start: t.Callable[..., Controller],
) -> None:
    controller = start(pebble={"alternate_roots": 2})
    default, second, third = root_names(controller, 3)
    controller.paste(controller.order())
    path, seen = controller.fullchain_path, []
    for preferred in (third, second, None, "No Such Root"):
        done = controller.run("acme_finalize", preferred_chain=preferred).ok
        seen.append((topmost_issuer(path), done["changed"], done.warnings))
    assert [top for top, _changed, _warnings in seen] == [third, second, default, default]
    assert [changed for _top, changed, _warnings in seen] == [True, True, True, False]
    assert [bool(warnings) for _top, _changed, warnings in seen] == [False, False, False, True]
    assert "No chain of the CA ends at 'No Such Root'" in seen[-1][2] and repr(third) in seen[-1][2]
    assert made(controller.lab) == {"accounts": 1, "orders": 1, "certificates": 1}


def test_r37_where_the_alternate_fails_the_default_chain_is_stored_with_a_warning(
    start: t.Callable[..., Controller],
) -> None:
    controller = start(faults=True, pebble={"alternate_roots": 1})
    default, second = root_names(controller, 2)
    assert controller.lab.proxy is not None
    controller.lab.proxy.respond("/certZ/[^/]+/alternate/", 500, times=float("inf"))
    controller.paste(controller.run("acme_certificate").ok)
    done = controller.run("acme_certificate", preferred_chain=second).ok
    assert done["renewed"] and topmost_issuer(controller.lineage / "current/fullchain.pem") == default
    assert "An alternate chain cannot be used" in done.warnings and f"ends at {second!r}" in done.warnings
