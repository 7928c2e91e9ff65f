# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates in PEM, as far as a host has to tell them apart. Standard library of Python 3.8 only.

Private to this collection.
"""

from __future__ import annotations

import re
import ssl

CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def first_leaf(pem: bytes) -> bytes | None:
    """Give the DER of the first certificate in PEM, or None."""
    match = CERTIFICATE.search(pem)
    if match is None:
        return None
    try:
        return ssl.PEM_cert_to_DER_cert(match.group().decode("ascii") + "\n")
    except ValueError:
        return None
