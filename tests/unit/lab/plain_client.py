# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients that show what is on the wire: a plain one for HTTPS, and one that signs as ACME wants it."""

from __future__ import annotations

import http.client
import ssl
import typing as t

from ansible_collections.zerotrust.pomerium.tests.lab.certificates import new_key
from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy


class Client:
    """A plain HTTPS client with one kept connection, which is opened again after a failure."""

    def __init__(self, proxy: FaultProxy) -> None:
        context = ssl.create_default_context(cafile=str(proxy.ca_path))
        self.connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=10, context=context)

    def __call__(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        try:
            self.connection.request(method, path, headers={"User-Agent": "test"})
            answer = self.connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise

    def close(self) -> None:
        self.connection.close()


class AcmeClient:
    """An account at the CA behind the proxy, by the stock library; `answers` are as they came."""

    def __init__(self, proxy: FaultProxy) -> None:
        import josepy
        from acme import client, messages
        from josepy.util import ComparableECKey

        key = josepy.JWKEC(key=ComparableECKey(new_key("ec-256")))
        ca_path: t.Any = str(proxy.ca_path)  # a path reaches requests unchanged, whatever the annotation says
        self._network = client.ClientNetwork(key, alg=josepy.ES256, user_agent="test", verify_ssl=ca_path)
        self.directory = client.ClientV2.get_directory(proxy.directory_url, self._network)
        self.answers: list[t.Any] = []
        self._network.session.hooks["response"].append(lambda answer, *_given, **_named: self.answers.append(answer))
        acme = client.ClientV2(self.directory, self._network)
        acme.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True))

    def order(self, *names: str) -> t.Any:
        """Place an order; the response."""
        from acme import messages

        identifiers = [messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name) for name in names]
        return self._network.post(
            self.directory["newOrder"],
            messages.NewOrder(identifiers=identifiers),
            new_nonce_url=self.directory["newNonce"],
        )

    def read(self, url: str) -> t.Any:
        """POST-as-GET; the response."""
        return self._network.post(url, None, new_nonce_url=self.directory["newNonce"])

    def close(self) -> None:
        self._network.session.close()
