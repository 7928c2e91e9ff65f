# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run that was killed has left on a host: nothing that Pomerium reads, but some of it holds secrets.

Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import os

from .. import _files
from .._versions import Versions
from .backups import SUFFIX
from .hold import LIFTED
from .hold import NAME as HOLD
from .pending import find_litter
from .record import NAME as RECORD


def find_leftovers(home: str, config_path: str) -> list[str]:
    """Name it: half of a version, an order that is over, and files that were written beside the one that they were to
    replace."""
    found = [*Versions(home).leftovers(), *find_litter(home)]
    for path in (config_path, os.path.join(home, RECORD), os.path.join(home, HOLD)):
        found += _files.find_leftovers(path)
    found += _files.find_leftovers(config_path, suffix=SUFFIX)
    lifted = os.path.join(home, LIFTED)
    return [*found, lifted] if os.path.exists(lifted) else found
