#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module acme_revoke: its contract."""

from __future__ import annotations

DOCUMENTATION = r"""
module: acme_revoke
short_description: Revoke a certificate at the CA that issued it
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Asks the CA to revoke a certificate (RFC 8555 section 7.6), as the account that ordered it, or with the
    certificate's own private key, for which no account is needed.
  - A certificate that is revoked already changes nothing.
  - Revoking does not take a certificate out of use. Reissue and install first; the playbook
    C(zerotrust.pomerium.revoke) does all three in this order.
extends_documentation_fragment:
  - zerotrust.pomerium._acme
  - zerotrust.pomerium._acme.attributes
attributes:
  check_mode:
    details:
      - A CA does not tell whether a certificate is revoked without being asked to revoke it, so that check mode always
        says that it would be.
  diff_mode:
    description: Returns details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: full
options:
  certificate_path:
    description:
      - Path of the certificate (PEM). Of a chain, the first one is revoked.
      - Exactly one of O(certificate_path) and O(certificate_content) is needed.
    type: path
    aliases: [certificate]
  certificate_content:
    description:
      - The same as PEM text.
    type: str
  private_key_path:
    description:
      - Path of the certificate's own private key (PEM), which then signs in the place of the account key.
      - Proves a compromise. Let's Encrypt takes V(keyCompromise) only so, and blocks the key for ever.
    type: path
    aliases: [private_key_src]
  private_key_content:
    description:
      - The same as PEM text.
    type: str
  private_key_passphrase:
    description:
      - Passphrase of an encrypted private key.
    type: str
  reason:
    description:
      - Why, by a name of RFC 5280 section 5.3.1, V(unspecified), V(keyCompromise), V(affiliationChanged),
        V(superseded), V(cessationOfOperation) and so on, or by its code, V(0) to V(10).
      - CAs take some of them only; Let's Encrypt V(unspecified), V(keyCompromise), V(superseded) and
        V(cessationOfOperation).
    type: str
    default: unspecified
    aliases: [revoke_reason]
seealso:
  - module: zerotrust.pomerium.acme_certificate
    description: Reissues with O(zerotrust.pomerium.acme_certificate#module:replace_version).
"""

EXAMPLES = r"""
- name: Revoke a certificate that is not needed any more
  zerotrust.pomerium.acme_revoke:
    acme_directory: https://acme-staging-v02.api.letsencrypt.org/directory
    account_key_path: /srv/acme/account.pem
    certificate_path: /srv/acme/corp.pem
    reason: cessationOfOperation
  delegate_to: localhost
  run_once: true

- name: Revoke one whose key has leaked, with that key
  zerotrust.pomerium.acme_revoke:
    acme_directory: https://acme-staging-v02.api.letsencrypt.org/directory
    certificate_path: /srv/acme/corp.pem
    private_key_path: /srv/acme/corp.key
    reason: keyCompromise
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
revoked:
  description: Whether the certificate is revoked now; V(false) in check mode where it would be.
  returned: success
  type: bool
  sample: true
names:
  description: DNS names on the certificate.
  returned: success
  type: list
  elements: str
  sample: ["*.corp.example.com", corp.example.com]
serial:
  description: Serial number in hexadecimal.
  returned: success
  type: str
  sample: 3a9f2c55d1e0b7
not_after:
  description: End of its validity.
  returned: success
  type: str
  sample: "2027-02-22T10:00:00Z"
issuer:
  description: Distinguished name of the issuer (RFC 4514).
  returned: success
  type: str
  sample: CN=YE1,O=Let's Encrypt,C=US
fingerprint_sha256:
  description: SHA-256 of the certificate in hexadecimal.
  returned: success
  type: str
  sample: 9b2c0f0d1f6a5d7bb41de10a1d4a2a79a96c8a2e2e8d2ac0bd1f8c2f0f9f2e5a
"""

from ..module_utils._acme.options import acme_spec
from ..module_utils._acme.revoke import revoke_certificate
from ..module_utils._run import run


def main() -> None:
    """Run the module."""
    run(
        acme_spec(
            account_key_required=False,
            mutually_exclusive=[
                ["certificate_path", "certificate_content"],
                ["private_key_path", "private_key_content"],
            ],
            required_one_of=[
                ["certificate_path", "certificate_content"],
                ["account_key_path", "account_key_content", "private_key_path", "private_key_content"],
            ],
            certificate_path={"type": "path", "aliases": ["certificate"]},
            certificate_content={"type": "str"},
            private_key_path={"type": "path", "aliases": ["private_key_src"]},
            private_key_content={"type": "str", "no_log": True},
            private_key_passphrase={"type": "str", "no_log": True},
            reason={"type": "str", "default": "unspecified", "aliases": ["revoke_reason"]},
        ),
        revoke_certificate,
        needs=("acme", "cryptography"),
    )


if __name__ == "__main__":
    main()
