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
options:
  retrieve_orders:
    description:
      - What to tell of the account's orders, over all pages of the CA's list.
      - V(ignore) asks for none. V(url_list) gives their URLs in RV(order_uris), V(object_list) also the orders
        themselves in RV(orders), one request each.
      - Many CAs keep no such list, Let's Encrypt among them. There is a warning then, and both are empty.
    type: str
    choices: [ignore, url_list, object_list]
    default: ignore
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

- name: Which orders does it have?
  zerotrust.pomerium.acme_account_info:
    acme_directory: https://acme-staging-v02.api.letsencrypt.org/directory
    account_key_path: /srv/acme/account.pem
    retrieve_orders: object_list
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
exists:
  description: Whether the CA knows a valid account for this key; not one that is deactivated.
  returned: success
  type: bool
  sample: true
account_uri:
  description: URL of the account; none where there is none, or the CA does not tell (one that is deactivated).
  returned: success
  type: str
  sample: https://acme-v02.api.letsencrypt.org/acme/acct/1234567890
account:
  description: The account as the CA shows it; none where there is no account.
  returned: success
  type: dict
  contains:
    status:
      description: Status of the account (RFC 8555 section 7.1.6), V(valid), V(deactivated) or V(revoked).
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
    public_account_key:
      description: The public half of the account key that the CA knows it by, as JWK (RFC 7517).
      returned: success
      type: dict
      sample:
        kty: EC
        crv: P-256
        x: f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU
        y: x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0
order_uris:
  description: URLs of the account's orders, in the CA's order; empty with O(retrieve_orders=ignore).
  returned: success
  type: list
  elements: str
  sample: [https://acme.example.com/order/1, https://acme.example.com/order/2]
orders:
  description:
    - The orders of RV(order_uris) as the CA shows them, with its own names; empty but for
      O(retrieve_orders=object_list).
  returned: success
  type: list
  elements: dict
  contains:
    status:
      description: Status of the order (RFC 8555 section 7.1.6).
      returned: success
      type: str
      sample: valid
    identifiers:
      description: What the order is for.
      returned: success
      type: list
      elements: dict
      sample: [{"type": "dns", "value": "*.corp.example.com"}]
    authorizations:
      description: URLs of the order's authorizations.
      returned: success
      type: list
      elements: str
      sample: [https://acme.example.com/authz/1]
    finalize:
      description: URL that finalizes the order.
      returned: success
      type: str
      sample: https://acme.example.com/order/1/finalize
    expires:
      description: When the order stops being usable.
      returned: when the CA tells
      type: str
      sample: "2026-12-01T10:00:00Z"
    notBefore:
      description: Requested beginning of the certificate's validity.
      returned: when the CA tells
      type: str
      sample: "2026-11-24T10:00:00Z"
    notAfter:
      description: Requested end of the certificate's validity.
      returned: when the CA tells
      type: str
      sample: "2027-02-22T10:00:00Z"
    certificate:
      description: URL of the certificate.
      returned: when it is issued
      type: str
      sample: https://acme.example.com/cert/1
    error:
      description: Why the order failed (RFC 7807).
      returned: when the order is invalid
      type: dict
      sample: {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "Incorrect TXT record"}
"""

from ..module_utils._acme.options import acme_spec
from ..module_utils._acme.step_account import show_account
from ..module_utils._run import run


def main() -> None:
    """Run the module."""
    choices = ["ignore", "url_list", "object_list"]
    spec = acme_spec(retrieve_orders={"type": "str", "choices": choices, "default": "ignore"})
    run(spec, show_account, needs=("acme", "cryptography"))


if __name__ == "__main__":
    main()
