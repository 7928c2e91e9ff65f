# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle is checked on the controller: what must not reach a host is refused by name (R36)."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import typing as t
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils import _bundle
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._bundle import Bundle, Sources, make_bundle
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import MUST_STAPLE, Authority

Make = t.Callable[..., Sources]


def make(sources: Sources, *expect_names: str) -> Bundle:
    return make_bundle(sources, expect_names=expect_names, now=datetime.now(timezone.utc))


def test_the_files_are_chain_key_and_issuers_with_their_modes(sources: Make, authority: Authority) -> None:
    given = sources()
    files = make(given).files
    assert {name: oct(file.mode) for name, file in files.items()} == {
        "fullchain.pem": "0o644",
        "privkey.pem": "0o640",
        "ca.pem": "0o644",
        "meta.json": "0o644",
    }
    assert files["fullchain.pem"].data == given.fullchain
    assert files["privkey.pem"].data == given.private_key
    assert files["ca.pem"].data == authority.pem


def test_crlf_and_text_between_the_blocks_are_normalised(sources: Make) -> None:
    given = sources()
    other = replace(given, fullchain=b"issued to you\n" + given.fullchain.replace(b"\n", b"\r\n"))
    assert make(other).files["fullchain.pem"].data == given.fullchain


def test_leaf_and_key_that_do_not_belong_together_are_refused(sources: Make) -> None:
    with pytest.raises(UserError, match="not for this private key"):
        make(replace(sources(), private_key=sources().private_key))


def test_a_truncated_chain_is_refused(sources: Make) -> None:
    given = sources()
    leaf_only = given.fullchain.split(b"-----END CERTIFICATE-----")[0] + b"-----END CERTIFICATE-----\n"
    with pytest.raises(UserError, match="truncated"):
        make(replace(given, fullchain=leaf_only))


def test_a_leaf_alone_is_complete_where_its_issuer_is_given(sources: Make, authority: Authority) -> None:
    given = sources()
    leaf_only = given.fullchain.split(b"-----END CERTIFICATE-----")[0] + b"-----END CERTIFICATE-----\n"
    files = make(replace(given, fullchain=leaf_only, authority=authority.pem)).files
    assert files["ca.pem"].data == authority.pem


def test_a_chain_in_the_wrong_order_is_refused(sources: Make, authority: Authority) -> None:
    given = sources()
    with pytest.raises(UserError, match="not for this private key|not in order"):
        make(replace(given, fullchain=authority.pem + given.fullchain))
    with pytest.raises(UserError, match="not in order"):
        make(replace(given, fullchain=given.fullchain + Authority("Another").pem))


def test_an_expired_leaf_is_refused(sources: Make) -> None:
    with pytest.raises(UserError, match="expired at"):
        make(sources(days=-1))


def test_must_staple_is_refused(sources: Make) -> None:
    with pytest.raises(UserError, match="must-staple"):
        make(sources(extensions=[MUST_STAPLE]))


def test_a_short_rsa_key_is_refused(sources: Make) -> None:
    with pytest.raises(UserError, match="rsa-1024"):
        make(sources(key_type="rsa-1024"))


def test_names_that_are_not_covered_are_named(sources: Make) -> None:
    make(sources(), "app.corp.example.com", "*.corp.example.com")
    with pytest.raises(UserError, match=r"does not cover a\.b\.corp\.example\.com"):
        make(sources(), "app.corp.example.com", "a.b.corp.example.com")
    with pytest.raises(BadInput, match="expect_names 'https://x'"):
        make(sources(), "https://x")


def test_what_is_no_key_is_refused_without_being_shown(sources: Make) -> None:
    with pytest.raises(UserError) as caught:
        make(replace(sources(), private_key=b"hunter2"))
    assert "hunter2" not in str(caught.value)


def test_minimal_meta_is_the_same_on_every_run(sources: Make) -> None:
    given = sources()
    meta = make(given).files["meta.json"]
    assert make(given).files["meta.json"] == meta
    assert json.loads(meta.data)["names"] == ["*.corp.example.com", "corp.example.com"]
    assert json.loads(meta.data)["directory"] is None


def test_what_the_store_wrote_is_shipped_with_its_signature(sources: Make) -> None:
    meta = b'{"directory": "https://acme.example/dir", "names": []}'
    files = make(replace(sources(), meta=meta, signature=b"signed")).files
    assert (files["meta.json"].data, files["meta.sig"].data) == (meta, b"signed")


@pytest.mark.parametrize("meta", [b"{", b"[]", b'{"title": "of something else"}', b'{"directory": "", "serial": "0"}'])
def test_a_meta_json_of_something_else_is_not_shipped(sources: Make, meta: bytes) -> None:
    files = make(replace(sources(), meta=meta, signature=b"signed")).files
    assert files["meta.json"].data != meta
    assert "meta.sig" not in files


def test_foreign_authorities_are_carried_once(sources: Make, authority: Authority) -> None:
    upstream = Authority("Upstream CA").pem
    once = make(sources()).with_authorities((upstream + authority.pem).decode())
    assert once.files["ca.pem"].data == authority.pem + upstream
    assert once.with_authorities(upstream.decode()).files["ca.pem"] == once.files["ca.pem"]


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (("*.corp.example.com", "corp.example.com"), "pomerium-probe.corp.example.com"),
        (("app.example.com", "*.x.example.com"), "pomerium-probe.x.example.com"),
        (("app.example.com",), "app.example.com"),
    ],
)
def test_the_probe_asks_for_a_name_under_the_wildcard(sources: Make, names: tuple[str, ...], asked: str) -> None:
    assert make(sources(*names)).server_name == asked


@pytest.mark.parametrize(
    ("theirs", "lost"),
    [
        (("*.corp.example.com",), ["*.corp.example.com"]),
        (("app.corp.example.com",), ["app.corp.example.com"]),
        (("other.example.com",), []),
        (("a.b.corp.example.com",), []),
    ],
)
def test_a_name_is_lost_where_theirs_is_ours_or_under_it(
    authority: Authority, theirs: tuple[str, ...], lost: list[str]
) -> None:
    ours = ["*.corp.example.com", "corp.example.com"]
    assert _bundle.names_shadowed(ours, authority.issue(*theirs).fullchain_pem) == lost
    assert _bundle.names_shadowed(ours, b"nonsense") is None


def test_a_certificate_with_a_key_of_an_odd_kind_is_one_that_cannot_be_read(tmp_path: Path) -> None:
    """On a host there may be anything; `cryptography` does not know every curve that OpenSSL does."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl on this machine")
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime239v1", "-nodes"]
    out = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "odd")]
    subprocess.run(["openssl", "req", "-x509", "-subj", "/CN=odd", *kind, *out], check=True, capture_output=True)
    pem = (tmp_path / "odd").read_text()
    der = ssl.PEM_cert_to_DER_cert(pem)
    assert _bundle.describe_der(der) is None
    assert _bundle.names_shadowed(["*.corp.example.com"], pem.encode()) is None
    assert _bundle.is_test_leaf(der) is False
