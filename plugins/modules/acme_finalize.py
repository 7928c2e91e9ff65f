#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module acme_finalize: its contract."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_finalize
short_description: Finish an ACME order and write the certificate
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - The guide's second step. Looks whether the TXT records are where the CA will look, tells the CA to validate, sends
    the certificate signing request, downloads the certificate, checks it, and writes it.
  - While a record is missing, the CA is told nothing and the order stays usable. The message says which name lacks
    which value at which server.
  - Nothing is written before the certificate was checked. It must match the key and have just the names that were
    ordered, and its chain must link.
  - On a finished order it downloads again, and changes nothing where the files are right.
extends_documentation_fragment:
  - zerotrust.pomerium._acme
  - zerotrust.pomerium._acme.dns_check
  - zerotrust.pomerium._acme.timeouts
  - zerotrust.pomerium._acme.attributes
attributes:
  diff_mode:
    description: Returns details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
options:
  state_path:
    description:
      - The file in which M(zerotrust.pomerium.acme_order) remembered the order.
      - Exactly one of O(state_path) and O(order_uri) is needed.
    type: path
  order_uri:
    description:
      - URL of the order.
    type: str
  private_key_path:
    description:
      - Path of an existing private key for the certificate (PEM). It must not be the account key.
      - Exactly one of O(private_key_path), O(private_key_content), O(private_key_dest), O(csr_path) and O(csr_content)
        is needed.
    type: path
  private_key_content:
    description:
      - The same key as PEM text.
    type: str
  private_key_passphrase:
    description:
      - Passphrase of an encrypted private key.
    type: str
  csr_path:
    description:
      - Path of a certificate signing request (PKCS#10, PEM or DER) with just the names that were ordered. Its private
        key stays where it is.
    type: path
    aliases: [csr]
  csr_content:
    description:
      - The same as PEM text.
    type: str
  private_key_dest:
    description:
      - Where to write a new private key (mode V(0600)). It is made beside that path before the CA is asked to sign, and
        replaces what is there together with the certificate.
    type: path
  key_type:
    description:
      - Type of the new private key. Pomerium serves all of them from 0.30 on, before that only V(ec-256) of the curves.
    type: str
    choices: [ec-256, ec-384, rsa-2048, rsa-3072, rsa-4096]
    default: ec-256
  certificate_path:
    description:
      - Where to write the certificate alone (mode V(0644)).
    type: path
    aliases: [cert_dest, dest]
  chain_path:
    description:
      - Where to write its issuers (mode V(0644)).
    type: path
    aliases: [chain_dest]
  fullchain_path:
    description:
      - Where to write the certificate followed by its issuers (mode V(0644)), which is what Pomerium wants.
    type: path
    aliases: [fullchain_dest]
  challenge:
    description:
      - Type of challenge to answer, where the order was placed by other means than O(state_path), which knows it.
    type: str
    choices: [dns-01, dns-account-01, dns-persist-01]
  preferred_chain:
    description:
      - Common name of the root certificate at which the chain should end, where the CA offers several
        (V(ISRG Root X2)).
      - Where the CA has none that does, the default one is used, with a warning.
    type: str
  allow_staging:
    description:
      - Whether a certificate of a test CA may replace one of a production CA at O(fullchain_path) or
        O(certificate_path).
    type: bool
    default: false
  on_pending:
    description:
      - Whether an order that cannot be finished yet is an error (V(fail)) or is described in the return values
        (V(return)).
    type: str
    choices: [fail, return]
    default: fail
seealso:
  - module: zerotrust.pomerium.acme_order
    description: The step before.
  - module: zerotrust.pomerium.pomerium_certificate
    description: The next step, which puts the files on a Pomerium host.
"""

EXAMPLES = r"""
- name: Finish the order when its records are in the zone
  zerotrust.pomerium.acme_finalize:
    acme_directory: https://acme-staging-v02.api.letsencrypt.org/directory
    account_key_path: /srv/acme/account.pem
    state_path: /srv/acme/corp.json
    private_key_dest: /srv/acme/corp.key
    fullchain_path: /srv/acme/corp.pem
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
order_uri:
  description: URL of the order.
  returned: success
  type: str
  sample: https://acme-v02.api.letsencrypt.org/acme/order/1234567890/987654321
status:
  description: Status of the order (RFC 8555 section 7.1.6).
  returned: success
  type: str
  sample: valid
phase:
  description: How far the order is, V(waiting_for_dns), V(validating), V(issuing) or V(issued).
  returned: success
  type: str
  sample: issued
pending:
  description: Whether the order is not finished yet.
  returned: success
  type: bool
  sample: false
missing_records:
  description: Values that are not (yet) where they must be, with what the servers that lack them said.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Fully qualified name, with a final dot.
      returned: success
      type: str
      sample: _acme-challenge.corp.example.com.
    entry:
      description: The value.
      returned: success
      type: str
      sample: Yz0B1Uf2xjyUI7Cr9-k96P2PQnw3RIK32dMViuvT58s
    servers:
      description: Servers that lack it.
      returned: success
      type: list
      elements: dict
      contains:
        server:
          description: The server.
          returned: success
          type: str
          sample: ns1.example.com (192.0.2.53)
        answer:
          description: What it said.
          returned: success
          type: str
          sample: NXDOMAIN
problems:
  description: Problem documents of the CA (RFC 7807), one for each name that failed.
  returned: success
  type: list
  elements: dict
  sample: []
records_to_remove:
  description: TXT records of the finished order, as M(zerotrust.pomerium.acme_order) gave them; not needed any more.
  returned: success
  type: list
  elements: dict
  sample: []
certificate:
  description: The certificate alone, as PEM; none where there is none.
  returned: success
  type: str
  sample: "-----BEGIN CERTIFICATE-----..."
chain:
  description: Its issuers, as PEM.
  returned: success
  type: str
  sample: "-----BEGIN CERTIFICATE-----..."
fullchain:
  description: The certificate and its issuers, as PEM.
  returned: success
  type: str
  sample: "-----BEGIN CERTIFICATE-----..."
names:
  description: DNS names on the certificate.
  returned: success
  type: list
  elements: str
  sample: ["*.corp.example.com", corp.example.com]
not_before:
  description: Begin of its validity.
  returned: success
  type: str
  sample: "2026-11-24T10:00:00Z"
not_after:
  description: End of its validity.
  returned: success
  type: str
  sample: "2027-02-22T10:00:00Z"
serial:
  description: Serial number in hexadecimal.
  returned: success
  type: str
  sample: 3a9f2c55d1e0b7
fingerprint_sha256:
  description: SHA-256 of the certificate in hexadecimal.
  returned: success
  type: str
  sample: 9b2c0f0d1f6a5d7bb41de10a1d4a2a79a96c8a2e2e8d2ac0bd1f8c2f0f9f2e5a
issuer:
  description: Distinguished name of the issuer (RFC 4514).
  returned: success
  type: str
  sample: CN=YE1,O=Let's Encrypt,C=US
cert_id:
  description: Name of the certificate in renewal information (RFC 9773 section 4.1).
  returned: success
  type: str
  sample: aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE
"""

from ..module_utils._acme.options import CHALLENGES, DNS_CHECK, TIMEOUTS, acme_spec
from ..module_utils._acme.step_finalize import finalize_order
from ..module_utils._pki.keys import KEY_TYPES
from ..module_utils._run import run

KEY_SOURCES = ["private_key_path", "private_key_content", "private_key_dest", "csr_path", "csr_content"]


def main() -> None:
    """Run the module."""
    run(
        acme_spec(
            DNS_CHECK,
            TIMEOUTS,
            required_one_of=[["state_path", "order_uri"], KEY_SOURCES],
            mutually_exclusive=[["state_path", "order_uri"], KEY_SOURCES],
            state_path={"type": "path"},
            order_uri={"type": "str"},
            private_key_path={"type": "path"},
            private_key_content={"type": "str", "no_log": True},
            private_key_passphrase={"type": "str", "no_log": True},
            csr_path={"type": "path", "aliases": ["csr"]},
            csr_content={"type": "str"},
            private_key_dest={"type": "path"},
            key_type={"type": "str", "choices": list(KEY_TYPES), "default": "ec-256"},
            certificate_path={"type": "path", "aliases": ["cert_dest", "dest"]},
            chain_path={"type": "path", "aliases": ["chain_dest"]},
            fullchain_path={"type": "path", "aliases": ["fullchain_dest"]},
            challenge={"type": "str", "choices": list(CHALLENGES)},
            preferred_chain={"type": "str"},
            allow_staging={"type": "bool", "default": False},
            on_pending={"type": "str", "choices": ["fail", "return"], "default": "fail"},
        ),
        finalize_order,
        needs=("acme", "cryptography", "dns", "idna"),
    )


if __name__ == "__main__":
    main()
