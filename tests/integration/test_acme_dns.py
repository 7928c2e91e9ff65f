# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme-dns: module acme_dns_account registers once and keeps, publisher `acme_dns` writes; over a server of the lab."""

from __future__ import annotations

import json
import re
import stat
import typing as t
from pathlib import Path

import dns.message
import dns.query
import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers.acme_dns import AcmeDns
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.records import DnsRecord
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Done
from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import ModuleDied, WarmModules
from ansible_collections.zerotrust.pomerium.tests.lab.acme_dns import AcmeDnsStandin
from ansible_collections.zerotrust.pomerium.tests.lab.process import plain_environment

FIRST, SECOND, THIRD = "A" * 43, "b" * 43, "-" * 43
WILDCARD, APEX = "*.corp.example.com", "corp.example.com"


@pytest.fixture
def server(tmp_path: Path) -> t.Iterator[AcmeDnsStandin]:
    with AcmeDnsStandin(tmp_path / "acme-dns") as started:
        yield started


class User:
    """Who has accounts at the server, in a file."""

    def __init__(self, server: AcmeDnsStandin, modules: WarmModules, path: Path) -> None:
        self.server, self._modules, self.path = server, modules, path

    def run(self, *domains: str, check: bool = False, **options: t.Any) -> Done:
        """Run acme_dns_account for these names."""
        given = {"url": self.server.url, "ca_path": str(self.server.ca_path), "accounts_path": str(self.path)}
        modes = {"_ansible_check_mode": check, "_ansible_diff": True}
        given.update({"domains": [*domains], **modes, **options})
        return Done(self._modules.run("acme_dns_account", given, plain_environment()))

    def register(self, *domains: str, **options: t.Any) -> Done:
        """The same, where it must not fail."""
        return self.run(*domains, **options).ok

    @property
    def kept(self) -> dict[str, dict[str, t.Any]]:
        kept: dict[str, dict[str, t.Any]] = json.loads(self.path.read_text())
        return kept

    def publisher(self, **options: t.Any) -> AcmeDns:
        given = {"url": self.server.url, "ca_path": str(self.server.ca_path), "accounts_path": str(self.path)}
        return AcmeDns({"ttl": 60, "timeout": 10, **given, **options})

    def fulldomain(self, domain: str = APEX) -> str:
        return str(self.kept[domain]["fulldomain"])

    def secrets(self) -> list[str]:
        return [account[what] for account in self.server.accounts.values() for what in ("username", "password")]


@pytest.fixture
def user(server: AcmeDnsStandin, warm_modules: WarmModules, tmp_path: Path) -> User:
    return User(server, warm_modules, tmp_path / "kept/acme-dns.json")


def record(name: str, *entries: str) -> DnsRecord:
    return DnsRecord(f"{name}.", entries, (APEX,))


def test_names_are_registered_once_and_the_records_to_add_are_told(user: User) -> None:
    names = (WILDCARD, APEX, "_acme-challenge.Corp.Example.Com.", "other.example.com")
    done = user.register(*names)
    assert (done["changed"], len(user.server.accounts)) == (True, 2)
    assert [account["domain"] for account in done["accounts"]] == [APEX, "other.example.com"]
    fulldomain = user.fulldomain()
    assert fulldomain.endswith(".auth.example.org")
    assert done["cname_records"][0] == {"name": f"_acme-challenge.{APEX}.", "target": f"{fulldomain}."}
    assert done["instructions"][1] == f"_acme-challenge.{APEX}.  300  IN  CNAME  {fulldomain}."
    assert done["diff"] == {"before": {"domains": []}, "after": {"domains": [APEX, "other.example.com"]}}
    assert stat.S_IMODE(user.path.stat().st_mode) == 0o600

    again = user.register(*names)
    assert (again["changed"], len(user.server.accounts)) == (False, 2)
    assert [again[key] for key in ("accounts", "cname_records")] == [done[key] for key in ("accounts", "cname_records")]
    assert not [one for one in user.secrets() if one in json.dumps([done.values, again.values])]


def test_check_mode_registers_nothing_and_tells_what_is_known(user: User) -> None:
    user.register(APEX)
    before = user.path.read_bytes()
    seen = user.register(APEX, "other.example.com", check=True)
    assert (seen["changed"], len(user.server.accounts), user.path.read_bytes()) == (True, 1, before)
    assert [account["domain"] for account in seen["accounts"]] == [APEX]
    assert seen["diff"]["after"] == {"domains": [APEX, "other.example.com"]}
    assert not user.register(APEX, check=True)["changed"]


