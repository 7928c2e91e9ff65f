# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pairs of files and configurations for the stand-in of Pomerium: what its tests share."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Issued
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost

NAME = "app.corp.example.com"


class Pair(t.NamedTuple):
    """Where a certificate and its key lie."""

    certificate: Path
    key: Path

    @property
    def settings(self) -> str:
        return f"certificate_file: {self.certificate}\ncertificate_key_file: {self.key}\n"

    @property
    def item(self) -> str:
        return f"  - {{cert: {self.certificate}, key: {self.key}}}\n"

    def put(self, issued: Issued) -> Issued:
        """Replace both by renames, the key first."""
        for path, content in ((self.key, issued.key_pem), (self.certificate, issued.fullchain_pem)):
            put(path, content)
        return issued


def put(path: Path, content: bytes) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_bytes(content)
    scratch.rename(path)


def configure(host: PomeriumHost, *settings: str) -> None:
    host.config_path.write_text(host.original_config_text + "\n" + "".join(settings))


def serial(host: PomeriumHost, name: str | None = NAME) -> int:
    return host.served(name).leaf.serial_number
