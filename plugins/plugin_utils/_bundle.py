# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bundle that goes to a host: read on the controller, and refused here before any host is touched.

`cryptography` is imported when needed. Private to this collection.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime

from ..module_utils._errors import BadInput
from ..module_utils._pki import chain as chains
from ..module_utils._pki import keys, names

LARGEST_META = 65536


class File(t.NamedTuple):
    """What a file of the bundle holds, and its mode; the key is for root and Pomerium's group.

    A key without data is not at hand: the host has it, or cannot have this bundle.
    """

    data: bytes | None
    mode: int

    @property
    def sha256(self) -> str | None:
        """Digest of the content (hex)."""
        return None if self.data is None else hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Sources:
    """What the user gave, as bytes; `meta` and `signature` are what lay beside the chain. The key is None where it
    lies on hosts only."""

    fullchain: bytes
    private_key: bytes | None
    authority: bytes | None = None
    meta: bytes | None = None
    signature: bytes | None = None


@dataclass(frozen=True)
class Bundle:
    """A checked bundle: `files` by name, as they will lie in `versions/<version>/`."""

    facts: chains.Facts
    version: str
    is_test: bool
    sha256: str
    files: t.Mapping[str, File]

    @property
    def server_name(self) -> str:
        """The name to ask for in a handshake."""
        return name_to_ask(self.facts.names) or ""

    def with_authorities(self, more: str) -> Bundle:
        """Carry further CA certificates (PEM) in `ca.pem`, each once."""
        if not more.strip():
            return self
        own = (self.files["ca.pem"].data or b"") if "ca.pem" in self.files else b""
        authorities = dict.fromkeys(chains.parse_chain(own + more.encode()).certificates)
        return replace(self, files={**self.files, "ca.pem": File(chains.Chain(tuple(authorities)).pem(), 0o644)})


def make_bundle(sources: Sources, *, expect_names: t.Sequence[str], now: datetime) -> Bundle:
    """Check the sources and make a bundle of them. Raises UserError for whatever must not reach a host."""
    chain = chains.parse_chain(sources.fullchain)
    key = None if sources.private_key is None else keys.load(sources.private_key)
    issuers = chains.parse_chain(sources.authority).certificates if sources.authority else chain.certificates[1:]
    facts = chains.describe(chain.leaf)
    if key is not None:
        chains.check_key(chain, keys.public_sha256(key.public_key()))
    chains.check_links(chain, anchors=issuers)
    chains.check_dates(chain, now=now)
    chains.check_covers(chain, expected_names(expect_names))
    _check_kind(chain, facts)
    files = {"fullchain.pem": File(chain.pem(), 0o644), "privkey.pem": File(keys.to_pem(key) if key else None, 0o640)}
    if issuers:
        files["ca.pem"] = File(chains.Chain(tuple(issuers)).pem(), 0o644)
    files.update(_meta_files(sources, facts))
    return Bundle(
        facts=facts,
        version=chains.version_id(chain.leaf),
        is_test=chains.is_test_issuer(chain.leaf),
        sha256=facts.fingerprint_sha256,
        files=files,
    )


def expected_names(texts: t.Sequence[str]) -> list[str]:
    """Read `expect_names`, whose entries may hold several names."""
    return [_expected(name) for text in texts for name in text.split()]


def _expected(text: str) -> str:
    try:
        return names.parse_name(text).ascii
    except BadInput as error:
        raise BadInput("expect_names", text, "not a DNS name", remedy=error.remedy) from error


def _check_kind(chain: chains.Chain, facts: chains.Facts) -> None:
    shown = ", ".join(facts.names) or None
    if not facts.names:
        raise chains.ChainError("The certificate has no DNS name", remedy="Give a server certificate with SANs.")
    if chains.must_staple(chain.leaf):
        raise chains.ChainError(
            "The certificate demands OCSP stapling (must-staple), which is fatal to Pomerium at its start",
            name=shown,
            remedy="Order it again without must-staple.",
        )
    kind, _dash, size = facts.key_type.partition("-")
    if kind == "rsa" and int(size) < 2048:
        raise chains.ChainError(
            f"The key is {facts.key_type}, which Pomerium's Envoy refuses", name=shown, remedy="Use at least rsa-2048."
        )


def _meta_files(sources: Sources, facts: chains.Facts) -> dict[str, File]:
    """Ship what the store wrote about this very certificate, signature included; else say what is known, unsigned."""
    if sources.meta is not None and len(sources.meta) <= LARGEST_META and _is_about(sources.meta, facts):
        files = {"meta.json": File(sources.meta, 0o644)}
        if sources.signature is not None and len(sources.signature) <= LARGEST_META:
            files["meta.sig"] = File(sources.signature, 0o644)
        return files
    known = {
        "created_by": "pomerium_certificate",
        "directory": None,
        "key_type": facts.key_type,
        "names": list(facts.names),
        "not_after": chains.iso(facts.not_after),
        "not_before": chains.iso(facts.not_before),
        "serial": facts.serial,
    }
    return {"meta.json": File((json.dumps(known, indent=2, sort_keys=True) + "\n").encode(), 0o644)}


def _is_about(meta: bytes, facts: chains.Facts) -> bool:
    """Tell whether a file named meta.json is ours at all, and about this certificate."""
    try:
        said = json.loads(meta)
    except ValueError:
        return False
    return isinstance(said, dict) and "directory" in said and said.get("serial", facts.serial) == facts.serial


def name_to_ask(names_: t.Sequence[str]) -> str | None:
    """Choose a name under the wildcard to ask for in a handshake; the first name, where there is no wildcard."""
    wildcards = [name for name in names_ if name.startswith("*.")]
    return f"pomerium-probe.{wildcards[0][2:]}" if wildcards else next(iter(names_), None)


def names_shadowed(ours: t.Sequence[str], pem: bytes) -> list[str] | None:
    """Say for which of our names another certificate would be served, were it first; None where it is none.

    An exact name beats a wildcard and of equals the first one wins: a name is lost where theirs is ours or under it.
    """
    try:
        theirs = chains.describe(chains.parse_chain(pem).leaf).names
    except _unreadable():
        return None
    return [name for name in theirs if any(names.covers(own, name) for own in ours)]


def describe_der(der: bytes) -> chains.Facts | None:
    """Describe a leaf that a host sent; None where it is no certificate that can be read."""
    from cryptography import x509

    try:
        return chains.describe(x509.load_der_x509_certificate(der))
    except _unreadable():
        return None


def is_test_leaf(der: bytes) -> bool:
    """Tell whether a leaf that a host sent comes from a staging or test CA (one that cannot be read does not count)."""
    from cryptography import x509

    try:
        return chains.is_test_issuer(x509.load_der_x509_certificate(der))
    except _unreadable():
        return True


def _unreadable() -> tuple[type[Exception], ...]:
    """What `cryptography` raises for a certificate that is none, or of a kind that it does not know."""
    from cryptography import exceptions, x509

    odd = (x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
    return (chains.ChainError, ValueError, TypeError, exceptions.UnsupportedAlgorithm, *odd)
