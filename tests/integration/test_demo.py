# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make demo`, which checks each claim before it prints it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).parents[1] / "lab/demo.py"


def test_the_demo_is_as_told() -> None:
    done = subprocess.run(
        [sys.executable, str(DEMO)], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    assert done.returncode == 0, done.stdout
    assert "Verified against the CA's root" in done.stdout
