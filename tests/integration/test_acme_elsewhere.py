# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state file of the steps: at home on any controller that has the account key, and shared by runs at once."""

from __future__ import annotations

import json
import shutil
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, entries, is_pair, made
from ansible_collections.zerotrust.pomerium.tests.lab.secret_forms import key_forms


def test_r31_phase_two_elsewhere_needs_the_state_file_and_the_account_key(controller: Controller) -> None:
    """And the state file holds no secret."""
    lab = controller.lab
    controller.paste(controller.order())
    text = controller.state_path.read_text()
    assert "PRIVATE" not in text and not [
        what for what, form in key_forms(lab.account_key_path).items() if form in text
    ]

    elsewhere = lab.directory / "elsewhere"
    elsewhere.mkdir()
    for path in (controller.state_path, lab.account_key_path):
        shutil.move(str(path), elsewhere / path.name)
    shutil.rmtree(controller.home)
    controller.home.mkdir()
    done = controller.run(
        "acme_finalize",
        state_path=str(elsewhere / controller.state_path.name),
        account_key_path=str(elsewhere / lab.account_key_path.name),
        private_key_dest=str(elsewhere / "key.pem"),
        fullchain_path=str(elsewhere / "fullchain.pem"),
    ).ok
    assert done["phase"] == "issued" and is_pair(elsewhere / "fullchain.pem", elsewhere / "key.pem")
    assert made(lab) == {"accounts": 1, "orders": 1, "certificates": 1}


def at_once(controller: Controller, module: str, number: int = 3, **options: t.Any) -> list[t.Any]:
    """Run the same task several times at the same moment, as one without `run_once` does for each host."""
    with ThreadPoolExecutor(number) as pool:
        return [done.ok for done in pool.map(lambda _count: controller.run(module, **options), range(number))]


def test_r22_a_task_without_run_once_places_one_order_and_finishes_it_once(controller: Controller) -> None:
    controller.run("acme_account").ok  # noqa: B018
    orders = at_once(controller, "acme_order")
    assert sorted(order["changed"] for order in orders) == [False, False, True]
    assert len({tuple(entries(order)) for order in orders}) == 1
    controller.paste(orders[0])
    finished = at_once(controller, "acme_finalize")
    assert [one["phase"] for one in finished] == ["issued"] * 3
    assert sorted(one["changed"] for one in finished) == [False, False, True]
    assert is_pair(controller.fullchain_path, controller.key_path)
    assert made(controller.lab) == {"accounts": 1, "orders": 1, "certificates": 1}
    assert json.loads(controller.state_path.read_text())["order"]["order_uri"] == orders[0]["order_uri"]
