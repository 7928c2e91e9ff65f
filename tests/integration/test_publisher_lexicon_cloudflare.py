# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publisher `lexicon` where each value is a record of its own, and behind a proxy: the protocol of Cloudflare."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers.lexicon import Lexicon
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.records import DnsRecord
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.tests.lab.cloudflare import HOST, CloudflareStandin
from ansible_collections.zerotrust.pomerium.tests.lab.connect_proxy import ConnectProxy

NAME = "_acme-challenge.corp.example.com"
FIRST, SECOND, FOREIGN = "A" * 43, "b" * 43, '"somebody-elses"'


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[CloudflareStandin]:
    """With a value of somebody else's; the environment has the proxy to it and its root, as a controller has."""
    standin = CloudflareStandin(tmp_path / "cloudflare", "example.org", "example.com")
    with standin, ConnectProxy(stand_ins={f"{HOST}:443": standin.port}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(standin.ca_path))
        standin.put(NAME, FOREIGN)
        yield standin


def publisher(token: str = CloudflareStandin.token) -> Lexicon:
    options = {"zone": "example.com", "ttl": 60, "timeout": 30, "secrets": {"auth_token": token}}
    return Lexicon({"provider": "cloudflare", **options})


def contents(server: CloudflareStandin) -> list[str]:
    assert {record["name"] for record in server.records} == {NAME}
    return [record["content"].strip('"') for record in server.records]


def test_values_are_records_that_come_and_go_by_themselves(server: CloudflareStandin) -> None:
    record = DnsRecord(f"{NAME}.", (FIRST, SECOND), ())
    publisher().add([record])
    assert contents(server) == ["somebody-elses", FIRST, SECOND]
    publisher().add([record])
    assert [call for call in server.calls if call.startswith("POST")] == ["POST /client/v4/zones/zone1/dns_records"] * 2
    publisher().remove([record])
    publisher().remove([record])
    assert contents(server) == ["somebody-elses"]


def test_a_refusal_is_told_in_the_providers_words_and_the_token_is_not(server: CloudflareStandin) -> None:
    with pytest.raises(UserError) as raised:
        publisher(token="another-token").add([DnsRecord(f"{NAME}.", (FIRST,), ())])
    assert "403 Client Error: Forbidden" in str(raised.value)
    assert '{"code": 9109, "message": "Invalid access token"}' in str(raised.value)
    assert "another-token" not in str(raised.value)
    assert server.calls == []
