# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records by a command of the user's own, called as lego's exec provider calls it. Private to this collection."""

from __future__ import annotations

import typing as t

from ..publisher import Publisher

if t.TYPE_CHECKING:
    from ..records import DnsRecord


class Exec(Publisher):
    """Runs `COMMAND present|cleanup FQDN. VALUE` for each value."""

    OPTIONS: t.ClassVar[dict[str, t.Any]] = {
        "command": {"type": "list", "elements": "str"},
        "environment": {"type": "dict"},
        "secrets": {"type": "dict", "no_log": True},
    }
    REQUIRED = ("command",)

    def add(self, records: t.Sequence[DnsRecord]) -> None:
        raise NotImplementedError

    def remove(self, records: t.Sequence[DnsRecord]) -> None:
        raise NotImplementedError
