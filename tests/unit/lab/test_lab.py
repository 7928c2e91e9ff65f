# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab as a whole issues a certificate by a pasted record, runs playbooks, knows its secrets, and stops cleanly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import record_lines
from ansible_collections.zerotrust.pomerium.tests.lab.secret_forms import key_forms
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until
from cryptography import x509

LAB = Path(__file__).resolve().parents[3] / "tests/lab/lab.py"
PLAYBOOK = """\
- hosts: pomerium
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: "{{ pomerium_config_path }} {{ certificate_identifiers }}"}
"""


@pytest.fixture(scope="module")
def lab() -> t.Iterator[Lab]:
    with Lab(
        faults=True, pebble={"nonce_reject": 0, "eab_keys": {"kid-1": "c2VjcmV0LWVhYi1rZXktb2YtdGhlLXRlc3Q"}}
    ) as up:
        yield up


def issue(lab: Lab, names: list[str]) -> str:
    """The full chain that the stock acme library gets, with its records pasted as a person would."""
    import josepy
    from acme import challenges, client, crypto_util, messages

    key = josepy.JWKRSA(key=new_key("rsa-2048"))
    ca_path: t.Any = str(lab.pebble.ca_path)  # a path reaches requests unchanged, whatever the annotation says
    network = client.ClientNetwork(key, user_agent="lab test", verify_ssl=ca_path)
    directory = client.ClientV2.get_directory(lab.directory_url, network)
    acme = client.ClientV2(directory, network)
    acme.new_account(messages.NewRegistration.from_data(terms_of_service_agreed=True))
    order = acme.new_order(crypto_util.make_csr(key_pem(new_key("ec-256")), names))
    answers = []
    for authorization in order.authorizations:
        name = authorization.body.identifier.value
        challenge = next(c for c in authorization.body.challenges if isinstance(c.chall, challenges.DNS01))
        lab.paste([f'  _acme-challenge.{name}.  300  IN  TXT  "{challenge.validation(key)}"'])
        answers.append((challenge, challenge.response(key)))
    for challenge, response in answers:
        acme.answer_challenge(challenge, response)
    chain = str(acme.poll_and_finalize(order).fullchain_pem)
    network.session.close()
    return chain


def test_a_wildcard_is_issued_by_pasted_records_through_the_proxy(lab: Lab) -> None:
    mark = lab.pebble.mark()
    chain = x509.load_pem_x509_certificates(issue(lab, ["*.corp.example.com", "corp.example.com"]).encode())
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"*.corp.example.com", "corp.example.com"}
    root = x509.load_pem_x509_certificate(lab.pebble.root_pem())
    chain[-1].verify_directly_issued_by(root)
    assert (chain[0].not_valid_after_utc - chain[0].not_valid_before_utc).days in (89, 90)
    resources = [request.resource for request in lab.pebble.requests(mark)]
    assert resources.count("newOrder") == resources.count("finalize") == 1
    assert lab.proxy is not None
    assert lab.proxy.resources().count("newOrder") == 1
    lab.clear_records()


def test_hosts_are_up_and_described_in_the_inventory(lab: Lab) -> None:
    inventory = yaml.safe_load(lab.inventory_path.read_text())["pomerium"]["hosts"]
    assert list(inventory) == ["pom1", "pom2"]
    assert Path(inventory["pom2"]["pomerium_config_path"]).read_text() == lab.host("pom2").config_text
    for host in lab.hosts:
        assert "Pomerium PSK CA" in host.served().leaf.issuer.rfc4514_string()


def test_the_wildcard_cname_of_the_guide_is_in_the_zone(lab: Lab) -> None:
    assert "*.corp  IN  CNAME" in lab.zone_path.read_text()


def test_playbooks_see_the_inventory_and_the_variables_and_no_settings_of_the_caller(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_INVENTORY", "/nonexistent")
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "nonexistent")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    run = lab.playbook(tmp_path / "play.yml", "--limit", "pom2")
    assert run.rc == 0, run.output
    assert f"{lab.host('pom2').config_path} ['*.corp.example.com', 'corp.example.com']" in run.stdout
    assert run.stats("pom2")["ok"] == 1
    assert lab.leaked(run.output) == []


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_playbook_that_hangs_is_ended_and_said(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAYBOOK.replace("debug: {msg", "pause: {seconds: 99, prompt"))
    with pytest.raises(TimeoutError, match=r"play\.yml: not done in 1 s"):
        lab.playbook(tmp_path / "play.yml", timeout=1)
    needle = str(tmp_path / "play.yml").encode()

    def is_gone() -> bool:
        return not [path for path in Path("/proc").glob("[0-9]*/cmdline") if needle in read(path)]

    until(is_gone, what="the playbook's processes to be gone")  # killed ones are in a moment, others pause for 99 s


def test_secrets_are_found_in_every_form(lab: Lab) -> None:
    lab.account_key_path.write_bytes(key_pem(new_key("ec-256")))
    secrets = lab.secrets()
    assert any(what.endswith("d in base64url") for what in secrets)
    assert {"EAB key kid-1", "cookie_secret of pom1", "shared_secret of pom2"} <= set(secrets)
    assert lab.leaked(f"x{lab.host('pom1').cookie_secret}x") == ["cookie_secret of pom1"]
    assert lab.leaked(lab.account_key_path.read_text()) != []
    lab.account_key_path.unlink()


@pytest.mark.parametrize("key_type", ["ec-256", "ec-384", "rsa-2048"])
def test_forms_of_a_key_are_those_of_its_private_part_only(tmp_path: Path, key_type: str) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = new_key(key_type)
    (tmp_path / "key.pem").write_bytes(key_pem(key))
    forms = key_forms(tmp_path / "key.pem")
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert len(forms) >= 6
    assert not [what for what, form in forms.items() if form in public]
    assert [what for what, form in forms.items() if form in key_pem(key).decode()]


def test_printed_records_are_read_from_plain_and_from_json_output() -> None:
    plain = "_acme-challenge.corp.example.com.  300  IN  TXT  Yz0B1U"
    quoted = '        "_acme-challenge.corp.example.com.  300  IN  TXT  oth-er_",'
    assert record_lines(f"Add these:\n{plain}\n{quoted}\n{plain}") == [plain, plain.replace("Yz0B1U", "oth-er_")]


def test_pasting_what_is_no_record_is_told(lab: Lab) -> None:
    with pytest.raises(ValueError, match="no zone file"):
        lab.paste("Add these TXT records, then run this again\n")
    lab.clear_records()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_line_leaves_it_running_and_stops_all_of_it(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, str(LAB), "--directory", str(tmp_path), "--hosts", "1", "--fault", "newOrder:429:3600"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        if process.stdout is None:
            raise RuntimeError("no output")
        printed = []
        for line in process.stdout:
            printed.append(line)
            if "openssl s_client" in line:  # the last one
                break
        assert "zerotrust.pomerium.site" in "".join(printed)
        assert "  FAULT    newOrder:429:3600\n" in printed
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), what="the end of its parts")
