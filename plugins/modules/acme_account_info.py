#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module acme_account_info: its contract."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_account_info
short_description: Look an ACME account up
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Tells whether the CA knows an account for the account key, and what it keeps about it. Creates nothing.
extends_documentation_fragment:
  - zerotrust.pomerium._acme
  - zerotrust.pomerium._acme.attributes
attributes:
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: N/A
    details: This module changes nothing.
seealso:
  - module: zerotrust.pomerium.acme_account
    description: Creates the account.
"""

EXAMPLES = r"""
- name: Is there an account for this key?
  zerotrust.pomerium.acme_account_info:
    acme_directory: https://acme-staging-v02.api.letsencrypt.org/directory
    account_key_path: /srv/acme/account.pem
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
exists:
  description: Whether the CA knows an account for this key.
  returned: success
  type: bool
  sample: true
account_uri:
  description: URL of the account; none where there is no account.
  returned: success
  type: str
  sample: https://acme-v02.api.letsencrypt.org/acme/acct/1234567890
account:
  description: The account as the CA shows it; none where there is no account.
  returned: success
  type: dict
  contains:
    status:
      description: Status of the account.
      returned: success
      type: str
      sample: valid
    contact:
      description: Contacts that the CA keeps.
      returned: success
      type: list
      elements: str
      sample: ["mailto:ops@example.com"]
    orders:
      description: URL of the list of the account's orders, where the CA has one.
      returned: success
      type: str
      sample: https://acme.example.com/acct/1/orders
"""

from ..module_utils._acme.account import show_account
from ..module_utils._acme.options import acme_spec
from ..module_utils._run import run


def main() -> None:
    """Run the module."""
    run(acme_spec(), show_account, needs=("acme", "cryptography"))


if __name__ == "__main__":
    main()
