# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions and accounts: what is refused before anything is sent, and what the CA does not say."""

from __future__ import annotations

import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.account import create_account, find_account
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.options import access_from
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.session import (
    Session,
    open_session,
    trust_anchors,
)
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._acme.scripted_ca import Answer, ScriptedCa


@pytest.mark.parametrize("answer", [Answer(200, {}), Answer(201, {"status": "valid"})])
def test_an_account_whose_address_the_ca_does_not_tell_is_an_error(
    tls_ca: ScriptedCa, session: Session, options: dict[str, t.Any], answer: Answer
) -> None:
    session.forget_account()
    tls_ca.script = [answer]
    with pytest.raises(UserError, match="address of the account"):
        find_account(session)
    tls_ca.script = [answer]
    with pytest.raises(UserError, match="address of the account"):
        create_account(session, access_from(options), terms_agreed=True)


def test_a_key_that_cannot_be_written_is_told_before_the_ca_hears_of_it(
    tls_ca: ScriptedCa, session: Session, options: dict[str, t.Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    access = access_from({**options, "account_key_path": str(tmp_path / "file" / "account.pem")})
    with pytest.raises(BadInput, match="account_key_path .*cannot be written"):
        create_account(replace(session, key_is_new=True), access, terms_agreed=True)
    assert "POST" not in tls_ca.requests


@pytest.mark.parametrize("text", [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_trusted_root_that_is_damaged_is_named(options: dict[str, t.Any], tmp_path: Path, text: bytes) -> None:
    (tmp_path / "root.pem").write_bytes(text)
    access = access_from({**options, "ca_path": str(tmp_path / "root.pem")})
    for read in (open_session, trust_anchors):
        with pytest.raises(UserError, match="ca_path"):
            read(access)


def test_roots_are_taken_from_file_or_text(options: dict[str, t.Any]) -> None:
    text = Path(options["ca_path"]).read_text()
    assert len(trust_anchors(access_from(options))) == 1
    assert len(trust_anchors(access_from({**options, "ca_path": None, "ca_content": text}))) == 1
    assert trust_anchors(access_from({**options, "ca_path": None})) == []


@pytest.mark.parametrize("url", ["http://ca.example/directory", "ca.example", "ftp://x"])
def test_a_directory_that_is_no_https_address_is_refused(options: dict[str, t.Any], url: str) -> None:
    with pytest.raises(BadInput, match=f"acme_directory '{url}'"):
        access_from({**options, "acme_directory": url})
