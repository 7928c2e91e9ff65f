# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is there stays: whatever chain a CA hands out, whichever CA it is, and on a full disk (R35, R36, R38, R39)."""

from __future__ import annotations

import contextlib
import resource
import typing as t

from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import Keeper
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, is_pair, made, tree
from ansible_collections.zerotrust.pomerium.tests.integration.test_acme_chains import resigned
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.lab import IDENTIFIERS
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_acme import CHAINS, rechained

OTHER_TYPE = {"key_type": "ec-384"}
WHY = {
    "truncated": "The chain is truncated",
    "reordered": "The certificate is not for this private key",
    "foreign-leaf": "The certificate is not for this private key",
    "other-key": "The certificate is not for this private key",
}


def test_r35_r36_a_renewal_with_a_wrong_chain_leaves_the_one_in_use_as_it_is(keeper: Keeper) -> None:
    keeper.order()
    keeper.run()
    before = tree(keeper.lineage / "current")
    keeper.order(**OTHER_TYPE)
    for how in CHAINS:
        keeper.proxy.inject(f"certificate:chain:{how}")
        assert WHY[how] in keeper.fail(**OTHER_TYPE)
    _wildcard, plain = keeper.names
    keeper.proxy.rewrite("certificate", rechained(lambda chain: resigned(chain[0], names=[plain])))
    assert f"it has {plain}; ordered were {', '.join(keeper.names)}" in keeper.fail(**OTHER_TYPE)
    assert tree(keeper.lineage / "current") == before and len(keeper.certificates()) == 1

    renewed = keeper.run(**OTHER_TYPE)
    assert renewed["renewed"] and is_pair(
        keeper.lineage / "current/fullchain.pem", keeper.lineage / "current/privkey.pem"
    )
    assert keeper.made() == {"accounts": 1, "orders": 2, "certificates": 2}


def test_r38_acme_finalize_leaves_a_trusted_certificate_where_a_test_ca_issued(controller: Controller) -> None:
    """Pebble is a test CA. With allow_staging the same order is written."""
    Authority("A trusted CA").issue(*IDENTIFIERS).write(controller.fullchain_path, controller.key_path)
    before = tree(controller.key_path.parent)
    controller.paste(controller.order())
    refused, would = controller.run_all([("acme_finalize", {}), ("acme_finalize", {"check": True})])
    for done in (refused, would):
        assert "the new certificate is of a test CA" in done.error and "allow_staging: true" in done.error
    after = tree(controller.key_path.parent)
    assert {name: after[name] for name in before} == before
    assert controller.run("acme_finalize", allow_staging=True).ok["changed"]
    assert is_pair(controller.fullchain_path, controller.key_path)
    assert made(controller.lab) == {"accounts": 1, "orders": 1, "certificates": 1}


@contextlib.contextmanager
def files_of_at_most(size: int) -> t.Iterator[None]:
    """Stand for a full disk: no file of this process can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_r39_on_a_full_disk_the_ca_is_asked_for_nothing_and_the_certificate_in_use_stays(keeper: Keeper) -> None:
    """Neither for the first certificate nor for another one; with space again, the next run goes on."""
    for size in (0, 4096):
        with files_of_at_most(size):
            assert "cannot be written (File too large)" in keeper.fail()
    assert keeper.proxy.requests() == []
    keeper.order()
    keeper.run()
    before, mark = tree(keeper.lineage), keeper.proxy.mark()
    for size in (0, 4096):
        with files_of_at_most(size):
            assert "cannot be written (File too large)" in keeper.fail(**OTHER_TYPE)
            assert keeper.run()["phase"] == "idle", "with nothing due there is nothing to write"
    assert keeper.proxy.requests(mark) == [] and tree(keeper.lineage) == before
    keeper.order(**OTHER_TYPE)
    assert keeper.run(**OTHER_TYPE)["renewed"]
