# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs on a Pomerium host runs there under the oldest Python that we promise."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).absolute().parents[2]
UNITS = "tests/unit/plugins/module_utils/_host/"
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))


def is_found() -> bool:
    """Tell whether there is a Python 3.8; pyenv's own shim alone would only say that there is none."""
    on_path = shutil.which("python3.8")
    return bool(list(PYENV.glob("versions/3.8*/bin/python3.8"))) or bool(on_path and "shims" not in on_path)


@pytest.mark.skipif(not is_found(), reason="no Python 3.8 on this machine")
@pytest.mark.skipif(not (ROOT / UNITS).is_dir(), reason=f"no {UNITS} yet")
def test_the_units_of_host_pass_under_python_3_8() -> None:
    command = [
        sys.executable,
        str(ROOT / "tests/tools/run_ansible_test.py"),
        "units",
        "--venv",
        "--python",
        "3.8",
        UNITS,
    ]
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout
