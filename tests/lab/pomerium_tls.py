# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which certificate Pomerium serves to whom, and TLS as it is hard-coded there: 1.2 and 1.3, ECDHE with AEAD."""

from __future__ import annotations

import ssl
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_options import Clients, Pair, key_pair

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""Level 2, whatever the system's is, refuses RSA-1024, as Envoy does."""


class Certificates:
    """The pairs in force. For equal names and key types the first one wins; exact names win over wildcards."""

    def __init__(self, pairs: t.Sequence[Pair], clients: Clients | None = None) -> None:
        """Load all of them into TLS; raises ssl.SSLError for one that TLS refuses (RSA-1024)."""
        self._pairs = list(pairs)
        by_name: dict[str, list[Pair]] = {}
        for pair in self._pairs:
            for name in pair.names:
                by_name.setdefault(name, []).append(pair)
        self._by_sni = {name: _context(_first_of_each_kind(own), clients) for name, own in by_name.items()}
        self.context = _context([self._pairs[0]], clients)
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, server_name: str | None, _context: ssl.SSLContext) -> None:
        name = (server_name or "").lower()
        wildcard = "*." + name.partition(".")[2]
        chosen = self._by_sni.get(name) or self._by_sni.get(wildcard)
        if chosen is not None:
            connection.context = chosen


def _first_of_each_kind(pairs: t.Sequence[Pair]) -> list[Pair]:
    """RSA and ECDSA for one name are both served; TLS prefers ECDSA where the client can."""
    first: dict[bool, Pair] = {}
    for pair in pairs:
        first.setdefault(pair.is_rsa, pair)
    return list(first.values())


def self_signed() -> Pair:
    """What is served when no certificate is configured at all."""
    issued = Authority("Pomerium PSK CA").issue("*")
    return key_pair(issued.fullchain_pem, issued.key_pem)


def _context(pairs: t.Sequence[Pair], clients: Clients | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    with tempfile.TemporaryDirectory() as scratch:  # Python's ssl loads from files only
        for pair in pairs:
            path = Path(scratch) / "pair.pem"
            path.touch(mode=0o600)
            path.write_bytes(pair.combined_pem)
            context.load_cert_chain(path)
    if clients is not None:
        _ask_clients(context, clients)
    return context


def _ask_clients(context: ssl.SSLContext, clients: Clients) -> None:
    """Ask for a certificate. Unlike Envoy's, Python's TLS does not name the authorities, and ends the handshake for an
    untrusted certificate also where one may do without; to who has none, as all that come here, they are the same."""
    authorities = clients.authority_pem.decode("ascii", "ignore")
    context.load_verify_locations(cadata=authorities)
    context.verify_mode = ssl.CERT_REQUIRED if clients.must_have_one else ssl.CERT_OPTIONAL
