# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_certificate with publishers that write by an HTTP API: lexicon at PowerDNS, and acme_dns; R45 for their secrets.

Ansible runs the modules here, so what goes to the children and comes from them is what a user's run has.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, Done, made, printed, tree
from ansible_collections.zerotrust.pomerium.tests.lab.acme_dns import AcmeDnsStandin
from ansible_collections.zerotrust.pomerium.tests.lab.needed import need
from ansible_collections.zerotrust.pomerium.tests.lab.powerdns import PowerDns, what_is_missing

NAME = "_acme-challenge.corp.example.com"
LOUD = ("-vvvv", "--diff")
Start = t.Callable[..., Controller]


def remembered(controller: Controller, *except_for: str) -> str:
    """All files of the controller."""
    kept = [data for name, data in tree(controller.home).items() if name not in except_for]
    return b"\n".join(kept).decode(errors="replace")


@pytest.fixture
def powerdns(tmp_path: Path) -> t.Iterator[PowerDns]:
    need(what_is_missing())
    with PowerDns(tmp_path / "powerdns", "example.com") as server:
        server.put("example.com", NAME, "somebody-elses")
        yield server


def test_by_a_providers_api_one_task_does_it_all_and_its_token_is_nowhere(powerdns: PowerDns, start: Start) -> None:
    """The token as an option, as YAML text (AWX has it so), in a file; also where a task fails."""
    controller = start(resolver=powerdns.resolver)
    common = {"type": "lexicon", "provider": "powerdns", "options": {"pdns_server": powerdns.url}}
    secrets = {"auth_token": powerdns.key}
    file = controller.home / "publisher.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({**common, "secrets": f"auth_token: {powerdns.key}\n"}))
    wrong = [
        {"options": {"pdns_server": "http://127.0.0.1:1"}, "secrets": secrets},
        {"provider": "cloudfare", "secrets": secrets},
        {"secrets": {**secrets, "auth_tokn": powerdns.key}},
        {"secrets": f"auth_token={powerdns.key}"},
    ]
    looking = {"resolvers": [powerdns.resolver], "verify_dns": "recursive", "propagation_timeout": 20}
    runs = controller.play_all(
        [
            *(("acme_certificate", {**looking, "publisher": {**common, **given}}) for given in wrong),
            ("acme_certificate", {**looking, "publisher_file": str(file)}),
            ("acme_certificate", {**looking, "publisher": {**common, "secrets": secrets}}),
        ],
        *LOUD,
    )
    assert [bool(run.values["failed"]) for run in runs] == [True] * 4 + [False] * 2
    assert all(run.error for run in runs[:4]), "no traceback"
    assert (runs[4]["phase"], runs[4]["records_to_remove"], runs[5]["phase"]) == ("issued", [], "idle")
    assert made(controller.lab) == {"accounts": 1, "orders": 1, "certificates": 1}
    assert powerdns.entries(NAME) == ["somebody-elses"]
    assert powerdns.key not in printed(runs)
    assert powerdns.key not in remembered(controller, "publisher.json")


ZONE = "$TTL 60\n@ IN SOA ns1 hostmaster 1 60 60 60 60\n@ IN NS ns1\nns1 IN A 127.0.0.1\n"


class Delegated(t.NamedTuple):
    """A controller that has registered corp.example.com at a server; the CNAME is in the zone, which it serves too."""

    server: AcmeDnsStandin
    controller: Controller
    registered: Done
    options: dict[str, t.Any]

    @property
    def account(self) -> dict[str, t.Any]:
        accounts = [*self.server.accounts.values()]
        assert len(accounts) == 1
        return accounts[0]


@pytest.fixture
def delegated(start: Start, tmp_path: Path) -> t.Iterator[Delegated]:
    zone = tmp_path / "example.com.zone"
    zone.write_text(ZONE)
    with AcmeDnsStandin(tmp_path / "acme-dns", zones={"example.com": zone}) as server:
        controller = start(resolver=server.resolver)
        path = controller.home / "acme-dns.json"
        reach = {"url": server.url, "ca_path": str(server.ca_path), "accounts_path": str(path)}
        registered = controller.play("acme_dns_account", *LOUD, **reach, domains=["*.corp.example.com"]).ok
        with zone.open("a") as file:
            file.writelines(f"{line}\n" for line in registered["instructions"][1:])
        looking = {"resolvers": [server.resolver], "verify_dns": "recursive", "propagation_timeout": 20}
        yield Delegated(server, controller, registered, {**looking, "publisher": {"type": "acme_dns", **reach}})


def test_at_acme_dns_a_cname_made_once_is_all_that_is_needed_and_its_passwords_are_nowhere(
    delegated: Delegated,
) -> None:
    controller, account, options = delegated.controller, delegated.account, delegated.options
    given = {key: account[key] for key in ("subdomain", "fulldomain", "username", "password")}
    wrong = {"accounts_path": None, "accounts": [{**given, "domain": "www.example.com"}]}
    runs = controller.play_all(
        [
            ("acme_certificate", {**options, "publisher": {**options["publisher"], **wrong}}),
            ("acme_certificate", options),
            ("acme_certificate", options),
        ],
        *LOUD,
    )
    assert "there are some for www.example.com" in runs[0].error
    assert [run.ok["phase"] for run in runs[1:]] == ["issued", "idle"]
    assert made(controller.lab) == {"accounts": 1, "orders": 1, "certificates": 1}
    updates = delegated.server.updates
    assert len(updates) == 2 and {name for name, _value in updates} == {account["fulldomain"]}
    for text in (printed([delegated.registered, *runs]), remembered(controller, "acme-dns.json")):
        assert account["password"] not in text


def test_a_value_at_acme_dns_is_published_once_and_is_not_waited_for_to_vanish(delegated: Delegated) -> None:
    options = {**delegated.options, "records": [{"name": NAME, "entries": ["A" * 43]}]}
    runs = delegated.controller.play_all(
        [
            ("acme_dns_record", options),
            ("acme_dns_record", options),
            ("acme_dns_record", {**options, "state": "absent"}),
        ]
    )
    assert [run.ok["changed"] for run in runs] == [True, False, False]
    assert delegated.server.entries(delegated.account["fulldomain"]) == ["A" * 43]
