#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module acme_dns_account: its contract."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_dns_account
short_description: Register names at an acme-dns server, once, and keep the accounts
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Makes sure that each name has an account at an acme-dns server, and tells the CNAME records that lead there. Once
    a person has added these, certificates for the names need nobody any more.
  - The accounts are kept in a file, as lego, cert-manager and others that use goacmedns keep them; theirs can be given.
    A name that has an account there is never registered again.
  - The file is written after each registration, so that a run that is killed loses none.
  - Runs on the controller; nothing of it belongs on a Pomerium host.
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
    details:
      - What the server would answer is not known then, so the result has no account and no CNAME record for names that
        are not registered yet.
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: full
    details:
      - The names only.
  idempotent:
    description: When run twice in a row with the same arguments, the second invocation indicates that nothing was done.
    support: full
options:
  url:
    description:
      - URL of the server's API, like V(https://auth.example.org).
    type: str
    required: true
  domains:
    description:
      - Names to register. V(*.corp.example.com) and V(corp.example.com) need the same record, so they are one name.
    type: list
    elements: str
    required: true
  accounts_path:
    description:
      - JSON file with the accounts by name. It holds their passwords, so it is written with mode V(0600).
      - Keep it; whoever has lost it has to register again, and to change the CNAME records.
    type: path
    required: true
  allow_from:
    description:
      - Networks or addresses from which the records may be written, like V(192.0.2.0/24). Without any, they may be from
        everywhere, by whoever knows the password.
      - Counts for names that are registered now; the server does not change it later.
    type: list
    elements: str
  ca_path:
    description:
      - PEM file with the roots of the server's TLS certificate, where it is a private CA's.
    type: path
  timeout:
    description:
      - Seconds to wait for an answer of the server.
    type: int
    default: 60
seealso:
  - module: zerotrust.pomerium.acme_certificate
    description: Uses the accounts.
  - name: acme-dns
    description: The server.
    link: https://github.com/joohoi/acme-dns
"""

EXAMPLES = r"""
- name: Have an account for the names of a certificate
  zerotrust.pomerium.acme_dns_account:
    url: https://auth.example.org
    domains: ["*.corp.example.com", corp.example.com]
    accounts_path: /srv/acme/acme-dns.json
  delegate_to: localhost
  run_once: true
  register: acme_dns

- name: Say which records to add
  ansible.builtin.debug:
    msg: "{{ acme_dns.instructions }}"
  run_once: true
"""

RETURN = r"""
accounts:
  description: The accounts of O(domains), in their order, without what is secret.
  returned: success
  type: list
  elements: dict
  contains:
    domain:
      description: The name that it is for.
      returned: success
      type: str
      sample: corp.example.com
    subdomain:
      description: Name of the account's record, relative to the server's zone.
      returned: success
      type: str
      sample: d420c923-bbd7-4056-ab64-c3ca54c9b3cf
    fulldomain:
      description: The same, fully qualified.
      returned: success
      type: str
      sample: d420c923-bbd7-4056-ab64-c3ca54c9b3cf.auth.example.org
cname_records:
  description: The CNAME records that have to be there, one for each account.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Where the record belongs, with a final dot.
      returned: success
      type: str
      sample: _acme-challenge.corp.example.com.
    target:
      description: Where it leads, with a final dot.
      returned: success
      type: str
      sample: d420c923-bbd7-4056-ab64-c3ca54c9b3cf.auth.example.org.
instructions:
  description: What a person has to do, as lines; those with records can be pasted into a zone.
  returned: success
  type: list
  elements: str
  sample:
    - "Add these CNAME records, once; no TXT record has to be added after that:"
    - "_acme-challenge.corp.example.com.  300  IN  CNAME  d420c923-bbd7-4056-ab64-c3ca54c9b3cf.auth.example.org."
"""

from ..module_utils._dns.publishers.acme_dns_register import register_domains
from ..module_utils._run import run


def main() -> None:
    """Run the module."""
    run(
        {
            "argument_spec": {
                "url": {"type": "str", "required": True},
                "domains": {"type": "list", "elements": "str", "required": True},
                "accounts_path": {"type": "path", "required": True},
                "allow_from": {"type": "list", "elements": "str"},
                "ca_path": {"type": "path"},
                "timeout": {"type": "int", "default": 60},
            },
        },
        register_domains,
        needs=("idna", "requests"),
    )


if __name__ == "__main__":
    main()
