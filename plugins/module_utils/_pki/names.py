# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DNS names on certificates: what a user may write, the form a CA wants, and which name covers which.

Private to this collection.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .._errors import BadInput

LONGEST = 253 - len("_acme-challenge.")
"""A DNS name has 253 characters at most, and so has the one at which control of it is proven."""

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)\Z")


@dataclass(frozen=True)
class Name:
    """A DNS identifier: `ascii` is sent to the CA (A-labels, lower case), `shown` says both forms of an IDN."""

    ascii: str
    shown: str

    @property
    def is_wildcard(self) -> bool:
        """Tell whether it stands for all names one label below its base."""
        return self.ascii.startswith("*.")

    @property
    def base(self) -> str:
        """The name without `*.`: where the challenge record belongs (RFC 8555 section 7.1.3)."""
        return self.ascii[2:] if self.is_wildcard else self.ascii

    def __str__(self) -> str:
        return self.ascii


def _refuse(text: str, why: str, remedy: str) -> t.NoReturn:
    raise BadInput("identifiers", text, why, remedy=remedy)


def _to_a_labels(text: str, given: str) -> str:
    """Turn an internationalised name into A-labels (IDNA 2008 with UTS 46 mapping, as browsers do)."""
    import idna

    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        _refuse(given, f"not a valid internationalised name ({error})", "Write it as in the browser's address bar.")


def _to_u_labels(ascii_name: str) -> str:
    """Show a name with its A-labels decoded; one that does not decode is shown as it is."""
    import idna

    try:
        return idna.decode(ascii_name)
    except idna.IDNAError:
        return ascii_name


def parse_name(given: str) -> Name:
    """Check one identifier as a user wrote it (`*.corp.example.com`, upper case and U-labels are fine).

    Raises BadInput for what no CA would take: URLs, empty, too long or malformed labels, a `*` that is not the
    whole first label, a single label, an IP address.
    """
    text = given.strip().lower()
    if not text:
        _refuse(given, "an empty name", "Remove it, or write a DNS name like *.corp.example.com.")
    if "://" in text or "/" in text or "@" in text or ":" in text:
        _refuse(given, "not a DNS name", "Write the name alone, without scheme, port or path: app.example.com.")
    base = text[2:] if text.startswith("*.") else text
    if "*" in base:
        _refuse(given, "a wildcard must be the whole first label, once", "Write *.corp.example.com.")
    if not base.isascii():
        base = _to_a_labels(base, given)
    base = base[:-1] if base.endswith(".") else base
    labels = base.split(".")
    for label in labels:
        _check_label(label, given)
    if len(base) > LONGEST:
        _refuse(given, f"longer than {LONGEST} characters, no challenge record fits below it", "Shorten it.")
    if len(labels) < 2:
        _refuse(given, "a single label, no public name", "Write the full name, like app.example.com.")
    if labels[-1].isdigit():
        _refuse(given, "an IP address, not a DNS name", "Certificates for Pomerium are for names.")
    ascii_name = f"*.{base}" if text.startswith("*.") else base
    shown = ascii_name
    if "xn--" in base:
        unicode_base = _to_u_labels(base)
        if unicode_base != base:
            shown = f"{'*.' if text.startswith('*.') else ''}{unicode_base} ({ascii_name})"
    return Name(ascii_name, shown)


def _check_label(label: str, given: str) -> None:
    if not label:
        _refuse(given, "it has an empty label", "Remove the dot that is too much.")
    if "_" in label:
        _refuse(given, f"label {label!r} has an underscore", "CAs issue for host names only: a-z, 0-9 and '-'.")
    if len(label) > 63:
        _refuse(given, f"a label of {len(label)} octets, 63 is the most", "Shorten it.")
    if not _LABEL.match(label):
        _refuse(given, f"label {label!r} is malformed", "Use a-z, 0-9 and '-', with no '-' at either end.")


def covers(pattern: str, name: str) -> bool:
    """Tell whether a certificate name covers a name (RFC 6125: `*` is one whole label). Both in ASCII form."""
    if pattern == name:
        return True
    return pattern.startswith("*.") and not name.startswith("*.") and name.partition(".")[2] == pattern[2:]


def parse_identifiers(given: t.Sequence[str]) -> list[Name]:
    """Check the identifiers of an order, keep their order, drop repetitions.

    Each may hold several, split on commas and white space, as a person types them into a survey.
    Raises BadInput where none is given, one is malformed, or one is redundant: CAs refuse `www.x` beside `*.x`.
    """
    names: list[Name] = []
    words = [word for item in given for word in (re.findall(r"[^\s,]+", item) or [""])]
    for word in words if any(words) else ():
        name = parse_name(word)
        if name.ascii not in (known.ascii for known in names):
            names.append(name)
    if not names:
        raise BadInput("identifiers", None, "no names given", remedy="Give at least one, like *.corp.example.com.")
    for name in names:
        for wildcard in names:
            if wildcard.is_wildcard and name is not wildcard and covers(wildcard.ascii, name.ascii):
                _refuse(name.ascii, f"redundant, {wildcard} covers it already and CAs refuse both", "Remove it.")
    return names
