# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""R10: a gateway's page in the place of any one answer, drawn by seed: one that failed can be run again (`-k 17-`).

FAULT_SEEDS says how many seeds there are: 20, or 200 with `make test-long`.
"""

from __future__ import annotations

import os
import random
import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import Keeper
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import is_pair

SEEDS = int(os.environ.get("FAULT_SEEDS", "20"))


def run_twice_at_most(keeper: Keeper) -> dict[str, t.Any]:
    """Run, and once more where that failed with nothing installed."""
    try:
        return keeper.run()
    except UserError as error:
        assert "502" in str(error)
        assert keeper.certificates() == [] and not (keeper.lineage / "current").exists()
        return keeper.run()


def draw(seed: int, requests: int) -> str:
    """The fault of a seed, at one of so many requests. No fault comes again before all have come up."""
    faults = [f"any:{kind},nth={nth}" for kind in ("502", "lost:502") for nth in range(1, requests + 1)]
    random.Random(seed // len(faults)).shuffle(faults)
    return faults[seed % len(faults)]


@pytest.mark.parametrize("seed", range(SEEDS), ids=lambda seed: f"{seed}-")
def test_r10_a_page_in_place_of_any_one_answer_of_a_run_costs_one_more_run_at_most(keeper: Keeper, seed: int) -> None:
    """Whether or not the CA has done what it was asked."""
    keeper.proxy.inject(draw(seed, 6))
    keeper.publish(run_twice_at_most(keeper))
    keeper.proxy.inject(draw(seed, 11))
    keeper.proxy.inject("order:retry-after:0,times=always")  # as quick as we get
    issued = run_twice_at_most(keeper)
    assert issued["phase"] == "issued" and sorted(issued["names"]) == sorted(keeper.names)
    mark = keeper.proxy.mark()
    assert keeper.run()["reasons"] == [] and keeper.proxy.requests(mark) == []
    (fullchain,) = keeper.certificates()
    assert is_pair(fullchain, keeper.lineage / "current/privkey.pem")
    assert keeper.made() == {"accounts": 1, "orders": 1, "certificates": 1}
