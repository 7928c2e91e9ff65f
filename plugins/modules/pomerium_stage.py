#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module pomerium_stage: its contract. The work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pomerium_stage
short_description: Keep a pending order and its key on a Pomerium host, or fetch a key from one (internal)
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Internal. The role P(zerotrust.pomerium.certificate#role) calls it where the fleet is the store; options and returns
    may change at any time.
  - What is pending in O(store_path), an order and the key of its certificate, goes to the host, where only root can
    read it, so that the next run can finish the order from any controller. The account key never goes to a host.
extends_documentation_fragment:
  - zerotrust.pomerium._pomerium
  - zerotrust.pomerium._pomerium.attributes
attributes:
  diff_mode:
    support: none
    details: What is staged holds a key.
options:
  step:
    description:
      - V(stage) makes the host keep what is pending in O(store_path), and nothing else that is pending.
      - V(fetch) gets the keys that O(store_path) lacks. It asks the host nothing once none is lacking.
    type: str
    choices: [stage, fetch]
    required: true
  store_path:
    description:
      - Directory on the controller, as in M(zerotrust.pomerium.acme_certificate).
    type: path
    required: true
  certificate:
    description:
      - Whether a host that lacks the certificate in use is to keep it with its key, where no order is pending, for a
        later run to install it.
    type: bool
    default: false
  owner:
    description:
      - Owner of what is installed, as with M(zerotrust.pomerium.pomerium_certificate).
    type: str
  group:
    description:
      - Group of what is installed.
    type: str
seealso:
  - module: zerotrust.pomerium.acme_certificate
    description: What the store is for.
"""

EXAMPLES = r"""
- name: Use the role that calls this
  ansible.builtin.import_role:
    name: zerotrust.pomerium.certificate
"""

RETURN = r"""
"""

from ..module_utils._host.options import STAGE, need_plugin
from ..module_utils._run import run


def main() -> None:
    run(STAGE, need_plugin, python=(3, 8))


if __name__ == "__main__":
    main()
