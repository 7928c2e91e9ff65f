# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors that a person can act on: what happened, to what, what was answered, what to do.

    UserError            anything a user can mend; becomes `fail_json` in `_run.py`, its facts become return values
    ├── BadInput         an option, a file or a variable is wrong; nothing was changed
    └── AcmeProblem      the CA refused (in `_acme/problems.py`)

Any other exception is a bug of ours and keeps its traceback. Standard library only: this file also runs on hosts.
Private to this collection.
"""

from __future__ import annotations

import typing as t


class UserError(Exception):
    """Say `what` happened, for which `name`, what was answered, and the remedy; `facts` become return values."""

    def __init__(
        self,
        what: str,
        *,
        name: str | None = None,
        answer: str | None = None,
        remedy: str | None = None,
        **facts: t.Any,
    ) -> None:
        self.what = what
        self.name = name
        self.answer = answer
        self.remedy = remedy
        self.facts = facts
        super().__init__(self._sentence())

    def advise(self, remedy: str) -> None:
        """Give another remedy, where a caller knows better what to do."""
        self.remedy = remedy
        self.args = (self._sentence(),)

    def _sentence(self) -> str:
        text = self.what.rstrip(".")
        if self.name:
            text += f" for {self.name}"
        if self.answer:
            text += f": {self.answer.rstrip('.')}"
        return f"{text}. {self.remedy}" if self.remedy else f"{text}."


class BadInput(UserError):
    """Refuse what a user gave, before anything is changed: names the option, the value, why, and the remedy.

    `value` is shown as it was given, so it must never be a secret.
    """

    def __init__(self, option: str, value: object, why: str, *, remedy: str | None = None, **facts: t.Any) -> None:
        shown = "" if value is None else f" {str(value)!r}"
        super().__init__(f"{option}{shown}: {why}", remedy=remedy, **facts)
        self.option = option
        self.why = why
