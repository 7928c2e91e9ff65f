# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of what the ACME modules share. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """Options by group: DOCUMENTATION (the CA and the account), CHALLENGE, DNS_CHECK, TIMEOUTS; and ATTRIBUTES."""

    DOCUMENTATION = r"""
options:
  account_file:
    description:
      - JSON file whose keys are options that all ACME modules share, O(acme_directory) to O(request_timeout). So a
        credential of AWX can carry them all, and no secret is an argument or a variable.
      - What is empty or null in it counts as not given. An option of the task beats the file, also where the two
        exclude each other, as O(account_key_path) and O(account_key_content) do.
    type: path
  acme_directory:
    description:
      - URL of the directory of the ACME server (RFC 8555 section 7.1.1).
      - Let's Encrypt's production directory, V(https://acme-v02.api.letsencrypt.org/directory), where it is not given.
      - Try a new setup at its staging directory first, V(https://acme-staging-v02.api.letsencrypt.org/directory), since
        production allows five certificates for the same names in a week.
    type: str
  account_key_path:
    description:
      - Path of the account key on the machine that runs the module, as PEM (PKCS#8, SEC1 or PKCS#1, encrypted or not)
        or JWK (certbot's C(private_key.json)). EC P-256 or P-384, or RSA 2048 and larger; Let's Encrypt refuses P-521.
      - Modules that may create an account make a P-256 key there (mode V(0600)) where there is none.
      - Keep this file. Whoever has it can revoke what was issued for it, and without it a new account is needed.
      - Exactly one of O(account_key_path) and O(account_key_content) is needed.
    type: path
    aliases: [account_key_src]
  account_key_content:
    description:
      - The account key itself, as PEM or JWK text.
    type: str
  account_key_passphrase:
    description:
      - Passphrase of an encrypted account key.
    type: str
  account_uri:
    description:
      - URL of the account, where it is known. Saves the look-up by key.
    type: str
  external_account_binding:
    description:
      - Binds a new account to one that the CA knows otherwise (RFC 8555 section 7.3.4). The CA hands out the values.
      - Used only when an account is created.
    type: dict
    suboptions:
      kid:
        description:
          - Identifier of the MAC key.
        type: str
        required: true
      key:
        description:
          - The MAC key in base64url or base64, padded or not.
        type: str
        required: true
      alg:
        description:
          - MAC algorithm.
        type: str
        choices: [HS256, HS384, HS512]
        default: HS256
  ca_path:
    description:
      - PEM file with the roots that the ACME server's own TLS certificate is verified with, for a private CA.
      - Mutually exclusive with O(ca_content).
    type: path
  ca_content:
    description:
      - The same as PEM text.
    type: str
  validate_certs:
    description:
      - Whether the ACME server's TLS certificate is verified. For a private CA, rather give O(ca_path).
    type: bool
    default: true
  request_timeout:
    description:
      - Seconds that one request to the ACME server may take.
    type: int
    default: 45
"""

    DNS_CHECK = r"""
options:
  verify_dns:
    description:
      - Where the TXT records must be seen before the CA is told to look. A validation that fails cannot be repeated and
        counts against a limit of the CA.
      - V(authoritative) asks every address of every name server of the zone, and where a CNAME leads into another zone
        those of that one, too. Where none of them answers at all (port 53 closed) the recursive servers decide, with a
        warning.
      - V(recursive) asks the servers in O(resolvers).
      - V(none) trusts you.
    type: str
    choices: [authoritative, recursive, none]
    default: authoritative
  resolvers:
    description:
      - Recursive DNS servers, each C(address), C(address:port) or C([IPv6 address]:port).
      - Those of the system where it is not given.
    type: list
    elements: str
requirements:
  - dnspython >= 2.7
  - idna >= 3.4
"""

    CHALLENGE = r"""
options:
  challenge:
    description:
      - Type of the challenge. V(dns-01) is what every CA offers.
      - V(dns-account-01) (draft-ietf-acme-dns-account-label) has a name of the account's own below
        C(_acme-challenge), so that several accounts can each have a CNAME for the same name. Few CAs offer it.
      - V(dns-persist-01) (draft-ietf-acme-dns-persist, -00 to -02) has a record at C(_validation-persist) that names
        the account, is made once, and stays for all orders to come. One that is there already and states the same
        counts, whoever wrote it. In the form of draft -02 it changes with the account's key. Few CAs offer it.
    type: str
    choices: [dns-01, dns-account-01, dns-persist-01]
    default: dns-01
"""

    DELEGATION = r"""
options:
  delegation:
    description:
      - Challenge names (C(_acme-challenge.corp.example.com)) that have a CNAME, made once, and where each of them leads
        to. The TXT record is written there.
    type: dict
  follow_cname:
    description:
      - Whether to find that out by DNS, for challenge names that are not in O(delegation). Leave it off where a
        wildcard CNAME covers the challenge names.
    type: bool
    default: false
"""

    TIMEOUTS = r"""
options:
  propagation_timeout:
    description:
      - Seconds to wait until the TXT records are at all servers.
    type: int
    default: 120
  validation_timeout:
    description:
      - Seconds to wait until the CA has validated the names. Past it the order stays usable and the next run goes on.
    type: int
    default: 300
  issuance_timeout:
    description:
      - Seconds to wait for the certificate. Past it the order stays usable and the next run goes on.
    type: int
    default: 300
"""

    ATTRIBUTES = r"""
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying anything.
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
  action_group:
    description: Use C(group/zerotrust.pomerium.acme) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - zerotrust.pomerium.acme
requirements:
  - Python >= 3.10
  - acme >= 4.0
  - cryptography >= 43
"""
