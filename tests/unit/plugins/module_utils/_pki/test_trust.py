# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whom a chain is trusted from: a root that is known, by CAs that may issue, for a server, now."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone

from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.chain import Chain, check_links, parse_chain
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.trust import is_trusted, system_roots
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority

NOW = datetime.now(timezone.utc)
ROOT = Authority("Root")
INTERMEDIATE = Authority("Intermediate", issuer=ROOT)
CHAIN = parse_chain(INTERMEDIATE.issue("*.corp.example.com", "corp.example.com").fullchain_pem)


def test_a_chain_counts_that_ends_at_a_known_root() -> None:
    assert is_trusted(CHAIN, [ROOT.certificate], now=NOW)
    assert not is_trusted(CHAIN, [Authority("Root").certificate], now=NOW), "of the same name, with another key"
    assert not is_trusted(CHAIN, [], now=NOW)
    assert not is_trusted(Chain(CHAIN.certificates[:1]), [ROOT.certificate], now=NOW), "its issuer is missing"


def test_an_expired_leaf_does_not_count() -> None:
    assert not is_trusted(CHAIN, [ROOT.certificate], now=NOW + timedelta(days=31))


def test_a_leaf_is_no_ca_whatever_it_signs() -> None:
    own = INTERMEDIATE.issue("mallory.example")
    mallory = Authority("Mallory")
    mallory._key, mallory.subject = t.cast("t.Any", keys.load(own.key_pem)), own.certificate.subject
    forged = mallory.issue("*.corp.example.com").certificate
    chain = Chain((forged, own.certificate, *CHAIN.certificates[1:]))
    check_links(chain)
    assert not is_trusted(chain, [ROOT.certificate], now=NOW)


def test_the_roots_of_the_system_are_read_and_trust_nobody_of_the_lab() -> None:
    roots = system_roots()
    assert len(roots) > 20
    assert not is_trusted(CHAIN, roots, now=NOW)
