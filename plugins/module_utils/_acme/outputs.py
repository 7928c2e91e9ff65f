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
from .._pki.chain import Chain, describe, is_test_issuer, iso, parse_chain
from .memory import utc_now

WRITTEN = ("private_key_dest", "certificate_path", "chain_path", "fullchain_path")
READ = ("account_key_path", "account_file", "ca_path", "private_key_path", "csr_path", "state_path")
"""Options of acme_finalize that name a file."""


@dataclass(frozen=True)
class Outputs:
    """Where to write; what is None is not written. A key of ours is staged beside `key_path` until it is certified."""

    key_path: str | None
    certificate_path: str | None
    chain_path: str | None
    fullchain_path: str | None

    @classmethod
    def from_options(cls, params: t.Mapping[str, t.Any]) -> Outputs:
        """Read the options. Raises BadInput where a directory is missing, or one file would overwrite another."""
        outputs = cls(
            key_path=params.get("private_key_dest"),
            certificate_path=params.get("certificate_path"),
            chain_path=params.get("chain_path"),
            fullchain_path=params.get("fullchain_path"),
        )
        users = {_place(params[option]): option for option in READ if params.get(option)}
        for option, path in [(option, params[option]) for option in WRITTEN if params.get(option)]:
            if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
                raise BadInput(option, path, "its directory does not exist", remedy="Make it first.")
            other = users.setdefault(_place(path), option)
            if other != option:
                raise BadInput(option, path, f"this is the path of {other} too", remedy="Give each file its own path.")
        return outputs

    @property
    def _staged_path(self) -> str:
        return f"{self.key_path}.pending"

    def key(self, key_type: str, *, is_requested: bool) -> keys.PrivateKey:
        """Give the key to certify: the staged one, or a new one that is on disk first.

        Once the CA has the request (`is_requested`) no other key will do, whatever type is wanted by now; after the
        files were written it is at its place. Raises UserError where it is lost.
        """
        for path in (self._staged_path, self.key_path if is_requested else None):
            key = _key(path)
            if key is not None and (is_requested or keys.key_type(key.public_key()) == key_type):
                return key
        if is_requested:
            raise UserError(
                "The CA has a request for this order already, but the key that it was made with is not here",
                name=self.key_path,
                remedy="Give it with private_key_path, or place a new order (acme_order with renew: true).",
            )
        key = keys.generate(key_type)
        _write({self._staged_path: (keys.to_pem(key), 0o600)})
        return key

    def write(
        self, chain: Chain, key: keys.PrivateKey | None, *, allow_staging: bool, check: bool
    ) -> dict[str, dict[str, str]]:
        """Write what differs: all is written beside first, then renamed back to back.

        Gives `before` and `after` of each file that differs, in words, never a key. Raises BadInput where a staging
        certificate would replace a production one (R38).
        """
        if not allow_staging and is_test_issuer(chain.leaf):
            self._keep_production(chain)
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
        before = {path: _in_words(_read(path)) for path in differing}
        if not check:
            _write(differing)
            if key is not None:  # also where a killed run had got that far: the next order must not get this key
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._staged_path)
        return {"before": before, "after": {path: _in_words(data) for path, (data, mode) in differing.items()}}

    def _keep_production(self, chain: Chain) -> None:
        """Refuse to replace a certificate that is valid and not of a test CA. Raises BadInput."""
        for path in (self.fullchain_path, self.certificate_path):
            there = _leaf(_read(path)) if path else None
            if there is not None and not is_test_issuer(there) and there.not_valid_after_utc > utc_now():
                raise BadInput(
                    "allow_staging",
                    False,
                    f"the new certificate is of a test CA ({chain.ends_at}), and the one at {path} is not",
                    remedy="Order at the production CA (acme_directory), write elsewhere, or set allow_staging: true.",
                )


def _place(path: str) -> str:
    """Give the one spelling of a path to write to; a link there would be replaced, its directory's are followed."""
    directory, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(directory), name)


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


def _read(path: str) -> bytes:
    """Give what is there by now, nothing where there is no file or it cannot be read."""
    return _files.read_if_there(path) or b""


def _key(path: str | None) -> keys.PrivateKey | None:
    return _key_of(_read(path)) if path else None


def _key_of(data: bytes) -> keys.PrivateKey | None:
    """Read a private key; None where it is none, or a damaged one."""
    try:
        return keys.load(data)
    except UserError:
        return None


def _leaf(data: bytes) -> t.Any:
    """Read the first certificate of a file; None where there is none."""
    try:
        return parse_chain(data).leaf
    except UserError:
        return None


def _in_words(data: bytes) -> str:
    """Say for a diff what a file is: a certificate's names, serial and end; of a key no more than that it is one."""
    leaf = _leaf(data)
    if leaf is not None:
        facts = describe(leaf)
        return f"{', '.join(facts.names)}, serial {facts.serial}, until {iso(facts.not_after)}"
    key = _key_of(data)
    if key is not None:
        return f"the private key to the public key {keys.public_sha256(key.public_key())[:16]}..."
    return "something else" if data else "absent"


def _is_right(path: str, data: bytes, mode: int) -> bool:
    try:
        return _files.read_bytes(path) == data and _files.has_mode(path, mode)
    except OSError:
        return False
