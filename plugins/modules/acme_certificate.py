#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module acme_certificate: its contract."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_certificate
short_description: Keep a certificate current, by DNS challenge
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Everything from the account to the stored certificate in one task that converges. It orders when a certificate is
    missing, other names are wanted, or a third of its lifetime is left (half, where it lives less than ten days).
  - With O(publisher) one run does all of it. The TXT records are written, waited for at every name server, and removed
    when the certificate is there. A run that was killed anywhere is taken up by the next, which also removes what the
    killed one has left in DNS.
  - Without, a person publishes the TXT records. The run that orders returns them in RV(instructions) and ends well; the
    next run finds them in DNS and finishes the same order. Run in between, it gives the same records and changes
    nothing.
  - Deciding that nothing is due asks nobody and loads nothing of the ACME libraries.
  - Each certificate has a new private key, which is on disk before the CA is asked to sign for it. No return value
    holds a key.
extends_documentation_fragment:
  - zerotrust.pomerium._acme
  - zerotrust.pomerium._acme.challenge
  - zerotrust.pomerium._acme.delegation
  - zerotrust.pomerium._acme.dns_check
  - zerotrust.pomerium._publisher
  - zerotrust.pomerium._acme.timeouts
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
    type: list
    elements: str
    required: true
  name:
    description:
      - Name of the lineage, the successive certificates for these names. It is a directory name.
    type: str
    default: pomerium
  store_path:
    description:
      - Directory on the machine that runs the module, in which lineages are kept. It must last between runs.
    type: path
    required: true
  fleet:
    description:
      - Whether the Pomerium hosts are the store. What M(zerotrust.pomerium.pomerium_certificate_info) found on them in
        this run is merged into O(store_path) first, which need not last then.
      - The newest certificate of O(acme_directory) wins. It counts where the account key has signed it, or where it
        ends at a root of the system or of O(trust_path); else it could come from a host that somebody has taken over.
      - An order is only finished when a host keeps it with its key. The role C(certificate) does what lies between.
    type: bool
    default: false
  looks_path:
    description:
      - With O(fleet), the directory that M(zerotrust.pomerium.pomerium_certificate_info) returned as C(store_path),
        where O(store_path) is another one. Then the keys that lie on hosts are needed in O(store_path), too, and
        RV(key_hosts) says where they are.
    type: path
  trust_path:
    description:
      - With O(fleet), PEM file with the roots at which a certificate that a host has may end. By default those of the
        system.
    type: path
  allow_limited:
    description:
      - With O(fleet), whether to order also where other hosts might have a certificate, since the play is limited, is a
        batch, or its hosts' variables disagree, and none of its hosts has one.
    type: bool
    default: false
  terms_agreed:
    description:
      - Whether you agree to the terms of service that the directory names. Needed only to open the account.
    type: bool
    default: false
  contact:
    description:
      - Addresses for the CA to write to, as URLs (V(mailto:ops@example.com)), given when the account is opened.
    type: list
    elements: str
  key_type:
    description:
      - Type of the certificate's private key. Pomerium before 0.30 serves only V(ec-256) of the curves.
    type: str
    choices: [ec-256, ec-384, rsa-2048, rsa-3072, rsa-4096]
    default: ec-256
  profile:
    description:
      - Certificate profile, one of those that the directory lists. The CA's default where it is not given.
    type: str
  preferred_chain:
    description:
      - Common name of the root certificate at which the chain should end, where the CA offers several
        (V(ISRG Root X2)).
      - Where the CA has none that does, the default one is used, with a warning. Changing it makes nothing due, it
        holds from the next certificate on.
    type: str
  replace_version:
    description:
      - Version (as in RV(version)) that must not stay in use, whatever its age, since its key is compromised or it is
        to be revoked. A new certificate with a new key is due while it is in use.
    type: str
  records_published:
    description:
      - Whether the records are known to be on their way, so that they are waited for up to O(propagation_timeout) even
        while no server has any of them.
    type: bool
    default: false
  records_removed:
    description:
      - Records out of RV(records_to_remove) that have been removed from DNS, or that somebody was told to remove. They
        are not returned any more.
    type: list
    elements: dict
    suboptions:
      name:
        description: Fully qualified name.
        type: str
        required: true
      entries:
        description: Values that have been removed.
        type: list
        elements: str
        required: true
      zone:
        description: Not used; taken so that the returned record can be given as it is.
        type: str
      record:
        description: Not used.
        type: str
      type:
        description: Not used.
        type: str
      ttl:
        description: Not used.
        type: int
      identifiers:
        description: Not used.
        type: list
        elements: str
      challenge_names:
        description: Not used.
        type: list
        elements: str
  order:
    description:
      - V(due) orders where a certificate is due.
      - V(never) only finishes an order that is pending.
      - V(force) orders although none is due. It is ignored, with a warning, while an order is pending or the
        certificate is younger than a day.
    type: str
    choices: [due, never, force]
    default: due
  stop_after:
    description:
      - V(order) stops when the order is placed and RV(dns_records) are known, so that other tasks can publish them.
      - V(never) goes as far as it gets.
    type: str
    choices: [order, never]
    default: never
  on_error:
    description:
      - V(return) puts an error of the CA, of DNS or of a limit into RV(error) instead of failing, for a play that has
        something else to do first. Wrong options fail in any case.
    type: str
    choices: [fail, return]
    default: fail
seealso:
  - module: zerotrust.pomerium.pomerium_certificate
    description: Puts the certificate on Pomerium hosts.
