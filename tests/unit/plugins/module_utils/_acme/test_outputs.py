# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of acme_finalize: replaced together or not at all, and never a trusted certificate by a test CA's."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.outputs import Outputs
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import chain as chains
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued

PRODUCTION, STAGING = Authority("Lab CA"), Authority("(STAGING) Pretend Pear")


def write(outputs: Outputs, issued: Issued, *, allow_staging: bool = False, check: bool = False) -> dict[str, str]:
    """Write a certificate with its key; give what is there afterwards, in words, by file."""
    chain, key = chains.parse_chain(issued.fullchain_pem), keys.load(issued.key_pem)
    return outputs.write(chain, key, allow_staging=allow_staging, check=check)["after"]


def outputs_in(directory: Path) -> Outputs:
    return Outputs.from_options(
        {"private_key_dest": str(directory / "key.pem"), "fullchain_path": str(directory / "fullchain.pem")}
    )


def test_files_that_cannot_be_written_are_named_and_all_are_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "fullchain.pem").mkdir()
    (tmp_path / "key.pem").write_text("old")
    with pytest.raises(UserError, match=f"cannot be written for {tmp_path}/fullchain.pem: Is a directory"):
        write(outputs_in(tmp_path), PRODUCTION.issue("a.example"))
    assert (tmp_path / "key.pem").read_text() == "old"


def test_a_staged_key_does_not_outlive_its_certificate(tmp_path: Path) -> None:
    """A run killed between the last rename and the removal: the next order would get the same key."""
    issued, outputs = PRODUCTION.issue("a.example"), outputs_in(tmp_path)
    assert sorted(write(outputs, issued)) == [str(tmp_path / "fullchain.pem"), str(tmp_path / "key.pem")]
    (tmp_path / "key.pem.pending").write_bytes(issued.key_pem)
    assert write(outputs, issued, check=True) == {}
    assert (tmp_path / "key.pem.pending").exists()
    assert write(outputs, issued) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fullchain.pem", "key.pem"]


def test_a_staged_key_is_used_again_only_where_it_is_of_the_wanted_type(tmp_path: Path) -> None:
    """Once the CA has the request, it is in any case; a damaged one is as none."""
    outputs = outputs_in(tmp_path)
    first = outputs.key("ec-256", is_requested=False)
    digests = [
        keys.public_sha256(outputs.key(kind, is_requested=requested).public_key())
        for kind, requested in (("ec-256", False), ("ec-384", True), ("ec-384", False))
    ]
    assert digests[:2] == [keys.public_sha256(first.public_key())] * 2
    assert digests[2] != digests[0]
    (tmp_path / "key.pem.pending").write_text("damaged")
    with pytest.raises(UserError, match="the key that it was made with is not here"):
        outputs.key("ec-256", is_requested=True)


def test_r38_a_test_certificate_never_replaces_one_that_is_trusted_unless_asked(tmp_path: Path) -> None:
    outputs, staging = outputs_in(tmp_path), STAGING.issue("a.example")
    write(outputs, PRODUCTION.issue("a.example"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(BadInput, match=r"allow_staging .*test CA .*fullchain.pem is not"):
        write(outputs, staging)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert write(outputs, staging, allow_staging=True)
    assert write(outputs, STAGING.issue("a.example")), "one of a test CA may be replaced"


def test_r38_an_expired_certificate_protects_nothing(tmp_path: Path) -> None:
    write(outputs_in(tmp_path), PRODUCTION.issue("a.example", days=-1))
    assert write(outputs_in(tmp_path), STAGING.issue("a.example"))


def test_the_diff_says_which_certificate_and_never_a_key(tmp_path: Path) -> None:
    first, second, outputs = PRODUCTION.issue("a.example"), PRODUCTION.issue("a.example"), outputs_in(tmp_path)
    write(outputs, first)
    chain, key = chains.parse_chain(second.fullchain_pem), keys.load(second.key_pem)
    diff = outputs.write(chain, key, allow_staging=False, check=True)
    path = str(tmp_path / "fullchain.pem")
    assert f"serial {first.certificate.serial_number:x}" in diff["before"][path]
    assert f"serial {second.certificate.serial_number:x}" in diff["after"][path]
    for side in diff.values():
        assert side[str(tmp_path / "key.pem")].startswith("the private key to the public key ")
        assert "BEGIN" not in str(side)
