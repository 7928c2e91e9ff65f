# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records by the API of a DNS provider, through dns-lexicon. Private to this collection."""

from __future__ import annotations

import typing as t

from ..publisher import Publisher

if t.TYPE_CHECKING:
    from ..records import DnsRecord


class Lexicon(Publisher):
    """Has lexicon write, in a process of its own that can be killed."""

    OPTIONS: t.ClassVar[dict[str, t.Any]] = {
        "provider": {"type": "str"},
        "options": {"type": "dict"},
        "secrets": {"type": "dict", "no_log": True},
    }
    REQUIRED = ("provider",)

    def add(self, records: t.Sequence[DnsRecord]) -> None:
        raise NotImplementedError

    def remove(self, records: t.Sequence[DnsRecord]) -> None:
        raise NotImplementedError
