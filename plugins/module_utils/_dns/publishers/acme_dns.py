# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records at an acme-dns server, to which a CNAME made once leads. Private to this collection."""

from __future__ import annotations

import typing as t

from ..publisher import Publisher

if t.TYPE_CHECKING:
    from ..records import DnsRecord


class AcmeDns(Publisher):
    """Writes by the account that each base name has there."""

    OPTIONS: t.ClassVar[dict[str, t.Any]] = {
        "url": {"type": "str"},
        "accounts": {
            "type": "list",
            "elements": "dict",
            "options": {
                "domain": {"type": "str", "required": True},
                "subdomain": {"type": "str", "required": True},
                "fulldomain": {"type": "str", "required": True},
                "username": {"type": "str", "required": True},
                "password": {"type": "str", "required": True, "no_log": True},
            },
        },
        "accounts_path": {"type": "path"},
        "ca_path": {"type": "path"},
    }
    REQUIRED = ("url",)

    def add(self, records: t.Sequence[DnsRecord]) -> None:
        raise NotImplementedError

    def remove(self, records: t.Sequence[DnsRecord]) -> None:
        raise NotImplementedError
