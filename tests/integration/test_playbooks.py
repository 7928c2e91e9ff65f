# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks, as a user runs them by their names: the guide from nothing to a certificate that is served."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.chain import describe
from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import have_certificate, have_served
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import PlaybookRun

SITE = "zerotrust.pomerium.site"
NAMES = {"*.corp.example.com", "corp.example.com"}


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    with Lab() as started:
        yield started


def served_names(lab: Lab) -> list[set[str]]:
    """The names on the certificate that each host serves for a name below the wildcard."""
    leaves = [host.served("app.corp.example.com").leaf for host in lab.hosts]
    return [set(describe(leaf).names) for leaf in leaves]


def changes(lab: Lab, run: t.Any) -> int:
    return sum(run.stats(host.name)["changed"] for host in lab.hosts)


def test_the_guide_from_nothing_to_a_certificate_that_is_served(lab: Lab) -> None:
    before = [host.config_text for host in lab.hosts]

    first = lab.playbook(SITE)
    assert first.rc == 0, first.output
    assert len(first.record_lines) == 2
    assert [host.config_text for host in lab.hosts] == before

    again = lab.playbook(SITE)
    assert again.rc == 0, again.output
    assert again.record_lines == first.record_lines
    assert changes(lab, again) == 0

    lab.paste(first.record_lines)
    second = lab.playbook(SITE)
    assert second.rc == 0, second.output
    assert served_names(lab) == [NAMES, NAMES]
    for host, text in zip(lab.hosts, before):
        added = [line for line in host.config_text.splitlines() if line not in text.splitlines()]
        keys = [line.partition(":")[0] for line in added]
        assert keys == ["certificate_file", "certificate_key_file", "certificate_authority_file"]
        assert all(line in host.config_text.splitlines() for line in text.splitlines())

    mark = lab.pebble.mark()
    third = lab.playbook(SITE)
    assert third.rc == 0, third.output
    assert changes(lab, third) == 0
    assert lab.pebble.requests(mark) == []


def test_order_finalize_and_install_are_the_same_by_steps(lab: Lab) -> None:
    order = lab.playbook("zerotrust.pomerium.order")
    assert order.rc == 0, order.output

    early = lab.playbook("zerotrust.pomerium.finalize")
    assert early.rc != 0
    assert lab.dns.resolver in early.output
    assert early.record_lines == order.record_lines

    lab.paste(order.record_lines)
    finalize = lab.playbook("zerotrust.pomerium.finalize")
    assert finalize.rc == 0, finalize.output
    assert NAMES not in served_names(lab)

    mark = lab.pebble.mark()
    install = lab.playbook("zerotrust.pomerium.install")
    assert install.rc == 0, install.output
    assert served_names(lab) == [NAMES, NAMES]
    assert lab.pebble.requests(mark) == []


def test_install_without_a_certificate_says_how_to_get_one(lab: Lab) -> None:
    run = lab.playbook("zerotrust.pomerium.install")
    assert run.rc != 0
    assert "There is no certificate pomerium in the store" in run.output
    assert lab.pebble.requests() == []


def test_a_pattern_without_hosts_fails_before_anything_is_ordered(lab: Lab) -> None:
    run = lab.playbook(SITE, "-e", "pomerium_hosts=nowhere")
    assert run.rc != 0
    assert "No host matches nowhere" in run.output
    assert lab.pebble.requests() == []


def test_names_may_be_typed_into_a_survey_as_one_string(lab: Lab) -> None:
    run = lab.playbook(SITE, "-e", "certificate_identifiers='*.corp.example.com, corp.example.com'")
    assert run.rc == 0, run.output
    assert len(run.record_lines) == 2


def stop_ca(lab: Lab) -> str:
    lab.pebble.stop()
    return "The CA cannot be reached"


def reach_limit(lab: Lab) -> str:
    assert lab.proxy is not None
    lab.proxy.inject("newOrder:429:3600")
    return "rateLimited"


def lose_records(lab: Lab) -> str:
    """The records are said to be published, and the CA does not see them."""
    tasks = lab.directory / "publish.yml"
    tasks.write_text("- name: Publish\n  ansible.builtin.debug:\n    msg: published\n")
    lab.write_vars(certificate_publish_tasks=str(tasks), certificate_verify_dns="none")
    return "The order has failed and cannot be used any more: *.corp.example.com"


@pytest.mark.parametrize("spoil", [stop_ca, reach_limit, lose_records])
def test_an_error_still_installs_the_certificate_that_is_there_and_is_the_last_word(
    spoil: t.Callable[[Lab], str],
) -> None:
    with Lab(faults=spoil is reach_limit) as lab:
        have_served(lab)
        newcomer = lab.hosts[1]
        newcomer.config_path.write_text(newcomer.original_config_text)
        said = spoil(lab)
        run = lab.playbook(SITE, "-e", '{"certificate_identifiers": ["*.corp.example.com"]}')
        assert (run.rc, run.stats("pom2")["changed"]) == (2, 1), run.output
        assert served_names(lab) == [NAMES, NAMES]
        last = run.stdout.rpartition("TASK [zerotrust.pomerium.certificate : Fail with the error of the cert")[2]
        assert said in last
        assert said in run.stdout.rpartition("TASK [Say how it went]")[2].partition("TASK [Fail where")[0]


def test_check_mode_of_the_first_run_changes_nothing_anywhere_and_says_what_would_happen(lab: Lab) -> None:
    before = [host.config_text for host in lab.hosts]
    run = lab.playbook(SITE, "--check", "--diff")
    assert run.rc == 0, run.output
    assert "Would order a certificate for *.corp.example.com, corp.example.com, since it is due: missing." in run.output
    assert lab.pebble.requests() == []
    assert not Path(lab.store_path).exists()
    assert not lab.account_key_path.exists()
    assert [host.config_text for host in lab.hosts] == before


