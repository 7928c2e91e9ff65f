# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys, requests and certificates that the user gives, each by path or as content. Private to this collection."""

from __future__ import annotations

import typing as t

from .. import _files
from .._errors import BadInput, UserError
from .._pki import chain as chains
from .._pki import keys
from .._pki.csr import Csr, parse_csr
from .account_key import KeySource

T = t.TypeVar("T")


def given_key(params: t.Mapping[str, t.Any]) -> KeySource | None:
    """Give where the certificate's private key is kept; None where neither path nor content is given."""
    path, content = params.get("private_key_path"), params.get("private_key_content")
    if path is None and content is None:
        return None
    return KeySource(path, content, params.get("private_key_passphrase"), option="private_key")


def given_csr(params: t.Mapping[str, t.Any]) -> Csr | None:
    """Read `csr_path` or `csr_content`; None where neither is given."""
    return _given(params, "csr", parse_csr)


def given_chain(params: t.Mapping[str, t.Any]) -> chains.Chain:
    """Read `certificate_path` or `certificate_content`, one of which is required."""
    return t.cast("chains.Chain", _given(params, "certificate", chains.parse_chain))


def refuse_account_key(params: t.Mapping[str, t.Any], what: str, digest: str, account: keys.PrivateKey) -> None:
    """Refuse a certificate for the account key (RFC 8555 section 11.1). Raises BadInput naming the option."""
    if digest == keys.public_sha256(account.public_key()):
        why = "this is the account key, which must not be a certificate's"
        raise given_refusal(params, what, why, remedy="Give another key.")


def given_refusal(params: t.Mapping[str, t.Any], what: str, why: str, *, remedy: str | None) -> BadInput:
    """Make the error about what is given by `<what>_path` or `<what>_content`, whose value may be a secret."""
    path = params.get(f"{what}_path")
    return BadInput(f"{what}_content" if path is None else f"{what}_path", path, why, remedy=remedy)


def _given(params: t.Mapping[str, t.Any], what: str, read: t.Callable[[bytes], T]) -> T | None:
    path, content = params.get(f"{what}_path"), params.get(f"{what}_content")
    if path is None and content is None:
        return None
    try:
        return read((content or "").encode() if path is None else _files.read_bytes(path))
    except OSError as error:
        why = f"cannot be read ({error.strerror})"
        raise given_refusal(params, what, why, remedy="Correct the path.") from error
    except UserError as error:
        why = error.what[0].lower() + error.what[1:]
        raise given_refusal(params, what, why, remedy=error.remedy) from error
