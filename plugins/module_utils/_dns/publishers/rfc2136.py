# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records by DNS UPDATE (RFC 2136), signed by TSIG (RFC 8945). Private to this collection."""

from __future__ import annotations

import typing as t

from ..publisher import Publisher

if t.TYPE_CHECKING:
    from ..records import DnsRecord

ALGORITHMS = ("hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1", "hmac-md5")


class Rfc2136(Publisher):
    """Sends updates to the zone's primary server."""

    OPTIONS: t.ClassVar[dict[str, t.Any]] = {
        "server": {"type": "str"},
        "port": {"type": "int", "default": 53},
        "key_name": {"type": "str"},
        "key_secret": {"type": "str", "no_log": True},
        "key_algorithm": {"type": "str", "choices": list(ALGORITHMS), "default": "hmac-sha256"},
    }
    REQUIRED = ("server",)

    def add(self, records: t.Sequence[DnsRecord]) -> None:
        raise NotImplementedError

    def remove(self, records: t.Sequence[DnsRecord]) -> None:
        raise NotImplementedError
