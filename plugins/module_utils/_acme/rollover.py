# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roll the account key over (RFC 8555 section 7.3.5), so that at every moment one of the keys at hand is the account's.

A new key is on disk before the CA hears of it. Whatever becomes of the CA's answer, asking for the account by the new
key tells whether it has changed: within the same run, and in the next one. Private to this collection.
"""

from __future__ import annotations

import json
import os
import typing as t

from .._errors import UserError
from .._pki import keys
from .account import Account, find_account, look_up
from .account_key import KeySource, key_source
from .options import Access
from .problems import AcmeProblem
from .session import open_session


def new_key_source(params: t.Mapping[str, t.Any], access: Access) -> KeySource:
    """Read where the new key is. Raises BadInput where that is the old one's path, which would be overwritten."""
    source = KeySource(
        path=params.get("new_account_key_path"),
        content=params.get("new_account_key_content"),
        passphrase=params.get("new_account_key_passphrase"),
        option="new_account_key",
    )
    if source.path and access.key_path and os.path.realpath(source.path) == os.path.realpath(access.key_path):
        raise source.refusal("this is the path of account_key_path", remedy="Give another path for the new key.")
    return source


class Rollover:
    """One account, its old key and its new one; `is_done` as soon as the CA knows it by the new one."""

    def __init__(self, access: Access, source: KeySource, *, key_type: str) -> None:
        """Find out how things are. Raises UserError where there is no account, or the new key is another account's.

        The old key may be gone by now, once the new one is there.
        """
        self.source, self.is_made = source, source.is_missing
        self.key = keys.generate(key_type) if self.is_made else source.load()
        old_is_gone = key_source(access).is_missing and not self.is_made
        self.session = open_session(access, source=source if old_is_gone else None)
        self.newcomer = self.session.signed_by(self.key)
        found = None if self.is_made else self._by_new_key(access.account_uri)
        self.is_done = found is not None
        if found is not None and not old_is_gone:
            self._check_same(found, access)
        self.account = found or self._old_account()
        self._url = None if self.is_done else self._address()

    def _by_new_key(self, uri: str | None) -> Account | None:
        """Find the account that the CA knows by the new key.

        A CA that looks up none without external account binding is asked by the account's URL: it refuses a signature
        that is not that account's.
        """
        try:
            return find_account(self.newcomer)
        except AcmeProblem as problem:
            if problem.type != "externalAccountRequired" or uri is None:
                raise
        self.newcomer.use_account(uri)
        try:
            return find_account(self.newcomer)
        except AcmeProblem as problem:
            if problem.type not in ("malformed", "unauthorized"):
                raise
            return None

    def _old_account(self) -> Account:
        account = find_account(self.session)
        if account is None:
            raise UserError(
                "The CA knows no account for the account key, nor for the new one",
                name=self.session.account_uri or self.session.url,
                remedy="Check account_key_path, account_uri and acme_directory; acme_account creates an account.",
            )
        return account

    def _check_same(self, found: Account, access: Access) -> None:
        """Refuse a new key that is another account's."""
        uri = access.account_uri
        if uri is None:
            old = look_up(self.session)
            uri = old.uri if old is not None and old.is_usable else found.uri
        if uri != found.uri:
            raise self._taken(found.uri)

    def _taken(self, uri: str) -> UserError:
        return self.source.refusal(f"the CA knows this key as that of another account, {uri}", remedy="Use a new key.")

    def change(self) -> None:
        """Ask the CA to change the key, and see that it has. Raises UserError where it has not, or nobody can tell."""
        from .transport import LostAnswer

        if self.is_made:
            self.source.save(self.key)
        lost = None
        url = t.cast("str", self._url)
        try:
            self.session.ask(url, self._request(url), doing="change the account's key", document=False)
        except LostAnswer as failure:
            lost = failure
        except AcmeProblem as problem:
            raise self._refusal(problem) from problem
        try:
            found = self._by_new_key(self.account.uri)
        except UserError as error:
            error.advise("Old key and new key are both at hand: run again, it goes on with the one that is valid.")
            raise
        if found is None or found.uri != self.account.uri:
            raise UserError(
                "The CA has not changed the account's key",
                name=self.account.uri,
                answer=str(lost) if lost else "it does not know the account by the new one",
                remedy="The old key is still the account's; run again.",
            )
        self.account = found

    def _address(self) -> str:
        try:
            return t.cast("str", self.session.directory["keyChange"])
        except KeyError:
            raise self._not_offered("its directory has no keyChange") from None

    def _request(self, url: str) -> t.Any:
        """Give the new key's signature over account and old key, which the old key then signs."""
        from acme import jws

        payload = json.dumps({"account": self.account.uri, "oldKey": self.session.jwk.public_key().to_json()})
        new = self.newcomer
        return jws.JWS.sign(payload.encode(), key=new.jwk, alg=new.network.alg, nonce=None, url=url)

    def _refusal(self, problem: AcmeProblem) -> UserError:
        if problem.status in (404, 405, 501):
            return self._not_offered(str(problem.answer))
        if problem.status == 409:
            other = look_up(self.newcomer)
            return self._taken(other.uri) if other is not None and other.uri else problem
        return problem

    def _not_offered(self, answer: str) -> UserError:
        return UserError(
            "This CA changes no account keys",
            name=self.session.url,
            answer=answer,
            remedy="Open another account with a new key instead, and deactivate this one (state: absent).",
        )
