# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The small note beside `current`: what was set and proven last, so that the next look decides without the YAML.

As long as the configuration has the digest that is written here, its three keys and the address it listens on are
known without its text, which holds secrets. Nothing here is a secret.
Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import json
import os
import typing as t

from .. import _files

FORMAT = 1
NAME = "proven.json"


def read_record(home: str, name: str = NAME) -> dict[str, t.Any] | None:
    """Read the note, or another one beside it by its name; None where there is none, or another version of this
    collection wrote it in another form."""
    try:
        record = json.loads(_files.read_bytes(os.path.join(home, name)))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return None
    return record


def write_record(home: str, record: t.Mapping[str, t.Any], name: str = NAME) -> None:
    """Write the note, root only, and only where it says something new."""
    text = json.dumps({"format": FORMAT, **record}, indent=2, sort_keys=True) + "\n"
    if read_record(home, name) != json.loads(text):
        _files.write_file(os.path.join(home, name), text.encode())
