# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet as the store: what the hosts keep becomes the lineage of this run, and what they lack is found out.

The newest certificate wins, wherever it is; there is no majority. It counts where the account key signed what was noted
about just this certificate, or where it ends at a trusted root: one host that somebody has taken over must not feed
the others. Of pending orders the newest is taken, and the CA judges it. No host is asked here: the looks are at hand
(`_store/looks.py`), and a look that was merged once is not merged again, since this run knows better from then on.
Private to this collection.
"""

from __future__ import annotations

import json
import os
import typing as t

from .. import _files
from .._errors import BadInput, UserError
from .._pki import chain as chains
from .._pki import keys, trust
from .._store import looks
from . import memory as memories
from .account_key import key_source
from .kept import Kept, KeptBundle, parse_look, read_object, saved_at, usable_order, usable_state
from .memory import Memory, Remembered
from .options import Access
from .order import Wish
from .session import read_roots

if t.TYPE_CHECKING:
    from .._store.lineage import Bundle, Lineage

MOST_KEY_HOSTS = 10
"""How many hosts are asked for a key before it counts as lost; each that is not needed costs a moment all the same."""

MOST_NAMED = 10


class Fleet:
    """The hosts of one lineage. Raises UserError where not one of them could be looked at."""

    def __init__(
        self,
        params: t.Mapping[str, t.Any],
        access: Access,
        wish: Wish,
        lineage: Lineage,
        warn: t.Callable[[str], None],
    ) -> None:
        self._params = params
        self._access = access
        self._wish = wish
        self._lineage = lineage
        self._warn = warn
        self._looks_path = params.get("looks_path") or params["store_path"]
        self._kept = [parse_look(look) for look in looks.read_looks(self._looks_path, params["name"])]
        self._answered = [kept for kept in self._kept if kept.has_answered]
        self._merged_path = os.path.join(self._looks_path, "lineages", params["name"], "merged.json")
        self._check_answers()

    def _check_answers(self) -> None:
        if not self._kept:
            others = ", ".join(looks.names_with_looks(self._looks_path)) or "none"
            raise BadInput(
                "name",
                self._params["name"],
                f"no host was looked at for this lineage (there are looks for: {others})",
                remedy="Look at the hosts first (pomerium_certificate_info with fleet: true), and give "
                "certificate_name and pomerium_name the same value.",
            )
        if not self._answered:
            raise UserError(
                "Not one of the hosts that keep the certificate could be looked at",
                name=_some([kept.host for kept in self._kept]),
                remedy="See above why. Nothing was ordered.",
            )

    def merge(self) -> None:
        """Take over what the hosts keep, as far as it is newer than what this run has."""
        merged = set(_read_list(self._merged_path))
        fresh = [kept for kept in self._answered if kept.id not in merged]
        if not fresh:
            return
        self._say_who_is_missing()
        self._merge_bundles(fresh)
        self._merge_state(fresh)
        self._merge_order(fresh)
        text = json.dumps(sorted(merged | {kept.id for kept in fresh}))
        _files.write_file(self._merged_path, text.encode())

    def _say_who_is_missing(self) -> None:
        missing = [kept.host for kept in self._kept if not kept.has_answered]
        if missing:
            self._warn(f"Not looked at: {_some(missing)}. They get the certificate by a later run, without an order.")
        if len({kept.identifiers for kept in self._kept}) > 1:
            self._warn(f"The hosts' variables disagree on certificate_identifiers. {self._disagreement()}")

    def _merge_bundles(self, fresh: t.Sequence[Kept]) -> None:
        """Make the newest certificate that counts the current one, where it is newer than ours."""
        judge = _Judge(self._params, self._access, self._wish)
        checked = {
            bundle: judge.judge(bundle) for bundle in dict.fromkeys(one for kept in fresh for one in kept.bundles)
        }
        counted = [(chain, bundle) for bundle, chain in checked.items() if chain is not None]
        newest = max(counted, key=lambda one: _age(one[0]), default=None)
        if judge.reasons:
            refused = [kept.host for kept in fresh if any(checked[bundle] is None for bundle in kept.bundles)]
            self._warn(f"Not used is what {_some(refused)} has: {'; '.join(sorted(judge.reasons))}.")
        ours = self._lineage.current()
        if newest is not None and (ours is None or _age(newest[0]) > _age(ours.chain)):
            chain, bundle = newest
            self._lineage.adopt(chain, bundle.meta, bundle.signature or None)

    def _merge_state(self, fresh: t.Sequence[Kept]) -> None:
        """Take over what was learned last."""
        now = memories.utc_now()
        states = [usable_state(kept.state, directory=self._access.directory, now=now) for kept in fresh]
        found = max((state for state in states if state is not None), key=saved_at, default=None)
        if found is not None and saved_at(found) > saved_at(self._lineage.state()):
            self._lineage.save_state(found)

    def _merge_order(self, fresh: t.Sequence[Kept]) -> None:
        """Take over the newest order that is not finished yet."""
        damaged = [kept.host for kept in fresh if kept.order is not None and kept.remembered is None]
        if damaged:
            self._warn(f"The pending order on {_some(damaged)} is damaged and not used.")
        bundle = self._lineage.current()
        ours = memories.load_memory(self._lineage.order_path, option="store_path").order
        orders = [usable_order(kept.remembered, directory=self._access.directory) for kept in fresh]
        found = max((order for order in orders if self._is_open(order, bundle)), key=_created, default=None)
        if found is not None and (ours is None or _created(found) > _created(ours)):
            memories.save_memory(self._lineage.order_path, Memory(order=found))

    @staticmethod
    def _is_open(order: Remembered | None, bundle: Bundle | None) -> bool:
        """Tell whether an order is not the one that the certificate in use came from."""
        return order is not None and (bundle is None or order.key_sha256 != bundle.facts.public_sha256)

    # What the hosts lack, or can give

    def hosts_without(self, bundle: Bundle | None) -> list[str]:
        """Name the hosts that do not have this certificate in use; one that is held at another one does not count."""
        if bundle is None:
            return []
        return [kept.host for kept in self._answered if not kept.is_held and not self._has(kept, bundle, True)]

    def key_hosts(self, bundle: Bundle | None, remembered: Remembered | None) -> list[str]:
        """Name hosts that could give the keys that are needed here and lie on hosts only.

        Later batches of the play may need one, and cannot ask the hosts of this one. That of a certificate which is to
        be replaced revokes it, when no host has it any more.
        """
        found: list[str] = []
        is_needed = self._looks_path != self._params["store_path"] or self._is_batch or self.hosts_without(bundle)
        if bundle is not None and bundle.version == self._params.get("replace_version"):
            is_needed = True
        if bundle is not None and not bundle.has_key and is_needed:
            found += [kept.host for kept in self._answered if self._has(kept, bundle, False)][:MOST_KEY_HOSTS]
        if self.is_key_elsewhere(remembered):
            found += [kept.host for kept in self._answered if self._has_key_of(kept, remembered)][:MOST_KEY_HOSTS]
        return sorted(set(found))

    def is_key_elsewhere(self, remembered: Remembered | None) -> bool:
        """Tell whether the key of the pending order is on hosts, and not here."""
        if remembered is None or self._lineage.staged_key() is not None:
            return False
        return any(self._has_key_of(kept, remembered) for kept in self._answered)

    @staticmethod
    def _has_key_of(kept: Kept, remembered: Remembered | None) -> bool:
        order = kept.remembered
        if order is None or remembered is None or not kept.has_key:
            return False
        return (order.order_uri, order.key_sha256) == (remembered.order_uri, remembered.key_sha256)

    @staticmethod
    def _has(kept: Kept, bundle: Bundle, in_use: bool) -> bool:
        """Tell whether a host has a certificate with its key, in use or at all."""
        pem = bundle.chain.pem(issuers=False).strip()
        return any(
            one.problem is None and (one.is_current or not in_use) and one.chain.strip().startswith(pem)
            for one in kept.bundles
        )

    def is_acknowledged(self) -> bool:
        """Tell whether a host keeps the pending order with its key, so that neither can be lost with this run."""
        order = _files.read_if_there(self._lineage.order_path)
        return order is not None and any(kept.order == order and kept.has_key for kept in self._answered)

    def is_unsaved(self) -> bool:
        """Tell whether a host that can be written to lacks something of what is pending here, or was learned."""
        order, bundle = _files.read_if_there(self._lineage.order_path), self._lineage.current()
        for kept in self._answered:
            if order is not None:
                lacks = kept.order != order or not kept.has_key
            else:
                lacks = kept.order is not None and self._is_forgotten(kept.remembered, bundle)
            if kept.is_writable and (lacks or not self._lineage.is_state(kept.state)):
                return True
        return False

    def _is_forgotten(self, order: Remembered | None, bundle: Bundle | None) -> bool:
        """Tell whether a host keeps an order that is of no use any more: a damaged one, or one of this directory that
        an install does not end (another directory's is somebody else's until an order of ours takes its place)."""
        return order is None or (order.directory == self._access.directory and self._is_open(order, bundle))

    @property
    def reason_without_bundle(self) -> str | None:
        """Say why a certificate is due where hosts have one that does not count: it is another directory's."""
        metas = [read_object(bundle.meta) for kept in self._answered for bundle in kept.bundles]
        others = {meta.get("directory") for meta in metas} - {None, self._access.directory}
        return "directory" if others else None

    # Guards

    def check_may_order(self, *, has_bundle: bool) -> None:
        """Refuse an order that only looks as if it were needed, and one that no host could keep. Raises UserError."""
        self._check_account_key()
        why = [] if has_bundle or self._params["allow_limited"] else self._reasons_to_doubt()
        if why:
            raise BadInput(
                "allow_limited",
                False,
                f"there is no certificate on the hosts of this play, but {'; '.join(why)}",
                remedy="Other hosts may have one: run it for the whole fleet. Where a certificate shall be ordered all "
                "the same, set certificate_allow_limited: true.",
            )
        if not any(kept.is_writable for kept in self._answered):
            raise UserError(
                "Not one host could keep the order and its key",
                name=_some([kept.host for kept in self._answered]),
                remedy="Mend its directory (rights, space, a read-only mount). Nothing was ordered.",
            )

    def _reasons_to_doubt(self) -> list[str]:
        limits = sorted({kept.limit for kept in self._kept if kept.limit})
        why = [f"it is limited to {', '.join(limits)}"] if limits else []
        if self._is_batch:
            why.append("this is a batch of the play (serial), not the whole of it")
        if len({kept.identifiers for kept in self._kept}) > 1:
            why.append(f"the hosts' variables disagree on certificate_identifiers ({self._disagreement()})")
        others = self._under_other_names()
        if others:
            why.append(f"the hosts' variables disagree on pomerium_name ({others})")
        return why

    @property
    def _is_batch(self) -> bool:
        return any(kept.batch < kept.play_hosts for kept in self._kept)

    def _disagreement(self) -> str:
        by_names: dict[tuple[str, ...], list[str]] = {}
        for kept in self._kept:
            by_names.setdefault(kept.identifiers, []).append(kept.host)
        return "; ".join(f"{_some(hosts)}: {', '.join(names)}" for names, hosts in sorted(by_names.items()))

    def _under_other_names(self) -> str:
        """Name the hosts that were looked at for another lineage and not for this one."""
        ours = {kept.host for kept in self._kept}
        found = []
        for name in looks.names_with_looks(self._looks_path):
            hosts = [str(look["host"]) for look in looks.read_looks(self._looks_path, name)]
            left = [host for host in hosts if host not in ours]
            found += [f"{_some(left)}: {name}"] if left and name != self._params["name"] else []
        return "; ".join(found)

    def _check_account_key(self) -> None:
        """Refuse to make an account key while the hosts know of an account: it would be another account."""
        accounts: set[str] = set()
        for kept in self._answered:
            order = usable_order(kept.remembered, directory=self._access.directory)
            metas = [read_object(bundle.meta) for bundle in kept.bundles]
            accounts |= {order.account_uri} if order else set()
            ours = [meta for meta in metas if meta.get("directory") == self._access.directory]
            accounts |= {str(meta["account_uri"]) for meta in ours if meta.get("account_uri")}
        if accounts and key_source(self._access).is_missing and not self._access.account_uri:
            raise BadInput(
                "account_key_path",
                self._access.key_path,
                f"there is no account key, but the hosts have what the account {', '.join(sorted(accounts))} ordered",
                remedy="Restore its key. Where it is lost, open another account first, with acme_account.",
            )


