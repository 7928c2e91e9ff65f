# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A session with one CA as one account: directory, account key, and the account's URL.

Importing this file costs nothing of the `acme` library; opening a session does. Private to this collection.
"""

from __future__ import annotations

import atexit
import base64
import os
import tempfile
import typing as t
from dataclasses import dataclass

from .. import _files
from .._errors import BadInput, UserError
from .._pki import keys
from .._version import VERSION
from .options import Access
from .problems import AcmeProblem

if t.TYPE_CHECKING:
    import requests
    from acme import messages

    from .transport import Network


def load_account_key(access: Access) -> keys.PrivateKey:
    """Read the account key. Raises BadInput where it is missing, encrypted without passphrase, or no key."""
    option = "account_key_content" if access.key_path is None else "account_key_path"
    if access.key_path is None:
        pem = (access.key_content or "").encode()
    else:
        try:
            pem = _files.read_bytes(access.key_path)
        except FileNotFoundError as error:
            raise BadInput(
                option,
                access.key_path,
                "there is no account key",
                remedy="Correct the path, or let acme_account (or acme_certificate with terms_agreed) make one there.",
            ) from error
        except OSError as error:
            raise BadInput(option, access.key_path, f"cannot be read ({error.strerror})") from error
    try:
        return keys.load(pem, passphrase=access.passphrase)
    except UserError as error:
        remedy = error.remedy
        if "encrypted" in error.what:
            remedy = "Give account_key_passphrase."
        raise BadInput(option, access.key_path, error.what[0].lower() + error.what[1:], remedy=remedy) from error


def save_account_key(access: Access, key: keys.PrivateKey) -> None:
    """Write a new account key (mode 0600) at the path that the user gave, before the CA hears of it."""
    path = os.path.abspath(t.cast("str", access.key_path))
    try:
        _files.make_directory(os.path.dirname(path))
        _files.write_file(path, keys.to_pem(key), mode=0o600)
    except OSError as error:
        raise BadInput(
            "account_key_path",
            access.key_path,
            f"the new key cannot be written ({error.strerror})",
            remedy="Mend the rights of its directory, or give another path.",
        ) from error


def account_key_is_missing(access: Access) -> bool:
    """Tell whether the account key is to be at a path where nothing is yet."""
    return access.key_path is not None and not os.path.exists(access.key_path)


@dataclass
class Session:
    """What every request needs. `account_uri` is set once the account is known; a new key is not yet on disk."""

    url: str
    directory: messages.Directory
    network: Network
    key: keys.PrivateKey
    jwk: t.Any
    key_is_new: bool = False
    account_uri: str | None = None

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

    def ask(
        self, url: str, body: t.Any = None, *, doing: str, repeatable: bool = False, document: bool = True
    ) -> requests.Response:
        """Send a signed request; without body it only reads (POST-as-GET). Raises as `Network.ask`."""
        return self.network.ask(url, body, doing=doing, repeatable=repeatable, document=document)


def open_session(access: Access, *, key: keys.PrivateKey | None = None, may_create_key: bool = False) -> Session:
    """Fetch the directory with the account key at hand; the account itself is not asked for yet.

    With `key` another one signs in the account key's place. With `may_create_key`, a key that is missing is made in
    memory; `account.create_account` writes it.
    Raises UserError where the CA cannot be reached, is not trusted, or is no ACME server.
    """
    from acme import messages

    from .transport import Network

    is_new = key is None and may_create_key and account_key_is_missing(access)
    key = key or (keys.generate("ec-256") if is_new else load_account_key(access))
    jwk, algorithm = _jwk(key)
    network = Network(
        key=jwk,
        alg=algorithm,
        verify=_trust(access),
        timeout=access.request_timeout,
        user_agent=f"zerotrust.pomerium/{VERSION} (Ansible collection) acme-python",
    )
    document = _fetch_directory(network, access.directory)
    network.new_nonce_url = document["newNonce"]
    session = Session(access.directory, messages.Directory.from_json(document), network, key, jwk, is_new)
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


def _jwk(key: keys.PrivateKey) -> tuple[t.Any, t.Any]:
    """Give the key and its signature algorithm as `josepy` wants them: the algorithm must suit the curve."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from josepy import jwa, jwk
    from josepy.util import ComparableECKey, ComparableRSAKey

    if isinstance(key, rsa.RSAPrivateKey):
        return jwk.JWKRSA(key=ComparableRSAKey(key)), jwa.RS256
    by_size = {256: jwa.ES256, 384: jwa.ES384, 521: jwa.ES512}
    if key.curve.key_size not in by_size:
        raise BadInput("account_key_path", None, f"no ACME CA takes curve {key.curve.name}", remedy="Use ec-256.")
    return jwk.JWKEC(key=ComparableECKey(key)), by_size[key.curve.key_size]


def _trust(access: Access) -> bool | str:
    """Give what `requests` verifies the CA's server with: a bundle's path, the usual roots, or nothing."""
    if not access.validate_certs:
        import urllib3

        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return False
    if access.ca_content:
        descriptor, path = tempfile.mkstemp(prefix="acme-ca-", suffix=".pem")
        atexit.register(os.unlink, path)
        with os.fdopen(descriptor, "w") as file:
            file.write(access.ca_content)
        return path
    if access.ca_path and not os.path.isfile(access.ca_path):
        raise BadInput("ca_path", access.ca_path, "no such file", remedy="Give a PEM file with the CA's root.")
    return access.ca_path or True


def trust_anchors(access: Access) -> list[t.Any]:
    """Read the roots that the user gave for the CA, as `cryptography` certificates; empty without any."""
    from cryptography import x509

    pem = (access.ca_content or "").encode()
    if access.ca_path and os.path.isfile(access.ca_path):
        pem = _files.read_bytes(access.ca_path)
    return x509.load_pem_x509_certificates(pem) if b"BEGIN CERTIFICATE" in pem else []
