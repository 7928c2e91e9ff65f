# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run that was killed leaves on a host, of each kind."""

from __future__ import annotations

import typing as t
from pathlib import Path


def leave(host: t.Any) -> list[Path]:
    """Leave it, and name it."""
    etc, home = host.config_path.parent, host.home
    version = home / "versions" / ".new-abcd1234"
    version.mkdir(parents=True)
    (version / ".privkey.pem.abcd1234.zerotrust-new").write_text("secret")
    files = [
        etc / ".config.yaml.abcd1234.zerotrust-new",
        etc / ".config.yaml.2026-11-24T101512Z~.abcd1234.zerotrust-new",
        home / ".proven.json.abcd1234.zerotrust-new",
    ]
    for path in files:
        path.write_text("secret")
    links = [home / ".current.12345", home / ".current.back"]
    for link in links:
        link.symlink_to("versions/v0")
    return [*files, *links, version]
