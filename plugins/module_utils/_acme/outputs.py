# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files that acme_finalize writes: key and certificate replaced together, or both left as they were.

Private to this collection.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from dataclasses import dataclass

from .. import _files
from .._errors import BadInput, UserError
from .._pki import keys
from .._pki.chain import Chain


@dataclass(frozen=True)
class Outputs:
    """Where to write; what is None is not written. A key of ours is staged beside `key_path` until it is certified."""

    key_path: str | None
    certificate_path: str | None
    chain_path: str | None
    fullchain_path: str | None

    @classmethod
    def from_options(cls, params: t.Mapping[str, t.Any]) -> Outputs:
        """Read the options. Raises BadInput where a directory is missing, or no key and no place for one is given."""
        outputs = cls(
            key_path=params.get("private_key_dest"),
            certificate_path=params.get("certificate_path"),
            chain_path=params.get("chain_path"),
            fullchain_path=params.get("fullchain_path"),
        )
        for option in ("private_key_dest", "certificate_path", "chain_path", "fullchain_path"):
            path = params.get(option)
            if path is not None and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
                raise BadInput(option, path, "its directory does not exist", remedy="Make it first.")
        return outputs

    @property
    def _staged_path(self) -> str:
        return f"{self.key_path}.pending"

    def key(self, key_type: str, *, finished: bool) -> keys.PrivateKey:
        """Give the key to certify: the staged one, that of a `finished` order, or a new one that is on disk first.

        Raises UserError where the key of a finished order is lost.
        """
        for path in (self._staged_path, self.key_path if finished else None):
            if path is not None and os.path.exists(path):
                return keys.load(_files.read_bytes(path))
        if finished:
            raise UserError(
                "The order is finished, but the key it was finalized with is not here",
                name=self.key_path,
                remedy="Give it with private_key_path, or place a new order (acme_order with renew: true).",
            )
        key = keys.generate(key_type)
        _write({self._staged_path: (keys.to_pem(key), 0o600)})
        return key

    def write(self, chain: Chain, key: keys.PrivateKey | None, *, check: bool) -> bool:
        """Write what differs and tell whether anything did: all is written beside first, then renamed back to back."""
        wanted = {
            self.key_path: (keys.to_pem(key), 0o600) if key else None,
            self.certificate_path: (chain.pem(issuers=False), 0o644),
            self.chain_path: (chain.pem(leaf=False), 0o644),
            self.fullchain_path: (chain.pem(), 0o644),
        }
        differing = {
            path: content
            for path, content in wanted.items()
            if path is not None and content is not None and not _is_right(path, *content)
        }
        if not check:
            _write(differing)
            if key is not None:  # also where a killed run had got that far: the next order must not get this key
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._staged_path)
        return bool(differing)


def _write(files: t.Mapping[str, tuple[bytes, int]]) -> None:
    try:
        _files.write_together(files)
    except OSError as error:
        raise UserError(
            "The files cannot be written",
            name=error.filename or ", ".join(files),
            answer=error.strerror,
            remedy="Free space, or mend the rights of the directory; then run again: the same order goes on.",
        ) from error


def _is_right(path: str, data: bytes, mode: int) -> bool:
    try:
        return _files.read_bytes(path) == data and _files.has_mode(path, mode)
    except OSError:
        return False