"""

EXAMPLES = r"""
- name: Keep the wildcard certificate current
  zerotrust.pomerium.acme_certificate:
    acme_directory: https://acme-staging-v02.api.letsencrypt.org/directory
    account_key_path: /srv/acme/account.pem
    terms_agreed: true
    store_path: /srv/acme/store
    identifiers:
      - "*.corp.example.com"
      - corp.example.com
  delegate_to: localhost
  run_once: true
  register: certificate

- name: Say which records to add
  ansible.builtin.debug:
    msg: "{{ certificate.instructions }}"
  run_once: true
  when: certificate.action_required

- name: The same with nobody in between, where the name server takes updates
  zerotrust.pomerium.acme_certificate:
    acme_directory: https://acme-staging-v02.api.letsencrypt.org/directory
    account_key_path: /srv/acme/account.pem
    terms_agreed: true
    store_path: /srv/acme/store
    identifiers:
      - "*.corp.example.com"
      - corp.example.com
    publisher:
      type: rfc2136
      server: ns1.example.com
      key_name: acme.example.com
      key_secret: "{{ tsig_secret }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
phase:
  description: >-
    How far it is, V(idle) (nothing to do, or nothing done), V(waiting_for_dns), V(validating), V(issuing) or V(issued).
  returned: success
  type: str
  sample: waiting_for_dns
done:
  description: Whether this run is over; V(false) only where O(stop_after=order) stopped it.
  returned: success
  type: bool
  sample: true
renewed:
  description: Whether a new certificate was stored by this run.
  returned: success
  type: bool
  sample: false
reasons:
  description: >-
    Why a certificate is due, of V(missing), V(directory), V(names), V(key_type), V(profile), V(revoked), V(expired),
    V(expiring) and V(forced); empty where none is.
  returned: success
  type: list
  elements: str
  sample: [expiring]
version:
  description: >-
    Version of the certificate in the store, the begin of its validity and its serial number; none where there is none.
    Hosts have it under the same name.
  returned: success
  type: str
  sample: 20261124T100000Z-3a9f2c55d1e0b7
key_hosts:
  description: >-
    With O(fleet), hosts that could give a key that is needed on this machine and lies on hosts only; empty where none
    is needed.
  returned: success
  type: list
  elements: str
  sample: [pomerium1.example.com]
hosts_without:
  description: With O(fleet), hosts that do not have the certificate in use; empty where there is none, or all have it.
  returned: success
  type: list
  elements: str
  sample: []
unsaved:
  description: >-
    With O(fleet), whether hosts lack something of the pending order, its key, or what was learned, so that it should be
    sent to them.
  returned: success
  type: bool
  sample: false
renew_at:
  description: When the certificate in the store becomes due by its age; none where there is none.
  returned: success
  type: str
  sample: "2027-01-23T10:00:00Z"
error:
  description: What went wrong, with O(on_error=return); none where nothing did.
  returned: success
  type: str
  sample: "The CA refused to take the order: rateLimited ..."
paths:
  description: Files of the certificate in the store, each none where there is no certificate.
  returned: success
  type: dict
  contains:
    privkey:
      description: The private key.
      returned: success
      type: str
      sample: /srv/acme/store/lineages/pomerium/current/privkey.pem
    cert:
      description: The certificate alone.
      returned: success
      type: str
      sample: /srv/acme/store/lineages/pomerium/current/cert.pem
    chain:
      description: Its issuers.
      returned: success
      type: str
      sample: /srv/acme/store/lineages/pomerium/current/chain.pem
    fullchain:
      description: The certificate and its issuers.
      returned: success
      type: str
      sample: /srv/acme/store/lineages/pomerium/current/fullchain.pem
    ca:
      description: What Pomerium trusts as a client, the issuers.
      returned: success
      type: str
      sample: /srv/acme/store/lineages/pomerium/current/ca.pem
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
  description: >-
    TXT records that no order needs any more, in the form of RV(dns_records). They stay here until they are given in
    O(records_removed).
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

from functools import partial

from ..module_utils._acme.converge import converge
from ..module_utils._acme.options import CHALLENGE, DELEGATION, DNS_CHECK, RECORD, TIMEOUTS, acme_spec
from ..module_utils._dns.publishers.choose import PUBLISHER, choose_publisher, complete_publisher
from ..module_utils._pki.keys import KEY_TYPES
from ..module_utils._run import run


def main() -> None:
    """Run the module."""
    run(
        acme_spec(
            CHALLENGE,
            DELEGATION,
            DNS_CHECK,
            PUBLISHER,
            TIMEOUTS,
            complete=complete_publisher,
            identifiers={"type": "list", "elements": "str", "required": True},
            name={"type": "str", "default": "pomerium"},
            store_path={"type": "path", "required": True},
            fleet={"type": "bool", "default": False},
            looks_path={"type": "path"},
            trust_path={"type": "path"},
            allow_limited={"type": "bool", "default": False},
            terms_agreed={"type": "bool", "default": False},
            contact={"type": "list", "elements": "str"},
            key_type={"type": "str", "choices": list(KEY_TYPES), "default": "ec-256"},
            profile={"type": "str"},
            preferred_chain={"type": "str"},
            replace_version={"type": "str"},
            records_removed={"type": "list", "elements": "dict", "options": RECORD},
            records_published={"type": "bool", "default": False},
            order={"type": "str", "choices": ["due", "never", "force"], "default": "due"},
            stop_after={"type": "str", "choices": ["order", "never"], "default": "never"},
            on_error={"type": "str", "choices": ["fail", "return"], "default": "fail"},
        ),
        partial(converge, choose_publisher=choose_publisher),
        needs=("acme", "cryptography", "dns", "idna"),
    )


if __name__ == "__main__":
    main()
