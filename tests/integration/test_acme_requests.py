# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an issuance costs at the CA: counted there, with no nonce refused."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller


@pytest.mark.parametrize("number", [2, 20])
def test_an_issuance_costs_seven_requests_and_two_for_each_name(
    start: t.Callable[..., Controller], number: int
) -> None:
    """Directory, nonce, order, N authorizations, N answers, order ready, finalize, order valid, certificate.

    By hand these are two runs, and the second reads anew what the first had: it alone is the same sum. Each lane of
    many names costs a nonce of its own.
    """
    controller = start(pebble={"nonce_reject": 0})
    names = ["*.corp.example.com", "corp.example.com", *(f"n{count}.example.com" for count in range(number - 2))]
    lanes = 1 + (number - 1) // 8
    assert controller.run("acme_account").ok["created"]
    mark = controller.lab.pebble.mark()
    order = controller.run("acme_certificate", identifiers=names)
    placed = len(controller.lab.pebble.requests(mark))
    assert order.ok["phase"] == "waiting_for_dns"
    controller.paste(order)
    mark = controller.lab.pebble.mark()
    issued = controller.run("acme_certificate", identifiers=names)
    finished = controller.lab.pebble.requests(mark)
    assert issued.ok["phase"] == "issued"
    polls = [request for request in finished if request.resource == "order"]
    print(f"{number} names: {placed} requests to order, {len(finished)} to finish, {len(polls)} of them read the order")
    waiting = len(polls) - 3  # beyond: once picked up, once ready, once valid
    assert waiting <= 2, [request.resource for request in finished]
    assert len(finished) - waiting <= 7 + 2 * number + lanes - 1
    assert placed <= 4 + number + lanes - 1  # with the look-up of the account by its key
