#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module acme_account: its contract."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_account
short_description: Create, update or deactivate an ACME account, or change its key
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Makes sure that the account key exists and that the CA knows an account for it (RFC 8555 section 7.3).
  - Asking for an account that exists already changes nothing and does not spend an external account binding.
  - Also deactivates an account (section 7.3.6) and gives it another key (section 7.3.5).
  - Runs on the controller; nothing of it belongs on a Pomerium host.
extends_documentation_fragment:
  - zerotrust.pomerium._acme
  - zerotrust.pomerium._acme.attributes
attributes:
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: full
options:
  state:
    description:
      - V(present) makes sure that there is an account, with these contacts.
      - V(absent) deactivates it, for good. Its orders end with it, its certificates stay valid. An account that is
        deactivated already, or that the CA does not know, is fine.
      - V(changed_key) makes the new key the account's. Where the CA knows the account by the new key already, nothing
        changes, so that a run whose answer got lost is just repeated. Afterwards give the new key in
        O(account_key_path) everywhere; the old one is of no use any more.
      - Change no key while an order waits for its TXT records; they are computed from the key, and have to be published
        anew.
    type: str
    choices: [present, absent, changed_key]
    default: present
  terms_agreed:
    description:
      - Whether you agree to the terms of service that the directory names. CAs open no account without.
    type: bool
    default: false
  contact:
    description:
      - Addresses for the CA to write to, as URLs (V(mailto:ops@example.com)).
      - Let's Encrypt neither keeps nor uses them. A CA that shows none of an account is told them at every run, and
        something has changed where it shows them then; check mode expects that it will not.
    type: list
    elements: str
  allow_creation:
    description:
      - Whether a new account may be created; V(false) only looks it up and fails where there is none.
    type: bool
    default: true
  new_account_key_path:
    description:
      - Path of the new key (PEM or JWK), with O(state=changed_key). Where nothing is there, one is made, mode V(0600),
        before the CA hears of it.
      - Exactly one of O(new_account_key_path) and O(new_account_key_content) is needed with O(state=changed_key).
    type: path
    aliases: [new_account_key_src]
  new_account_key_content:
    description:
      - The new key itself, as PEM or JWK text.
    type: str
  new_account_key_passphrase:
    description:
      - Passphrase of an encrypted new key.
    type: str
  new_account_key_type:
    description:
      - Kind of key to make at O(new_account_key_path).
    type: str
    choices: [ec-256, ec-384, rsa-2048, rsa-3072, rsa-4096]
    default: ec-256
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

- name: Open an account at a CA that wants external account binding
  zerotrust.pomerium.acme_account:
    acme_directory: https://acme.example.com/directory
    account_key_path: /srv/acme/other.pem
    external_account_binding:
      kid: "{{ eab_kid }}"
      key: "{{ eab_key }}"
    terms_agreed: true
  delegate_to: localhost
  run_once: true

- name: Give that account another key
  zerotrust.pomerium.acme_account:
    acme_directory: https://acme.example.com/directory
    account_key_path: /srv/acme/other.pem
    new_account_key_path: /srv/acme/other-2027.pem
    state: changed_key
  delegate_to: localhost
  run_once: true

- name: Deactivate an account whose options an AWX credential has written to a file
  zerotrust.pomerium.acme_account:
    account_file: "{{ certificate_account_file }}"
    state: absent
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
account_uri:
  description: URL of the account; none where there is none, or the CA does not tell (one that is deactivated).
  returned: success
  type: str
  sample: https://acme-v02.api.letsencrypt.org/acme/acct/1234567890
account:
  description: The account as the CA shows it; none where the CA knows none.
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
created:
  description: Whether the account was created by this run.
  returned: success
  type: bool
  sample: true
"""

from ..module_utils._acme.options import acme_spec
from ..module_utils._acme.step_account import converge_account
from ..module_utils._pki.keys import KEY_TYPES
from ..module_utils._run import run

NEW_KEY = ["new_account_key_path", "new_account_key_content"]


def main() -> None:
    """Run the module."""
    run(
        acme_spec(
            mutually_exclusive=[NEW_KEY],
            required_if=[("state", "changed_key", NEW_KEY, True)],
            state={"type": "str", "choices": ["present", "absent", "changed_key"], "default": "present"},
            terms_agreed={"type": "bool", "default": False},
            contact={"type": "list", "elements": "str"},
            allow_creation={"type": "bool", "default": True},
            new_account_key_path={"type": "path", "aliases": ["new_account_key_src"]},
            new_account_key_content={"type": "str", "no_log": True},
            new_account_key_passphrase={"type": "str", "no_log": True},
            new_account_key_type={"type": "str", "choices": list(KEY_TYPES), "default": "ec-256"},
        ),
        converge_account,
        needs=("acme", "cryptography"),
    )


if __name__ == "__main__":
    main()
