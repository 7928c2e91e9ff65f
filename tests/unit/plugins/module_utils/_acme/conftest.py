# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A CA that answers by script behind TLS, and the options that reach it."""

from __future__ import annotations

import ssl
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:  # imported in functions: pytest-ansible sets its import hooks only after it has loaded this file
    from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.session import Session
    from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._acme.scripted_ca import ScriptedCa


@pytest.fixture(scope="session")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `ca.pem`, and what a server at 127.0.0.1 needs."""
    from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority

    path = tmp_path_factory.mktemp("trusted")
    authority = Authority("Lab CA")
    authority.issue("127.0.0.1").write(path / "fullchain.pem", path / "key.pem")
    (path / "ca.pem").write_bytes(authority.pem)
    return path


@pytest.fixture
def tls_ca(trusted: Path) -> t.Iterator[ScriptedCa]:
    """A CA without a script yet; it fails the test at its end where that was not followed."""
    from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._acme.scripted_ca import ScriptedCa

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted / "fullchain.pem", trusted / "key.pem")
    started = ScriptedCa(context)
    yield started
    started.close()


@pytest.fixture
def options(tls_ca: ScriptedCa, trusted: Path, tmp_path: Path) -> dict[str, t.Any]:
    """What every module is given for this CA, with an account key that is there."""
    from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys

    (tmp_path / "account.pem").write_bytes(keys.to_pem(keys.generate("ec-256")))
    return {
        "acme_directory": f"{tls_ca.url}directory",
        "account_key_path": str(tmp_path / "account.pem"),
        "ca_path": str(trusted / "ca.pem"),
        "validate_certs": True,
        "request_timeout": 5,
    }


@pytest.fixture
def session(tls_ca: ScriptedCa, options: dict[str, t.Any]) -> t.Iterator[Session]:
    """A session as the account 1; the script begins after its directory."""
    from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.options import access_from
    from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.session import open_session

    tls_ca.script = [tls_ca.directory()]
    opened = open_session(access_from(options))
    opened.use_account(f"{tls_ca.url}account/1")
    yield opened
    opened.network.session.close()