def test_a_node_that_only_looks_fails_where_a_certificate_is_due(lab: Lab) -> None:
    look = ("zerotrust.pomerium.order", "-e", "certificate_order=never", "-e", "certificate_expect=current")
    due = lab.playbook(*look)
    assert due.rc == 2
    assert "A certificate for *.corp.example.com, corp.example.com is due (missing)." in " ".join(due.output.split())
    assert lab.pebble.requests() == []
    have_certificate(lab)
    current = lab.playbook(*look)
    assert current.rc == 0, current.output
    renewed = lab.playbook(SITE, "-e", "certificate_expect=current", "-e", "certificate_key_type=ec-384")
    assert renewed.rc == 2 and "is due (key_type)" in " ".join(renewed.output.split())
    lab.paste(renewed.record_lines)
    done = lab.playbook(SITE, "-e", "certificate_expect=current", "-e", "certificate_key_type=ec-384")
    assert done.rc == 0, done.output


def handed_on(run: PlaybookRun) -> dict[str, t.Any]:
    """What a later job of a workflow gets of a run, and a notification can show."""
    stats = run.stdout.rpartition("CUSTOM STATS: ")[2]
    return t.cast("dict[str, t.Any]", json.loads(stats.partition("RUN: ")[2])["pomerium_certificate"])


def test_what_a_person_has_to_do_and_what_is_in_use_is_handed_on_once_and_holds_no_secret(lab: Lab) -> None:
    shown = {"ANSIBLE_SHOW_CUSTOM_STATS": "true"}
    first = lab.playbook(SITE, env=shown)
    ordered = handed_on(first)
    assert (ordered["action_required"], ordered["renewed"], ordered["names"]) == (True, False, [])
    assert [line for line in ordered["instructions"] if line in first.record_lines] == first.record_lines
    lab.paste(first.record_lines)
    second = handed_on(lab.playbook(SITE, env=shown))
    assert (second["action_required"], second["renewed"], {*second["names"]}) == (False, True, NAMES)
    assert second["not_after"] > second["renew_at"]
    assert lab.leaked(json.dumps([ordered, second])) == []


def test_a_variable_that_is_missing_is_said_once_for_the_whole_fleet(lab: Lab) -> None:
    given = {name: value for name, value in lab.variables().items() if name != "certificate_identifiers"}
    lab.vars_path.write_text(yaml.safe_dump(given))
    run = lab.playbook(SITE)
    assert run.rc == 2
    assert "missing required arguments: certificate_identifiers" in run.output
    assert run.stdout.count("fatal: [") == 1
    assert lab.pebble.requests() == []


def test_a_renewal_changes_the_certificate_and_nothing_else_on_the_hosts(lab: Lab) -> None:
    have_served(lab)
    texts = [host.config_text for host in lab.hosts]
    serials = [host.served("app.corp.example.com").leaf.serial_number for host in lab.hosts]

    order = lab.playbook(SITE, "-e", "certificate_key_type=ec-384")
    lab.paste(order.record_lines)
    renewal = lab.playbook(SITE, "-e", "certificate_key_type=ec-384")
    assert renewal.rc == 0, renewal.output
    renewed = [host.served("app.corp.example.com").leaf.serial_number for host in lab.hosts]
    assert len({*serials}) == len({*renewed}) == 1
    assert serials != renewed
    assert [host.config_text for host in lab.hosts] == texts


def test_no_secret_is_in_what_a_run_prints_at_the_highest_verbosity(lab: Lab) -> None:
    """R45, for the whole way: account key, certificate key, secrets of the configuration."""
    first = lab.playbook(SITE, "-vvvv", "--diff")
    lab.paste(first.record_lines)
    second = lab.playbook(SITE, "-vvvv", "--diff")
    third = lab.playbook(SITE, "-vvvv", "--diff")
    assert [run.rc for run in (first, second, third)] == [0, 0, 0]
    assert len(lab.secrets()) > 6
    assert lab.leaked(first.output + second.output + third.output) == []


def test_an_account_file_brings_the_ca_and_the_key_and_a_variable_beats_it(lab: Lab) -> None:
    """As a credential of AWX writes it, with empty values for what was not filled in."""
    lab.account_key_path.write_bytes(key_pem(new_key("ec-256")))
    path = lab.directory / "account.json"
    account = {
        "acme_directory": lab.directory_url,
        "account_key_content": lab.account_key_path.read_text(),
        "account_key_passphrase": "",
        "account_uri": "",
        "external_account_binding": {"kid": "", "key": ""},
        "ca_content": lab.pebble.ca_path.read_text(),
    }
    path.write_text(json.dumps(account))
    nothing = {"acme_directory": "", "account_key_path": "", "ca_path": ""}
    lab.write_vars(certificate_account_file=str(path), **{f"certificate_{key}": nothing[key] for key in nothing})
    first = lab.playbook(SITE)
    lab.paste(first.record_lines)
    second = lab.playbook(SITE)
    assert (first.rc, second.rc) == (0, 0), first.output + second.output
    assert served_names(lab) == [NAMES, NAMES]
    beaten = lab.playbook(
        SITE, "-e", "certificate_acme_directory=https://127.0.0.1:1/dir", "-e", "certificate_order=force"
    )
    assert beaten.rc != 0 and "https://127.0.0.1:1/dir" in beaten.output
    assert lab.leaked(beaten.output) == []
