#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module acme_order: its contract."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_order
short_description: Place an ACME order, or pick up the one already placed, and give its TXT records
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - The guide's first step. Gives the TXT records that prove control of the names (RFC 8555 section 8.4).
  - Run again, it gives the same records and changes nothing, as long as the order is usable. One that has expired or
    failed is replaced, and a warning says so.
  - The certificate's private key is not needed yet and does not exist yet.
extends_documentation_fragment:
  - zerotrust.pomerium._acme
  - zerotrust.pomerium._acme.challenge
  - zerotrust.pomerium._acme.delegation
  - zerotrust.pomerium._acme.dns_check
  - zerotrust.pomerium._acme.attributes
attributes:
  diff_mode:
    description: Returns details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
options:
  identifiers:
    description:
      - DNS names for the certificate, V(*.corp.example.com) and the like. Internationalised names may be written as in
        the browser's address bar; they are sent as A-labels.
      - A wildcard covers one label, and not its own base. A name beside a wildcard that covers it is refused, as CAs
        do.
      - Exactly one of O(identifiers), O(csr_path) and O(csr_content) is needed.
    type: list
    elements: str
  csr_path:
    description:
      - Path of a certificate signing request (PKCS#10, PEM or DER), whose names are ordered. Give the same one to
        M(zerotrust.pomerium.acme_finalize).
    type: path
    aliases: [csr]
  csr_content:
    description:
      - The same as PEM text.
    type: str
  state_path:
    description:
      - JSON file in which the order is remembered. It holds no secret; with it and the account key any controller can
        finish the order.
      - Mutually exclusive with O(order_uri). With neither, every run places a new order.
    type: path
  order_uri:
    description:
      - URL of the order to pick up, where you keep it yourself.
    type: str
  profile:
    description:
      - Certificate profile, one of those that the directory lists. The CA's default where it is not given.
    type: str
  replaces:
    description:
      - Which certificate the new one comes after, by its RV(zerotrust.pomerium.acme_finalize#module:cert_id) (RFC 9773
        section 5). Let's Encrypt exempts a renewal that says so, and is made in time, from its rate limits.
      - A CA that does not accept it is asked once more without, and a warning says so. Where the directory has no
        renewal information it is not sent.
    type: str
    aliases: [replaces_cert_id]
  renew:
    description:
      - Whether to place the next order although the remembered one is finished.
    type: bool
    default: false
  reuse_min_remaining:
    description:
      - Seconds that a pending order must still be usable; one that ends sooner is replaced.
    type: int
    default: 1800
  zone:
    description:
      - Zone that the challenge names lie in, where DNS cannot tell (split horizon).
    type: str
seealso:
  - module: zerotrust.pomerium.acme_finalize
    description: The next step, when the records are there.
  - module: zerotrust.pomerium.acme_certificate
    description: Both steps and renewal in one task.
"""

EXAMPLES = r"""
- name: Order a wildcard certificate
  zerotrust.pomerium.acme_order:
    acme_directory: https://acme-staging-v02.api.letsencrypt.org/directory
    account_key_path: /srv/acme/account.pem
    identifiers:
      - "*.corp.example.com"
      - corp.example.com
    state_path: /srv/acme/corp.json
  delegate_to: localhost
  run_once: true
  register: ordered

- name: Say which records to add
  ansible.builtin.debug:
    msg: "{{ ordered.instructions }}"
  run_once: true
"""

RETURN = r"""
order_uri:
  description: URL of the order; none where there is no order.
  returned: success
  type: str
  sample: https://acme-v02.api.letsencrypt.org/acme/order/1234567890/987654321
account_uri:
  description: URL of the account; none where it is not known.
  returned: success
  type: str
  sample: https://acme-v02.api.letsencrypt.org/acme/acct/1234567890
status:
  description: Status of the order (RFC 8555 section 7.1.6); none where there is no order.
  returned: success
  type: str
  sample: pending
expires:
  description: When the order stops being usable, the earliest end of the order and its pending authorizations.
  returned: success
  type: str
  sample: "2026-12-01T10:00:00Z"
reused:
  description: Whether the order was placed by an earlier run.
  returned: success
  type: bool
  sample: false
dns_records:
  description: TXT records that prove control, one for each name. Apex and wildcard share one with two entries.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Fully qualified name, with a final dot.
      returned: success
      type: str
      sample: _acme-challenge.corp.example.com.
    zone:
      description: Zone that the name lies in; none where DNS did not tell.
      returned: success
      type: str
      sample: example.com
    record:
      description: Name relative to the zone, as DNS modules want it; none where the zone is not known.
      returned: success
      type: str
      sample: _acme-challenge.corp
    type:
      description: Type of the record.
      returned: success
      type: str
      sample: TXT
    ttl:
      description: Time to live in seconds.
      returned: success
      type: int
      sample: 300
    entries:
      description: Values of the record; all of them are needed at the same time.
      returned: success
      type: list
      elements: str
      sample: [Yz0B1Uf2xjyUI7Cr9-k96P2PQnw3RIK32dMViuvT58s]
    identifiers:
      description: Names on the certificate that the record is for.
      returned: success
      type: list
      elements: str
      sample: ["*.corp.example.com"]
    challenge_names:
      description: Names that the CA looks up; one that is not RV(dns_records[].name) needs a CNAME that leads there.
      returned: success
      type: list
      elements: str
      sample: [_acme-challenge.corp.example.com.]
authorizations:
  description: What the CA asks about each name.
  returned: success
  type: list
  elements: dict
  contains:
    identifier:
      description: The name.
      returned: success
      type: str
      sample: "*.corp.example.com"
    status:
      description: Status of the authorization.
      returned: success
      type: str
      sample: pending
    expires:
      description: When the authorization ends; none where the CA does not tell.
      returned: success
      type: str
      sample: "2026-12-01T10:00:00Z"
    offered:
      description: Challenge types that the CA offers.
      returned: success
      type: list
      elements: str
      sample: [dns-01]
instructions:
  description: What a person has to add to the zone, as lines; empty where nothing is to be added.
  returned: success
  type: list
  elements: str
  sample:
    - "Add these TXT records, then run this again (order valid until 2026-12-01 10:00 UTC):"
    - "_acme-challenge.corp.example.com.  300  IN  TXT  Yz0B1Uf2xjyUI7Cr9-k96P2PQnw3RIK32dMViuvT58s"
action_required:
  description: Whether a record is missing that a person must add.
  returned: success
  type: bool
  sample: true
"""

from ..module_utils._acme.options import CHALLENGE, DELEGATION, DNS_CHECK, acme_spec
from ..module_utils._acme.step_order import place_order
from ..module_utils._run import run


def main() -> None:
    """Run the module."""
    run(
        acme_spec(
            CHALLENGE,
            DELEGATION,
            DNS_CHECK,
            mutually_exclusive=[["state_path", "order_uri"], ["identifiers", "csr_path", "csr_content"]],
            required_one_of=[["identifiers", "csr_path", "csr_content"]],
            identifiers={"type": "list", "elements": "str"},
            csr_path={"type": "path", "aliases": ["csr"]},
            csr_content={"type": "str"},
            state_path={"type": "path"},
            order_uri={"type": "str"},
            profile={"type": "str"},
            replaces={"type": "str", "aliases": ["replaces_cert_id"]},
            renew={"type": "bool", "default": False},
            reuse_min_remaining={"type": "int", "default": 1800},
            zone={"type": "str"},
        ),
        place_order,
        needs=("acme", "cryptography", "dns", "idna"),
    )


if __name__ == "__main__":
    main()
