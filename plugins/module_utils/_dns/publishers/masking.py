# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets masked in what somebody else said: a command, a provider, a server. Private to this collection."""

from __future__ import annotations

import base64
import typing as t
from urllib.parse import quote, quote_plus

MASK = "********"


def mask(text: str, secrets: t.Iterable[str]) -> str:
    """Mask secrets in all forms in which they are sent: as they are, as part of an URL, in base64.

    Each line of one is a secret too, since one of many may be shown.
    """
    lines = {line.strip() for secret in secrets for line in (secret, *secret.splitlines())} - {""}
    forms = lines | {base64.b64encode(line.encode()).decode() for line in lines}
    forms |= {form for line in lines for form in (quote(line), quote(line, safe=""), quote_plus(line))}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text
