# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts and certificates for the controller's half."""

from __future__ import annotations

import typing as t
from datetime import datetime, timezone
from pathlib import Path

import pytest

if t.TYPE_CHECKING:  # imported in functions: pytest-ansible sets its import hooks only after it has loaded this file
    from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._bundle import Bundle, Sources
    from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued
    from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost
    from ansible_collections.zerotrust.pomerium.tests.unit.plugins.plugin_utils.host_in_process import Site


@pytest.fixture
def make_site(tmp_path: Path) -> t.Iterator[t.Callable[..., Site]]:
    """Make a host, with Pomerium running where its configuration lets it run."""
    from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost
    from ansible_collections.zerotrust.pomerium.tests.unit.plugins.plugin_utils.host_in_process import Site

    made: list[PomeriumHost] = []

    def make(config: t.Any = "configured", append: str = "", **environment: str) -> Site:
        pomerium = PomeriumHost(
            tmp_path / f"host{len(made)}", f"host{len(made)}", config=config, environment=environment
        )
        made.append(pomerium)
        with pomerium.config_path.open("a") as file:
            file.write(append)
        pomerium.attempt()
        return Site(pomerium)

    yield make
    for pomerium in made:
        pomerium.close()


@pytest.fixture
def site(make_site: t.Callable[..., Site]) -> Site:
    return make_site()


@pytest.fixture(scope="session")
def authority() -> Authority:
    from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority

    return Authority("Lab CA")


@pytest.fixture(scope="session")
def sources(authority: Authority) -> t.Callable[..., Sources]:
    """Make sources of a certificate that was issued just now."""
    from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._bundle import Sources

    def make(*names: str, issued: Issued | None = None, **how: t.Any) -> Sources:
        issued = issued or authority.issue(*(names or ("*.corp.example.com", "corp.example.com")), **how)
        return Sources(issued.fullchain_pem, issued.key_pem)

    return make


@pytest.fixture(scope="session")
def bundle(sources: t.Callable[..., Sources]) -> t.Callable[..., Bundle]:
    from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._bundle import make_bundle

    def make(*names: str, **how: t.Any) -> Bundle:
        return make_bundle(sources(*names, **how), expect_names=[], now=datetime.now(timezone.utc))

    return make