class _Judge:
    """Whether a certificate that a host has counts; the account key and the roots are read where they are needed."""

    def __init__(self, params: t.Mapping[str, t.Any], access: Access, wish: Wish) -> None:
        self._params = params
        self._access = access
        self._wish = wish
        self._roots: list[t.Any] | None = None
        self._account: list[keys.PublicKey] | None = None
        self.reasons: set[str] = set()

    def judge(self, bundle: KeptBundle) -> chains.Chain | None:
        """Give the chain of one that counts; else None, and `reasons` says why."""
        try:
            chain = chains.parse_chain(bundle.chain)
            facts = chains.describe(chain.leaf)
        except (UserError, ValueError, TypeError):
            self.reasons.add("a chain that is damaged")
            return None
        if bundle.problem is not None:
            self.reasons.add(f"a pair that OpenSSL refuses ({bundle.problem})")
            return None
        meta = read_object(bundle.meta)
        if meta.get("directory") != self._access.directory:
            self.reasons.add(f"a certificate of another directory ({meta.get('directory') or 'unknown'})")
            return None
        is_about = meta.get("fingerprint_sha256") == facts.fingerprint_sha256
        is_signed = is_about and any(
            keys.is_signed_by(public, bundle.signature, bundle.meta) for public in self._account_keys()
        )
        covers = set(self._wish.names) <= set(facts.names)
        if not is_signed and not (covers and trust.is_trusted(chain, self._trusted(), now=memories.utc_now())):
            self.reasons.add("a certificate that neither the account key signed nor a trusted root has issued")
            return None
        return chain

    def _account_keys(self) -> list[keys.PublicKey]:
        """Give the public account key; none where the key is not at hand (who only installs need not have it)."""
        if self._account is None:
            try:
                self._account = [key_source(self._access).load().public_key()]
            except UserError:
                self._account = []
        return self._account

    def _trusted(self) -> list[t.Any]:
        if self._roots is None:
            path = self._params.get("trust_path")
            self._roots = read_roots(path, None, option="trust_path") if path else trust.system_roots()
        return self._roots


def _age(chain: chains.Chain) -> tuple[t.Any, str]:
    """What makes one certificate newer than another; of equal ones the same is chosen everywhere."""
    facts = chains.describe(chain.leaf)
    return facts.not_after, facts.fingerprint_sha256


def _created(order: Remembered | None) -> str:
    return str(order.created) if order is not None else ""


def _read_list(path: str) -> list[str]:
    found = json.loads(_files.read_if_there(path) or b"[]")
    return found if isinstance(found, list) else []


def _some(hosts: t.Iterable[str]) -> str:
    """Name hosts, not all of hundreds."""
    names = sorted(set(hosts))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
