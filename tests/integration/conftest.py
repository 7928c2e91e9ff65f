# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Labs for a test's own use: each has a CA, DNS and, where asked for, a proxy between, all stopped at its end."""

from __future__ import annotations

import contextlib
import itertools
import typing as t
from pathlib import Path

import pytest

if t.TYPE_CHECKING:  # imported in functions: pytest-ansible sets its import hooks only after it has loaded this file
    from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import Keeper
    from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller
    from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import Site
    from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import WarmModules
    from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
    from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def warm_modules(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[WarmModules]:
    """The modules, kept warm for all tests."""
    from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import WarmModules

    with WarmModules(tmp_path_factory.mktemp("modules")) as warm:
        yield warm


@pytest.fixture
def start(warm_modules: WarmModules) -> t.Iterator[t.Callable[..., Controller]]:
    """Start a lab without hosts, with arguments of Lab; Pebble's are added to those that make it quick."""
    from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import QUICK, Controller
    from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab

    with contextlib.ExitStack() as stack:

        def start_one(**options: t.Any) -> Controller:
            pebble = {**QUICK, **options.pop("pebble", {})}
            return Controller(stack.enter_context(Lab(hosts=(), pebble=pebble, **options)), warm_modules)

        yield start_one


@pytest.fixture
def controller(start: t.Callable[..., Controller]) -> Controller:
    """Where a user of a lab runs the modules."""
    return start()


@pytest.fixture
def behind_proxy(start: t.Callable[..., Controller]) -> Controller:
    """The same with a FaultProxy before the CA; its rules must all have fired by the end of the test."""
    return start(faults=True)


@pytest.fixture(scope="module")
def shared_ca() -> t.Iterator[Lab]:
    """One CA for all tests of a file. It refuses no nonce: rules count requests."""
    from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import QUICK
    from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab

    with Lab(hosts=(), pebble={**QUICK, "nonce_reject": 0}) as lab:
        yield lab


@pytest.fixture
def keeper(shared_ca: Lab, tmp_path: Path) -> t.Iterator[Keeper]:
    """A lineage for two names of its own at the shared CA; the rules of its proxy must all have fired by the end."""
    from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import Keeper
    from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy

    domain = f"k{next(NUMBERS)}.example.com"
    with FaultProxy(shared_ca.pebble, tmp_path / "proxy") as proxy:
        yield Keeper(shared_ca, proxy, tmp_path, f"*.{domain}", domain)


@pytest.fixture
def make_site(warm_modules: WarmModules, tmp_path: Path) -> t.Iterator[t.Callable[..., Site]]:
    """Make hosts on loopback by these names, and give what is run on them; they are stopped at the end."""
    from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import sites

    with sites(tmp_path, warm_modules) as make:
        yield make


@pytest.fixture
def site(make_site: t.Callable[..., Site]) -> Site:
    """One such host."""
    return make_site()


@pytest.fixture(scope="session")
def can_boot() -> None:
    """Skipped where there is no root or package for machines; in CI that fails."""
    from ansible_collections.zerotrust.pomerium.tests.lab.machine import what_is_missing
    from ansible_collections.zerotrust.pomerium.tests.lab.needed import need

    missing = what_is_missing()
    need(missing and f"machines need {missing}")


@pytest.fixture
def boot(can_boot: None, tmp_path: Path) -> t.Iterator[t.Callable[..., Machine]]:
    """Boot machines, with arguments of Machine."""
    from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine

    with contextlib.ExitStack() as stack:

        def boot_one(name: str = "pom1", **options: t.Any) -> Machine:
            return stack.enter_context(Machine(tmp_path / "machines" / name, name, **options))

        yield boot_one


@pytest.fixture
def make_fleet(boot: t.Callable[..., Machine], tmp_path: Path) -> t.Callable[..., Site]:
    """Boot machines by these names, and give what is run on them over SSH."""
    from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import Site

    def make(*names: str, **options: t.Any) -> Site:
        return Site(tmp_path, *(boot(name, **options) for name in names or ("pom1",)))

    return make
