#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module acme_account: its contract."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_account
short_description: Create an ACME account, or update its contacts
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Makes sure that the account key exists and that the CA knows an account for it (RFC 8555 section 7.3).
  - Asking for an account that exists already changes nothing and does not spend an external account binding.
  - Runs on the controller; nothing of it belongs on a Pomerium host.
extends_documentation_fragment:
  - zerotrust.pomerium._acme
  - zerotrust.pomerium._acme.attributes
attributes:
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: none
options:
  terms_agreed:
    description:
      - Whether you agree to the terms of service that the directory names. CAs open no account without.
    type: bool
    default: false
  contact:
    description:
      - Addresses for the CA to write to, as URLs (V(mailto:ops@example.com)).
      - Let's Encrypt neither keeps nor uses them; where a CA shows none, they are not compared.
    type: list
    elements: str
  allow_creation:
    description:
      - Whether a new account may be created; V(false) only looks it up and fails where there is none.
    type: bool
    default: true
seealso:
  - module: zerotrust.pomerium.acme_account_info
    description: Looks without creating.
  - module: zerotrust.pomerium.acme_order
    description: The next step of the guide.
"""

EXAMPLES = r"""
- name: Open an account at Let's Encrypt's staging environment
  zerotrust.pomerium.acme_account:
    acme_directory: https://acme-staging-v02.api.letsencrypt.org/directory
    account_key_path: /srv/acme/account.pem
    terms_agreed: true
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
account_uri:
  description: URL of the account; none in check mode where it would be created.
  returned: success
  type: str
  sample: https://acme-v02.api.letsencrypt.org/acme/acct/1234567890
account:
  description: The account as the CA shows it; none in check mode where it would be created.
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
created:
  description: Whether the account was created by this run.
  returned: success
  type: bool
  sample: true
"""

from ..module_utils._acme.account import converge_account
from ..module_utils._acme.options import acme_spec
from ..module_utils._run import run


def main() -> None:
    """Run the module."""
    run(
        acme_spec(
            terms_agreed={"type": "bool", "default": False},
            contact={"type": "list", "elements": "str"},
            allow_creation={"type": "bool", "default": True},
        ),
        converge_account,
        needs=("acme", "cryptography"),
    )


if __name__ == "__main__":
    main()