def test_check_mode_of_the_first_run_leaves_nothing_on_disk(user: User) -> None:
    assert user.register(APEX, check=True)["changed"]
    assert not user.path.parent.exists()


def test_what_was_registered_before_a_failure_is_kept_and_the_next_run_registers_the_rest(user: User) -> None:
    user.server.capacity = 2
    names = [f"{name}.example.com" for name in ("a", "b", "c")]
    assert "refused to register for https://127.0.0.1" in (error := user.run(*names).error)
    assert '500 Internal Server Error, {"error": "database or disk is full"}' in error
    assert [*user.kept] == names[:2]
    user.server.capacity = None
    assert user.register(*names)["changed"]
    assert ([*user.kept], len(user.server.accounts)) == (names, 3)


def test_a_run_that_is_killed_has_kept_all_but_the_account_that_was_on_its_way(
    user: User, warm_modules: WarmModules
) -> None:
    names, server = [f"{name}.example.com" for name in ("a", "b", "c")], user.server
    server.registered = lambda: len(server.accounts) == 3 and warm_modules.kill_runs()
    with pytest.raises(ModuleDied):
        user.run(*names)
    assert [*user.kept] == names[:2]
    assert user.run(*names).ok["changed"]
    assert ([*user.kept], len(server.accounts)) == (names, 4)


def test_a_file_that_cannot_be_written_costs_no_account(user: User) -> None:
    assert "lock file cannot be written" in user.run(APEX, accounts_path="/proc/none/accounts.json").error
    user.path.mkdir(parents=True)
    assert "cannot be read (Is a directory)" in user.run(APEX).error
    assert user.server.accounts == {}


def test_accounts_that_another_client_keeps_are_used_as_they_are(user: User) -> None:
    """As goacmedns writes them, for lego and cert-manager."""
    keys = ("fulldomain", "subdomain", "username", "password")
    _status, account = user.server.register(b"")
    user.path.parent.mkdir()
    user.path.write_text(json.dumps({APEX: {**{key: account[key] for key in keys}, "server_url": user.server.url}}))
    done = user.register(WILDCARD)
    assert (done["changed"], len(user.server.accounts)) == (False, 1)
    user.publisher().add([record(account["fulldomain"], FIRST)])
    assert user.server.entries(account["fulldomain"]) == [FIRST]


def test_a_name_with_an_account_elsewhere_is_not_taken_for_one_here(user: User) -> None:
    user.register(APEX)
    elsewhere = {APEX: {**user.kept[APEX], "server_url": "https://auth.example.net"}}
    user.path.write_text(json.dumps(elsewhere))
    assert f"{APEX} has an account there already, at https://auth.example.net" in user.run(APEX).error
    assert len(user.server.accounts) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"domains": ["https://corp.example.com"]}, "domains 'https://corp.example.com': not a DNS name"),
        ({"domains": []}, "domains: no names given"),
        ({"url": "auth.example.org"}, "url: not a plain URL"),
        ({"url": "https://user:secret@auth.example.org"}, "url: not a plain URL"),
        ({"allow_from": ["192.0.2.7/24"]}, "allow_from '192.0.2.7/24': 192.0.2.7/24 has host bits set"),
        ({"ca_path": "/nowhere/ca.pem"}, "ca_path '/nowhere/ca.pem': no root certificate can be read there (No such"),
        ({"ca_path": None}, "For a private CA, give its root certificate in ca_path"),
        ({"timeout": 0}, "timeout '0': not a number of seconds"),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_option(user: User, options: dict[str, t.Any], said: str) -> None:
    assert said in user.run(APEX, **options).error
    assert user.server.accounts == {}


def test_a_single_address_is_a_network_too(user: User) -> None:
    user.register(APEX, allow_from=["127.0.0.1", "2001:db8::/32"])
    assert user.kept[APEX]["allowfrom"] == ["127.0.0.1/32", "2001:db8::/32"]
    user.publisher().add([record(user.fulldomain(), FIRST)])
    assert user.server.entries(user.fulldomain()) == [FIRST]


