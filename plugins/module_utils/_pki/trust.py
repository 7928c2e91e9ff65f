# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a chain that somebody hands us ends at a root that is trusted, as a client of the host would find it.

`cryptography` is imported when needed. Private to this collection.
"""

from __future__ import annotations

import ssl
import typing as t
import warnings
from datetime import datetime

from .chain import Chain, describe

if t.TYPE_CHECKING:
    from cryptography import x509


def system_roots() -> list[x509.Certificate]:
    """Give the roots that this system trusts; where OpenSSL names no file of them, those that Python's own clients
    use. One that `cryptography` cannot read is left out."""
    found = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not found:
        import certifi

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(certifi.where())
        found = context.get_ca_certs(binary_form=True)
    roots = (_read(der) for der in found)
    return [root for root in roots if root is not None]


def _read(der: bytes) -> x509.Certificate | None:
    from cryptography import x509

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of old roots whose serial number is none by today's rules
        try:
            return x509.load_der_x509_certificate(der)
        except ValueError:
            return None


def is_trusted(chain: Chain, roots: t.Sequence[x509.Certificate], *, now: datetime) -> bool:
    """Tell whether the leaf is one for a TLS server that is valid now, linked by its chain to one of these roots
    (RFC 5280 section 6, with the profile of the CA/Browser forum)."""
    from cryptography import x509
    from cryptography.x509 import verification

    names = describe(chain.leaf).names
    if not roots or not names:
        return False
    name = names[0].replace("*.", "any.", 1)
    try:
        policy = verification.PolicyBuilder().store(verification.Store(list(roots))).time(now)
        policy.build_server_verifier(x509.DNSName(name)).verify(chain.leaf, list(chain.certificates[1:]))
    except (verification.VerificationError, ValueError):
        return False
    return True
