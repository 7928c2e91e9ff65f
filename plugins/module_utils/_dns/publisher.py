# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What publishes TXT records: two methods, and the options that it takes.

To add one: a file in `publishers/` with a class and its OPTIONS, a line in `publishers/choose.py`, and its sub-options
in the doc fragment `_publisher`. Private to this collection.
"""

from __future__ import annotations

import abc
import typing as t

from .._errors import BadInput, UserError
from .records import absolute, bare, relative

if t.TYPE_CHECKING:
    from .records import DnsRecord

OPTIONS: dict[str, t.Any] = {
    "zone": {"type": "str"},
    "ttl": {"type": "int", "default": 60},
    "timeout": {"type": "int", "default": 60},
}
"""What every publisher takes: the zone where it cannot be found out, the TTL, and the seconds for one attempt."""


class Publisher(abc.ABC):
    """Adds and removes values, one by one: what others have at the same name stays as it is (R13).

    The constructor takes the sub-options of `publisher` and raises BadInput for what cannot be right; nothing is asked
    yet. Both methods may be called again with the same records, also after they were killed half way.
    """

    OPTIONS: t.ClassVar[dict[str, t.Any]] = {}
    """The argument spec of its own sub-options."""

    REQUIRED: t.ClassVar[tuple[str, ...]] = ()
    """Those of them that must be given."""

    REMOVES: t.ClassVar[bool] = True
    """Whether values can be removed there; else they stay until others take their places."""

    def __init__(self, options: t.Mapping[str, t.Any]) -> None:
        self.options = options
        self.zone: str | None = options.get("zone")
        self.ttl: int = options["ttl"]
        self.timeout: float = options["timeout"]
        if self.ttl < 0:
            raise BadInput("publisher.ttl", self.ttl, "not a number of seconds", remedy="Give 60 or so.")
        if self.timeout <= 0:
            raise BadInput("publisher.timeout", options["timeout"], "not a number of seconds", remedy="Give 60 or so.")

    @property
    def delegation(self) -> t.Mapping[str, str]:
        """The names that it writes for challenge names, where it alone knows them."""
        return {}

    def prepare(self, names: t.Sequence[str]) -> None:  # noqa: B027  # most have nothing to find out
        """Find out, before an order is placed, what would be in the way of records at these names. Raises UserError."""

    @abc.abstractmethod
    def add(self, records: t.Sequence[DnsRecord]) -> None:
        """Have all entries of these records in their zones. Raises UserError that says what the other side answered."""

    @abc.abstractmethod
    def remove(self, records: t.Sequence[DnsRecord]) -> None:
        """Have no entry of these records in their zones; one that is not there is fine. Raises UserError."""

    def zone_of(self, record: DnsRecord) -> str:
        """Give the zone to write in, without final dot. Raises UserError where DNS does not tell, BadInput where the
        given one does not hold the name."""
        zone, name = self.zone or record.zone, bare(record.name)
        if not zone:
            raise UserError("The zone to write in is not known", name=name, remedy="Give it in publisher.zone.")
        if relative(name, zone=zone) is None:
            raise BadInput("publisher.zone", zone, f"{name} does not lie in it", remedy="Give the zone that holds it.")
        return bare(absolute(zone))


ChoosePublisher = t.Callable[[t.Mapping[str, t.Any]], "Publisher | None"]
"""Makes the publisher that a module's options name; None where they name none."""
