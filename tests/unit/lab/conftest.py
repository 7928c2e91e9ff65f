# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One CA for all certificates of these tests, and hosts that are stopped at the end of each."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:  # imported in functions: pytest-ansible sets its import hooks only after it has loaded this file
    from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
    from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost


@pytest.fixture(scope="session")
def ca() -> Authority:
    from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority

    return Authority("CA of the unit tests")


@pytest.fixture
def host(tmp_path: Path) -> t.Iterator[PomeriumHost]:
    """A host that has not been started yet: a test writes its configuration first."""
    from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost

    one = PomeriumHost(tmp_path / "host", "pom1")
    yield one
    one.close()