def test_an_account_may_be_written_from_its_networks_only(user: User) -> None:
    user.register(APEX, allow_from=["192.0.2.0/24"])
    with pytest.raises(UserError) as raised:
        user.publisher().add([record(user.fulldomain(), FIRST)])
    assert (
        f'refused an update of {user.fulldomain()} for {user.server.url}: 401 Unauthorized, {{"error": "forbid'
        in str(raised.value)
    )
    assert "the addresses that may write (allowfrom)" in str(raised.value)
    assert not [one for one in user.secrets() if one in str(raised.value)]


def test_two_values_are_at_one_name_also_when_they_are_added_again_at_once(user: User) -> None:
    user.register(WILDCARD)
    publisher = user.publisher()
    assert publisher.delegation == {f"_acme-challenge.{APEX}.": f"{user.fulldomain()}."}
    for _time in range(2):
        publisher.add([record(user.fulldomain(), FIRST, SECOND)])
        assert user.server.entries(user.fulldomain()) == [FIRST, SECOND]
    publisher.remove([record(user.fulldomain(), FIRST, SECOND)])
    publisher.add([record(f"_acme-challenge.{APEX}", THIRD)])
    assert THIRD in user.server.entries(user.fulldomain())

    host, _colon, port = user.server.resolver.partition(":")
    answer = dns.query.udp(dns.message.make_query(user.fulldomain(), "TXT"), host, port=int(port), timeout=5)
    assert len(answer.answer[0]) == 2


def test_nothing_is_written_where_something_does_not_fit(user: User) -> None:
    user.register(APEX, "other.example.com")
    publisher, fits = user.publisher(), record(user.fulldomain(), FIRST)
    with pytest.raises(BadInput, match=f"3 values are to be at {user.fulldomain('other.example.com')}, and .* keeps 2"):
        publisher.add([fits, record(user.fulldomain("other.example.com"), FIRST, SECOND, THIRD)])
    with pytest.raises(BadInput, match="takes no value like 'ca.example; policy=wildcard', only the 43 characters"):
        publisher.add([fits, record(user.fulldomain("other.example.com"), "ca.example; policy=wildcard")])
    unknown = r"none of them is for www.example.com \(there are some for corp.example.com, other.example.com\)"
    with pytest.raises(BadInput, match=unknown):
        publisher.add([fits, record("www.example.com", FIRST)])
    assert user.server.updates == []


def test_accounts_of_the_option_beat_those_of_the_file(user: User) -> None:
    user.register(APEX)
    _status, other = user.server.register(b"")
    given = {key: other[key] for key in ("fulldomain", "subdomain", "username", "password")}
    user.publisher(accounts=[{"domain": WILDCARD, **given}]).add([record(f"_acme-challenge.{APEX}", FIRST)])
    assert user.server.updates == [(other["fulldomain"], FIRST)]


def test_a_wrong_password_is_told_as_such_and_not_shown(user: User) -> None:
    user.register(APEX)
    keep = user.kept[APEX]
    for password in ("wrong-" + "x" * 34, "with a\nline"):
        user.path.write_text(json.dumps({APEX: {**keep, "password": password}}))
        with pytest.raises(UserError, match="user name|User name") as raised:
            user.publisher().add([record(user.fulldomain(), FIRST)])
        assert password not in str(raised.value)
        assert repr(password)[1:-1] not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "accounts_path '[^']*': no such file"),
        ("{", "accounts_path '[^']*': is not JSON"),
        ("[]", "accounts_path '[^']*': holds no JSON object"),
        ("{}", "publisher.accounts: there is no account"),
        ('{"corp.example.com": {"password": "hidden", "subdomain": ""}}', "has no subdomain, fulldomain, username"),
    ],
)
def test_a_file_without_accounts_is_told_and_not_quoted(user: User, text: str | None, said: str) -> None:
    user.path.parent.mkdir()
    if text is not None:
        user.path.write_text(text)
    with pytest.raises(BadInput) as raised:
        user.publisher()
    assert re.search(said, str(raised.value))
    assert "hidden" not in str(raised.value)


def test_a_server_that_cannot_be_reached_is_named(user: User) -> None:
    user.register(APEX)
    user.path.write_text(json.dumps({APEX: {**user.kept[APEX], "server_url": None}}))
    with pytest.raises(
        UserError, match="cannot be asked for https://127.0.0.1:1/update: ConnectionError.*publisher.url"
    ):
        user.publisher(url="https://127.0.0.1:1").add([record(user.fulldomain(), FIRST)])
