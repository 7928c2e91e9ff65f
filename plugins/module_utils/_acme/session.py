# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A session with one CA as one account: directory, account key, and the account's URL.

Importing this file costs nothing of the `acme` library; opening a session does. Private to this collection.
"""

from __future__ import annotations

import atexit
import base64
import copy
import os
import tempfile
import typing as t
from dataclasses import dataclass, field, replace

from .. import _files
from .._errors import BadInput
from .._pki import keys
from .._version import VERSION
from .account_key import KeySource, key_source, signer
from .options import Access
from .problems import AcmeProblem

if t.TYPE_CHECKING:
    import requests
    from acme import messages

    from .transport import Network


@dataclass
class Session:
    """What every request needs. `account_uri` is set once the account is known; a new key is not yet on disk.

    `meta` is what the directory tells of the CA, with what the library drops.
    """

    url: str
    directory: messages.Directory
    network: Network
    key: keys.PrivateKey
    jwk: t.Any
    key_is_new: bool = False
    account_uri: str | None = None
    meta: t.Mapping[str, t.Any] = field(default_factory=dict)

    @property
    def thumbprint(self) -> str:
        """The account key's JWK thumbprint (RFC 7638), base64url: half of every key authorization."""
        return base64.urlsafe_b64encode(self.jwk.thumbprint()).rstrip(b"=").decode()

    @property
    def profiles(self) -> dict[str, str]:
        """The certificate profiles that the CA offers, with their descriptions; empty where it offers none."""
        return dict(self.directory.meta.profiles or {})

    def use_account(self, uri: str) -> None:
        """Sign as this account from now on."""
        from acme import messages

        self.account_uri = uri
        self.network.account = messages.RegistrationResource(uri=uri, body=messages.Registration())

    def forget_account(self) -> None:
        """Sign with the key itself from now on, as a look-up by key needs it."""
        self.account_uri = None
        self.network.account = None

    def signed_by(self, key: keys.PrivateKey) -> Session:
        """Give a session over the same connections that signs with another key, as no account yet."""
        network = copy.copy(self.network)
        network.key, network.alg = signer(key)
        network.account = None
        return replace(self, network=network, key=key, jwk=network.key, key_is_new=False, account_uri=None)

    def ask(
        self, url: str, body: t.Any = None, *, doing: str, repeatable: bool = False, document: bool = True
    ) -> requests.Response:
        """Send a signed request; without body it only reads (POST-as-GET). Raises as `Network.ask`."""
        return self.network.ask(url, body, doing=doing, repeatable=repeatable, document=document)


def open_session(access: Access, *, may_create_key: bool = False, source: KeySource | None = None) -> Session:
    """Fetch the directory with the account key at hand; the account itself is not asked for yet.

    With `may_create_key`, a key that is missing is made in memory; `account.create_account` writes it. `source` is
    where the key comes from, where that is not the account key's own options.
    Raises UserError where the CA cannot be reached, is not trusted, or is no ACME server.
    """
    from acme import messages

    from .transport import Network

    source = source or key_source(access)
    is_new = may_create_key and source.is_missing
    key = keys.generate("ec-256") if is_new else source.load()
    jwk, algorithm = signer(key)
    network = Network(
        key=jwk,
        alg=algorithm,
        verify=_trust(access),
        timeout=access.request_timeout,
        user_agent=f"zerotrust.pomerium/{VERSION} (Ansible collection) acme-python",
    )
    document = _fetch_directory(network, access.directory)
    network.new_nonce_url = document["newNonce"]
    meta = dict(document.get("meta") or {})  # the library takes it out of the document
    session = Session(access.directory, messages.Directory.from_json(document), network, key, jwk, is_new, meta=meta)
    if access.account_uri:
        session.use_account(access.account_uri)
    return session


def _fetch_directory(network: Network, url: str) -> dict[str, t.Any]:
    """Fetch the directory. Raises BadInput where something else answers there."""
    try:
        document = network.fetch(url, doing="give its directory").json()
        there = document if isinstance(document, dict) else {}
        lacks = [name for name in ("newNonce", "newAccount", "newOrder") if name not in there]
        why = f"it lacks {', '.join(lacks)}"
    except AcmeProblem as problem:
        if problem.status is None or problem.status >= 429:
            raise
        lacks, why = ["JSON"], str(problem.answer)
    if lacks:
        raise BadInput(
            "acme_directory",
            url,
            f"answers, but is not an ACME directory ({why})",
            remedy="Give the directory URL of RFC 8555, like https://acme-v02.api.letsencrypt.org/directory.",
        )
    return t.cast("dict[str, t.Any]", document)


def _trust(access: Access) -> bool | str:
    """Give what `requests` verifies the CA's server with: a bundle's path, the usual roots, or nothing."""
    if not access.validate_certs:
        import urllib3

        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return False
    trust_anchors(access)
    if access.ca_content:
        descriptor, path = tempfile.mkstemp(prefix="acme-ca-", suffix=".pem")
        atexit.register(os.unlink, path)
        with os.fdopen(descriptor, "w") as file:
            file.write(access.ca_content)
        return path
    return access.ca_path or True


def trust_anchors(access: Access) -> list[t.Any]:
    """Read the roots that the user gave for the CA, as `cryptography` certificates; empty without any.

    Raises BadInput where they cannot be read, or are none.
    """
    if not access.ca_path and not access.ca_content:
        return []
    return read_roots(access.ca_path, access.ca_content, option="ca_path" if access.ca_path else "ca_content")


def read_roots(path: str | None, content: str | None, *, option: str) -> list[t.Any]:
    """Read root certificates from a file, or from text. Raises BadInput naming the option."""
    from cryptography import x509

    remedy = "Give the root of the CA in PEM form."
    try:
        return x509.load_pem_x509_certificates(_files.read_bytes(path) if path else (content or "").encode())
    except FileNotFoundError as error:
        raise BadInput(option, path, "no such file", remedy=remedy) from error
    except OSError as error:
        raise BadInput(option, path, f"cannot be read ({error.strerror})", remedy=remedy) from error
    except ValueError as error:
        raise BadInput(option, path, "holds no certificate, or a damaged one", remedy=remedy) from error
