# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Request bodies with fields that the `acme` library lacks, by its own hooks (notes/acme.md 2.3).

Loaded only when the CA is really asked. Private to this collection.
"""

from __future__ import annotations

try:
    import josepy
    from acme import messages
except ImportError:
    pass
else:

    class NewOrder(messages.NewOrder):
        """A new order that may name the certificate that it replaces (RFC 9773 section 5)."""

        replaces: str = josepy.field("replaces", omitempty=True)
