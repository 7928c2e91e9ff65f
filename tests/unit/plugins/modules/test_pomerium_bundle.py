# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is sent to a Pomerium host is its own half, and nothing of the controller's."""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import steps

COLLECTIONS = Path(steps.__file__).resolve().parents[6]
PLUGINS = "ansible_collections/zerotrust/pomerium/plugins/"
SHARED = {"_errors.py", "_files.py", "_lock.py", "_run.py", "_versions.py", "_wait.py", "_given.py"}


def payload(tmp_path: Path) -> list[str]:
    """Run the module with Ansible's files kept, and list the archive that it was sent as."""
    kept = tmp_path / "kept"
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_KEEP_REMOTE_FILES": "1",
        "ANSIBLE_REMOTE_TMP": str(kept),
        "ANSIBLE_HOME": str(tmp_path / "home"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    command = [str(Path(sys.executable).with_name("ansible")), "localhost", "-m", "zerotrust.pomerium.pomerium_bundle"]
    arguments = ["-a", f"step=look directory={tmp_path}/tls config_path={tmp_path}/none.yaml service=none"]
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    sent = next(kept.rglob("AnsiballZ_pomerium_bundle.py")).read_text()
    longest = max(re.findall(r"[A-Za-z0-9+/=]{1000,}", sent), key=len)
    return zipfile.ZipFile(io.BytesIO(base64.b64decode(longest))).namelist()


def test_the_payload_is_the_host_s_half_and_no_more(tmp_path: Path) -> None:
    own = {name[len(PLUGINS) :] for name in payload(tmp_path) if name.startswith(PLUGINS)}
    own = {name for name in own if not name.endswith("__init__.py")}
    host = {f"module_utils/_host/{path.name}" for path in Path(steps.__file__).parent.glob("*.py")}
    allowed = host | {f"module_utils/{name}" for name in SHARED} | {"modules/pomerium_bundle.py"}
    assert own <= allowed
    assert host <= own
