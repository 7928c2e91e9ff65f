# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a certificate is due, why, and from when on: by fraction of its own lifetime, never by a number of days.

The one place of the rule; renewal information of the CA (ARI) joins it here. Needs no CA and none of its libraries.
Private to this collection.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime, timedelta

if t.TYPE_CHECKING:
    from .._store.lineage import Bundle
    from .order import Wish

SHORT_LIFETIME = timedelta(days=10)
"""Below it, half of the lifetime must be left (Let's Encrypt's six-day certificates); else a third."""


@dataclass(frozen=True)
class Decision:
    """`reasons` why a certificate is due (empty: it is not), and when it becomes due by its age."""

    reasons: tuple[str, ...]
    renew_at: datetime | None

    @property
    def is_due(self) -> bool:
        """Tell whether there is a reason."""
        return bool(self.reasons)


def renew_at(not_before: datetime, not_after: datetime) -> datetime:
    """Give the moment from which on a certificate is renewed: a third of its lifetime left, half where it is short."""
    lifetime = not_after - not_before
    left = lifetime / 2 if lifetime < SHORT_LIFETIME else lifetime / 3
    return not_after - left


def decide(
    bundle: Bundle | None, wish: Wish, *, directory: str, key_type: str, now: datetime, unwanted: str | None = None
) -> Decision:
    """Compare what is there with what is wanted.

    Reasons: `missing`, `directory` (another CA's, so staging never passes for production), `names`, `key_type`,
    `profile`, `revoked` (it is the version that is `unwanted`), `expired`, `expiring`.
    """
    if bundle is None:
        return Decision(("missing",), None)
    facts = bundle.facts
    moment = renew_at(facts.not_before, facts.not_after)
    found = (
        ("directory", bundle.meta.get("directory") != directory),
        ("names", set(facts.names) != set(wish.names)),
        ("key_type", facts.key_type != key_type),
        ("profile", (bundle.meta.get("profile") or None) != (wish.profile or None)),
        ("revoked", bundle.version == unwanted),
        ("expired", facts.not_after <= now),
        ("expiring", moment <= now < facts.not_after),
    )
    return Decision(tuple(reason for reason, holds in found if holds), moment)
