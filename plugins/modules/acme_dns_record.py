#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module acme_dns_record: its contract."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_dns_record
short_description: Publish or remove TXT values of ACME challenges
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Adds values to a TXT record, or removes them, through a publisher; other values of the same name stay.
  - M(zerotrust.pomerium.acme_certificate) does this by itself where it has a publisher. This module is for those who
    keep the steps M(zerotrust.pomerium.acme_order) and M(zerotrust.pomerium.acme_finalize) in their own hands, and to
    try a publisher.
  - What DNS shows decides whether something is to be done.
extends_documentation_fragment:
  - zerotrust.pomerium._acme.dns_check
  - zerotrust.pomerium._publisher
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying anything.
    support: full
  diff_mode:
    description: Returns details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: partial
    details:
      - With O(verify_dns=none) every run writes and says that it has changed something.
options:
  records:
    description:
      - The records, as RV(zerotrust.pomerium.acme_order#module:dns_records) has them.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Fully qualified name.
        type: str
        required: true
      entries:
        description: Values to publish or remove.
        type: list
        elements: str
        required: true
      zone:
        description: Zone that the name lies in; found by DNS where it is not given.
        type: str
      record:
        description: Not used; taken so that the returned record can be given as it is.
        type: str
      type:
        description: Not used.
        type: str
      ttl:
        description: Not used, O(publisher.ttl) is.
        type: int
      identifiers:
        description: Not used.
        type: list
        elements: str
      challenge_names:
        description: Not used.
        type: list
        elements: str
  state:
    description:
      - V(present) adds the values, V(absent) removes them.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description:
      - Whether to wait until every name server has the values, or none has any. Fails where that takes longer than
        O(propagation_timeout).
    type: bool
    default: true
  propagation_timeout:
    description:
      - Seconds to wait.
    type: int
    default: 120
requirements:
  - Python >= 3.10
seealso:
  - module: zerotrust.pomerium.acme_order
    description: Gives the records.
"""

EXAMPLES = r"""
- name: Publish what the order asks for
  zerotrust.pomerium.acme_dns_record:
    records: "{{ ordered.dns_records }}"
    publisher:
      type: rfc2136
      server: ns1.example.com
      key_name: acme.example.com
      key_secret: "{{ tsig_secret }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
records:
  description: The records as they were written.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Fully qualified name that was written, with a final dot.
      returned: success
      type: str
      sample: _acme-challenge.corp.example.com.
    zone:
      description: Zone that the name lies in; none where DNS did not tell.
      returned: success
      type: str
      sample: example.com
    record:
      description: Name relative to the zone; none where the zone is not known.
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
      sample: 60
    entries:
      description: Values.
      returned: success
      type: list
      elements: str
      sample: [Yz0B1Uf2xjyUI7Cr9-k96P2PQnw3RIK32dMViuvT58s]
    identifiers:
      description: Names on the certificate that the record is for, as they were given.
      returned: success
      type: list
      elements: str
      sample: ["*.corp.example.com"]
    challenge_names:
      description: Name that was given; where it is another one, it has a CNAME that leads to the written one.
      returned: success
      type: list
      elements: str
      sample: [_acme-challenge.corp.example.com.]
servers:
  description: Servers that lack a value (yet) which shall be present, with what they said.
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
    server:
      description: The server.
      returned: success
      type: str
      sample: ns2.example.com (192.0.2.54)
    answer:
      description: What it said.
      returned: success
      type: str
      sample: NXDOMAIN
"""

from functools import partial

from ..module_utils._acme.options import DNS_CHECK, RECORD
from ..module_utils._dns.publish import publish_records
from ..module_utils._dns.publishers.choose import PUBLISHER, choose_publisher, complete_publisher
from ..module_utils._run import run


def main() -> None:
    """Run the module."""
    run(
        {
            "argument_spec": {
                **DNS_CHECK,
                **PUBLISHER,
                "records": {"type": "list", "elements": "dict", "required": True, "options": RECORD},
                "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                "wait": {"type": "bool", "default": True},
                "propagation_timeout": {"type": "int", "default": 120},
            },
            "complete": complete_publisher,
        },
        partial(publish_records, choose_publisher=choose_publisher),
        needs=("dns",),
    )


if __name__ == "__main__":
    main()
