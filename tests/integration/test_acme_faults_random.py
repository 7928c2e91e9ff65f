# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""R10: a gateway's page in the place of any one answer, drawn by seed: one that failed can be run again (`-k 17-`).

And any fault at all, anywhere. FAULT_SEEDS says how many seeds there are: 20, or 200 with `make test-long`, which also
tries every fault at every resource in place of a few.
"""

from __future__ import annotations

import os
import random
import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import Keeper
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import is_pair
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_acme import CHAINS

SEEDS = int(os.environ.get("FAULT_SEEDS", "20"))

FAULTS = [
    "refused",
    "lost",
    "lost:500",
    "lost:silence",
    "429",
    "429:3600",
    "429:date+3600",
    "paused",
    "500",
    "500:1",
    "500:3600",
    "502",
    "503",
    "503:1",
    "503:3600",
    "409",
    "problem:malformed/400",
    "problem:unauthorized/403",
    "problem:serverInternal/500",
    "header:Replay-Nonce",
    "header:Content-Type",
    "header:Content-Type=text/html",
    "header:Location",
    "header:Link",
    "retry-after:",
    "retry-after:86400",
    "retry-after:date+2",
    "drip:0.0005",
    "stall",
    "broken",
]
STATUSES = ["expired", "thinking", "invalid", "valid", "processing", "pending", "ready"]
DOCUMENT = [*(f"status:{status}" for status in STATUSES), "empty-error"]
ORDER = [*DOCUMENT, "starless", "no-authorizations"]
FAULTS_OF = {
    "directory": [],
    "newNonce": [],
    "newAccount": ["empty-error"],
    "newOrder": ORDER,
    "order": ORDER,
    "authorization": [*DOCUMENT, "token:a/b", "challenges:x-01"],
    "challenge": DOCUMENT,
    "finalize": [fault for fault in ORDER if fault != "status:invalid"],  # this CA would have signed nevertheless
    "certificate": [f"chain:{name}" for name in CHAINS],
}
EVERYWHERE = [f"{resource}:{fault}" for resource, special in FAULTS_OF.items() for fault in [*FAULTS, *special]]


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


def run_until_issued(keeper: Keeper) -> str:
    """Run as a schedule would, a few times, with whatever records are asked for in the zone; how it ended."""
    for _run in range(5):
        try:
            done = keeper.run(request_timeout=1, validation_timeout=3, issuance_timeout=3)
        except UserError as error:
            assert keeper.certificates() == []
            if "limits requests until" in str(error):
                return "limited"
            continue
        if done["phase"] == "issued":
            return "issued"
        if done["phase"] == "waiting_for_dns":
            keeper.publish(done)
    return "not issued"


@pytest.mark.parametrize("fault", EVERYWHERE if SEEDS >= 200 else random.Random(0).sample(EVERYWHERE, SEEDS // 2))
def test_any_fault_anywhere_costs_more_runs_at_most_and_never_a_second_certificate(keeper: Keeper, fault: str) -> None:
    keeper.proxy.inject(fault)
    ended = run_until_issued(keeper)
    if ended == "limited":
        state = keeper.lineage / "state.json"
        assert ":429:" in fault and "limited_until" in state.read_text()
        state.unlink()
        ended = run_until_issued(keeper)
    assert ended == "issued"
    (fullchain,) = keeper.certificates()
    assert is_pair(fullchain, keeper.lineage / "current/privkey.pem")
    assert keeper.made()["certificates"] == 1
