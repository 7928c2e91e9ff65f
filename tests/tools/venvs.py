# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Virtual environments in .cache for what cannot live in .venv: another Python, another Ansible, pins that clash."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

CACHE = Path(__file__).absolute().parents[5]


def can_make_venv(python: str) -> bool:
    """Tell whether a Python runs and brings venv along, which Debian keeps in a package of its own."""
    asked = [python, "-c", "import ensurepip, venv"]
    return subprocess.call(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def make_venv(name: str, python: str, wanted: t.Sequence[str]) -> Path:
    """Return the Python of .cache/NAME, which has what is wanted; made once, and again where the wish has changed."""
    where = CACHE / name
    own, stamp, wish = where / "bin" / "python", where / "complete", "\n".join([python, *wanted])
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wish:
        print(f"Making .cache/{name} with {python}", flush=True)
        subprocess.run([python, "-m", "venv", "--clear", str(where)], check=True)
        subprocess.run([str(own), "-m", "pip", "install", "--quiet", *wanted], check=True)
        stamp.write_text(wish, encoding="utf-8")
    return own
