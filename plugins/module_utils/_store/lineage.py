# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lineages on disk: the successive certificates for one set of names, what is pending, and what was learned.

    STORE/lineages/<name>/pending/     order.json (no secrets), privkey.pem (before the CA is asked to sign for it)
    STORE/lineages/<name>/versions/<UTC time>-<serial>/  privkey cert chain fullchain ca (.pem), meta.json, meta.sig
    STORE/lineages/<name>/current -> versions/...
    STORE/lineages/<name>/state.json

Everything is written whole or not at all, fsynced, and 0600 at every instant. Whoever changes something holds `lock`.
With the fleet as the store this tree is made anew for each run of what the hosts keep (`adopt`); their keys stay on
them, and `put_key` adds the one that is needed.
Private to this collection.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone

from .. import _files
from .._errors import BadInput, UserError
from .._lock import hold_lock
from .._pki import chain as chains
from .._pki import keys
from .._versions import Content, Versions

KEEP_VERSIONS = 5
LOCK_SECONDS = 600.0
"""Longer than the other run's own waits for the CA usually are."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")


@dataclass(frozen=True)
class Bundle:
    """A version that was read and found whole: the key matches the leaf. `meta` is what was noted when it was made.

    `has_key` is false where the key lies on hosts only.
    """

    version: str
    path: str
    chain: chains.Chain
    meta: t.Mapping[str, t.Any]
    has_key: bool = True

    @property
    def facts(self) -> chains.Facts:
        """What the leaf says."""
        return chains.describe(self.chain.leaf)


class Lineage:
    """One lineage below a store. Raises BadInput for a name that is no safe directory name.

    With `is_fleet`, what hosts keep is its store too: a certificate counts also without its key.
    """

    def __init__(self, store_path: str, name: str, *, is_fleet: bool = False) -> None:
        if not _NAME.match(name):
            raise BadInput("name", name, "not a lineage name", remedy="Use a-z, 0-9, '.', '_' and '-'.")
        self.path = os.path.join(os.path.abspath(store_path), "lineages", name)
        self.store_path = store_path
        self.is_fleet = is_fleet
        self.versions = Versions(self.path)
        self.order_path = os.path.join(self.path, "pending", "order.json")
        self.key_path = os.path.join(self.path, "pending", "privkey.pem")
        self.state_path = os.path.join(self.path, "state.json")

    @contextlib.contextmanager
    def lock(self) -> t.Iterator[None]:
        """Keep other runs away from this lineage; a killed run's lock is free at once."""
        with self._writing():
            _files.make_directory(self.path)
        with hold_lock(os.path.join(self.path, "lock"), within=LOCK_SECONDS):
            yield

    def check_writable(self) -> None:
        """Find out that the disk is full or read-only before an order is placed (R39). Raises BadInput."""
        probe = os.path.join(self.path, "pending", ".probe")
        with self._writing():
            _files.make_directory(os.path.dirname(probe))
            _files.write_file(probe, b"\0" * 65536)
            os.unlink(probe)

    @contextlib.contextmanager
    def _writing(self) -> t.Iterator[None]:
        """Turn what the file system says into an error for the user: a full disk is no bug of ours."""
        try:
            yield
        except OSError as error:
            raise BadInput(
                "store_path",
                self.store_path,
                f"cannot be written ({error.strerror})",
                remedy="Free space, mend its rights, or give another path.",
            ) from error

    def current(self) -> Bundle | None:
        """Read the version in use; None where there is none, or it is damaged (then a new certificate is due)."""
        version = self.versions.current()
        if version is None:
            return None
        path = self.versions.path(version)
        try:
            chain = chains.parse_chain(_files.read_bytes(os.path.join(path, "fullchain.pem")))
            has_key = os.path.exists(os.path.join(path, "privkey.pem")) or not self.is_fleet
            if has_key:
                key = keys.load(_files.read_bytes(os.path.join(path, "privkey.pem")))
                chains.check_key(chain, keys.public_sha256(key.public_key()))
            meta = json.loads(_files.read_bytes(os.path.join(path, "meta.json")).decode())
        except (OSError, ValueError, UserError):
            return None
        return Bundle(version, path, chain, meta, has_key) if isinstance(meta, dict) else None

    def paths(self) -> dict[str, str | None]:
        """Name the files of the version in use, through `current`; None where there is none.

        In a fleet the key's need not be there: `put_key` makes it.
        """
        names = {"privkey": "privkey", "cert": "cert", "chain": "chain", "fullchain": "fullchain", "ca": "ca"}
        there = self.versions.current() is not None
        return {key: os.path.join(self.versions.link, f"{name}.pem") if there else None for key, name in names.items()}

    def stage_key(self, key_type: str) -> keys.PrivateKey:
        """Give the key of the pending order: the staged one, or a new one that is on disk before it is returned."""
        try:
            key = keys.load(_files.read_bytes(self.key_path))
            if keys.key_type(key.public_key()) == key_type:
                return key
        except (OSError, UserError):
            pass
        key = keys.generate(key_type)
        with self._writing():
            _files.make_directory(os.path.dirname(self.key_path))
            _files.write_file(self.key_path, keys.to_pem(key))
        return key

    def staged_key(self) -> keys.PrivateKey | None:
        """Read the staged key; None where there is none or it is damaged."""
        try:
            return keys.load(_files.read_bytes(self.key_path))
        except (OSError, UserError):
            return None

    def drop_pending(self) -> None:
        """Forget the pending order and its key, the order first: a crash between leaves no order without key.

        What killed runs left half-written beside them goes too.
        """
        folder = os.path.dirname(self.order_path)
        litter = [name for name in os.listdir(folder) if name.startswith(".")] if os.path.isdir(folder) else []
        for path in (self.order_path, self.key_path, *(os.path.join(folder, name) for name in litter)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def state(self) -> dict[str, t.Any]:
        """Read what was learned (account, limits); a missing or damaged file is empty, since all of it can be lost."""
        try:
            state = json.loads(_files.read_bytes(self.state_path).decode())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def is_state(self, text: bytes | None) -> bool:
        """Tell whether a text says just what was learned, whenever that was; so does any where nothing was."""
        ours = self.state()
        try:
            return not ours or {**json.loads(text or b""), "saved_at": None} == {**ours, "saved_at": None}
        except (ValueError, TypeError, RecursionError):  # whatever a host keeps there
            return False

    def learn(self, **values: t.Any) -> None:
        """Add to what was learned; None forgets."""
        before = self.state()
        state = {key: value for key, value in {**before, **values}.items() if value is not None}
        if state != before:
            state["saved_at"] = chains.iso(datetime.now(timezone.utc))
            self.save_state(state)

    def save_state(self, state: t.Mapping[str, t.Any]) -> None:
        """Write what was learned, in place of what was."""
        with self._writing():
            _files.make_directory(self.path)
            _files.write_file(self.state_path, (json.dumps(state, indent=2) + "\n").encode())

    def adopt(self, chain: chains.Chain, meta: bytes, signature: bytes | None) -> None:
        """Make a certificate that hosts have the current version; its key stays with them."""
        contents = _certificate_files(chain, meta, signature)
        with self._writing():
            version = self.versions.add(chains.version_id(chain.leaf), contents)
            self.versions.switch(version)

    def put_key(self, pem: bytes) -> bool:
        """Put a key of a host at its place, that of the version in use or of the pending order; tell whether it is
        one of the two that is missing."""
        try:
            digest = keys.public_sha256(keys.load(pem).public_key())
        except UserError:
            return False
        bundle, pending = self.current(), self.pending_key()
        paths = [self.key_path] if pending and pending[1] == digest and not self.staged_key() else []
        if bundle is not None and not bundle.has_key and bundle.facts.public_sha256 == digest:
            paths.append(os.path.join(bundle.path, "privkey.pem"))
        for path in paths:
            _files.make_directory(os.path.dirname(path))
            _files.write_file(path, pem)
        return bool(paths)

    def pending_key(self) -> tuple[str, str] | None:
        """Give the URI of the pending order and the digest of its key's public half; None where it has no key yet."""
        try:
            order = json.loads(_files.read_bytes(self.order_path))["order"]
            return (str(order["order_uri"]), str(order["key_sha256"])) if order["key_sha256"] else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def commit(
        self, chain: chains.Chain, key: keys.PrivateKey, meta: t.Mapping[str, t.Any], account_key: keys.PrivateKey
    ) -> str:
        """Make a checked certificate with its key the current version, drop what was pending, return the version.

        `meta.sig` is the account key's signature over `meta.json`: a host cannot forge a bundle for the others.
        """
        noted = (json.dumps(meta, indent=2, sort_keys=True) + "\n").encode()
        contents = _certificate_files(chain, noted, keys.sign(account_key, noted))
        contents["privkey.pem"] = Content(keys.to_pem(key))
        with self._writing():
            version = self.versions.add(chains.version_id(chain.leaf), contents)
            self.versions.switch(version)
            self.drop_pending()
            self.versions.prune(KEEP_VERSIONS)
        return version


def _certificate_files(chain: chains.Chain, meta: bytes, signature: bytes | None) -> dict[str, Content]:
    """Give the files of a version, but for its key."""
    contents = {
        "cert.pem": chain.pem(issuers=False),
        "chain.pem": chain.pem(leaf=False),
        "fullchain.pem": chain.pem(),
        "ca.pem": chain.pem(leaf=False),
        "meta.json": meta,
        **({} if signature is None else {"meta.sig": signature}),
    }
    return {name: Content(data) for name, data in contents.items()}
