# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the documentation shows does what it says: the plays of README and guides, and the modules' EXAMPLES, run.

They are run as they stand, but for the places: the directories are the lab's, /srv/acme a directory of the test,
and what the lab needs beyond (its CA, its resolver, a host's own paths) is added to the tasks. Not run are the examples
of pomerium_certificate that name an address or files of somebody's own.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.tests.integration.acme_in_process import have_served
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import made
from ansible_collections.zerotrust.pomerium.tests.lab.acme_dns import AcmeDnsStandin
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.pebble import DAY
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import PlaybookRun
from ansible_collections.zerotrust.pomerium.tests.unit.test_examples import (
    list_guide_blocks,
    list_readme_blocks,
    read_examples,
)
from cryptography import x509

MODULES = Path(__file__).parents[2] / "plugins" / "modules"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
OTHER = "https://acme.example.com/directory"
EAB = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
NAMES = "*.corp.example.com"


@pytest.fixture
def lab() -> t.Iterator[Lab]:
    with Lab(pebble={"eab_keys": EAB}) as started:
        credential = started.directory / "srv" / "credential.json"
        credential.parent.mkdir()
        account = {"acme_directory": started.directory_url, "account_key_path": f"{credential.parent}/other-2027.pem"}
        credential.write_text(json.dumps(account))
        started.write_vars(eab_kid="kid-1", eab_key=EAB["kid-1"], certificate_account_file=str(credential))
        yield started


def adapt(lab: Lab, text: str) -> list[dict[str, t.Any]]:
    """Read plays, or tasks (which become one play), with the lab's places."""
    text = (
        text.replace(STAGING, lab.directory_url)
        .replace(OTHER, lab.directory_url)
        .replace("/srv/acme", str(lab.directory / "srv"))
        .replace("/srv/certificates", str(lab.directory / "srv" / "store"))
        .replace("/srv/dns/example.com.zone", str(lab.zone_path))
    )
    found = yaml.safe_load(text)
    plays = found if "hosts" in found[0] else [{"hosts": "pomerium", "gather_facts": False, "tasks": found}]
    for play in plays:
        play.pop("become", None)
        play.setdefault("vars", {})["ansible_python_interpreter"] = "{{ ansible_playbook_python }}"
        for task in play.get("tasks", []):
            task.pop("become", None)
            for module, options in task.items():
                if module.startswith("zerotrust.pomerium."):
                    task[module] = {**(options or {}), **needed(lab, module)}
                    if "publisher" in task[module]:
                        task[module]["publisher"] = {**task[module]["publisher"], **lab.publisher}
    return t.cast("list[dict[str, t.Any]]", plays)


def needed(lab: Lab, module: str) -> dict[str, t.Any]:
    name = module.rpartition(".")[2]
    if name.startswith("pomerium"):
        return {"config_path": "{{ pomerium_config_path }}", "directory": "{{ pomerium_directory }}"}
    options: dict[str, t.Any] = {} if name == "acme_dns_record" else {"ca_path": str(lab.pebble.ca_path)}
    if name in ("acme_order", "acme_finalize", "acme_certificate", "acme_dns_record"):
        options.update(resolvers=[lab.dns.resolver], verify_dns="recursive")
    return options


def run(lab: Lab, plays: list[dict[str, t.Any]]) -> PlaybookRun:
    path = lab.directory / "documented.yml"
    path.write_text(yaml.safe_dump(plays, sort_keys=False))
    done = lab.playbook(path)
    assert done.rc == 0, done.output
    assert "[WARNING]" not in done.output, done.output
    return done


def visits(lab: Lab) -> list[int]:
    """How each host answers a client that trusts the lab's CA."""
    return [host.visit("app.corp.example.com", root_pem=lab.pebble.root_pem()).status for host in lab.hosts]


def test_the_four_steps_of_the_readme_end_with_a_certificate_that_is_served(lab: Lab) -> None:
    first, second = [block for block in list_readme_blocks() if "zerotrust.pomerium.acme_" in block]
    ordered = run(lab, adapt(lab, first))
    assert len(ordered.record_lines) == 2
    lab.paste(ordered.record_lines)
    run(lab, adapt(lab, second))
    assert visits(lab) == [200, 200]


def without_what_differs(output: str) -> str:
    """An output without what is another in every run: the values of the records, and the time."""
    return re.sub(r"TXT  [\w-]{43}|until [-\d]+ [:\d]+ UTC", "...", output)


def test_the_guide_by_hand_prints_what_it_shows_and_ends_with_a_certificate_that_is_served(lab: Lab) -> None:
    order, fetch, install = (adapt(lab, block) for block in list_guide_blocks("guide_by_hand"))
    ordered = run(lab, order)
    (shown,) = list_guide_blocks("guide_by_hand", "text")
    assert without_what_differs(shown) in without_what_differs(ordered.stdout)
    assert run(lab, order).record_lines == ordered.record_lines
    lab.paste(ordered.record_lines)
    run(lab, fetch)
    run(lab, install)
    assert visits(lab) == [200, 200]
    again = run(lab, install)
    assert [again.stats(host.name)["changed"] for host in lab.hosts] == [0, 0]


def without_what_is_another(output: str) -> list[str]:
    """The words of an output, with one and the same word for all versions, times, and users."""
    output = re.sub(r"\d{8}T\d{6}Z-[0-9a-f]+", "VERSION", output)
    output = re.sub(r"\d{4}-\d\d-\d\dT[\d:]{8}Z", "TIME", output)
    return re.sub(r'(by |"by": ")[\w.-]+', r"\1SOMEBODY", output).split()


def test_the_guide_for_three_in_the_morning_goes_back_holds_and_lifts_as_it_shows(lab: Lab) -> None:
    for key_type in ("ec-256", "ec-384"):
        have_served(lab, key_type=key_type)
    (look,) = list_guide_blocks("guide_go_back")
    (lab.ansible.home / "look.yml").write_text(yaml.safe_dump(adapt(lab, look), sort_keys=False))
    serials = [[host.served().leaf.serial_number for host in lab.hosts]]
    blocks = list_guide_blocks("guide_go_back", "console")
    for block in sorted(blocks, key=lambda block: "--check" not in block):  # what would be is over when it was done
        command, _newline, shown = block.partition("\n")
        program, *arguments = command.replace("-i inventory.yml", "").replace("-e @certificate.yml", "").split()[1:]
        done = lab.playbook(*arguments)
        assert (program, done.rc) == ("ansible-playbook", 0), done.output
        printed = " ".join(without_what_is_another(done.output))
        for part in re.split(r"\n(?=\[|changed)", shown):
            assert " ".join(without_what_is_another(part)) in printed, done.output
        serials.append([host.served().leaf.serial_number for host in lab.hosts])
    new, old = serials[0], serials[2]
    assert serials == [new, new, old, old, old, new] and not {*new} & {*old}


@dataclass(frozen=True)
class Moved:
    """What the guide for users of community.crypto has as "after", over a lab with certificates that soon end."""

    lab: Lab

    def block(self, name: str) -> list[dict[str, t.Any]]:
        """The plays with a task or play of this name, ready to run; tasks stand below the guide's head."""
        ours = [block for block in list_guide_blocks("guide_from_community_crypto") if "community.crypto." not in block]
        (text,) = [block for block in ours if f"- name: {name}\n" in block]
        (head,) = [block for block in ours if "module_defaults" in block]
        plays = adapt(self.lab, text)
        if "hosts:" not in text:
            plays = [{**adapt(self.lab, head)[0], "tasks": plays[0]["tasks"]}]
        return plays

    def run(self, name: str) -> int:
        """Run a block; give how many of its tasks have changed something."""
        plays = self.block(name)
        done = run(self.lab, plays)
        return done.stats("localhost" if plays[0]["hosts"] == "localhost" else self.lab.hosts[0].name)["changed"]

    def chain(self) -> list[x509.Certificate]:
        """The chain that was written last."""
        return x509.load_pem_x509_certificates((self.lab.directory / "srv/corp.pem").read_bytes())


@pytest.fixture
def moved() -> t.Iterator[Moved]:
    profiles = {"default": {"description": "Less than the guide's 30 days", "validityPeriod": 20 * DAY}}
    with Lab(hosts=("pom1",), pebble={"alternate_roots": 1, "profiles": profiles}) as started:
        (started.directory / "srv").mkdir()
        after = Moved(started)
        assert after.run("Open the account, with a new key where there is none") == 1
        yield after


STEPS = "Place the order, or pick up the one that is placed"


def test_the_steps_of_the_guide_from_community_crypto_order_install_and_renew(moved: Moved) -> None:
    lab = moved.lab
    zone = lab.zone_path.read_text()
    assert moved.run(STEPS) == 4
    assert lab.zone_path.read_text() == zone, "the records are removed"
    assert moved.run(STEPS) == 0
    moved.run("Install what community.crypto has written")
    assert visits(lab) == [200]

    first = moved.chain()[0]
    assert moved.run("Place the next order when less than 30 days are left") == 1
    assert moved.run(STEPS) > 0
    assert moved.chain()[0].serial_number != first.serial_number
    assert made(lab) == {"accounts": 1, "orders": 2, "certificates": 2}


def test_the_guide_from_community_crypto_chooses_a_chain_revokes_and_changes_the_key(moved: Moved) -> None:
    lab = moved.lab
    moved.run(STEPS)
    leaf = moved.chain()[0]
    root = x509.load_pem_x509_certificate(lab.pebble.root_pem(1)).subject
    plays = moved.block("Fetch the certificate with the chain to ISRG Root X2")
    (task,) = plays[0]["tasks"]
    (name,) = root.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    task["zerotrust.pomerium.acme_finalize"]["preferred_chain"] = name.value
    run(lab, plays)
    assert moved.chain()[0] == leaf
    assert moved.chain()[-1].issuer == root

    assert moved.run("Revoke the certificate, whose key has leaked") == 1
    assert lab.pebble.cert_status(f"{leaf.serial_number:x}")["Reason"] == 1
    assert moved.run("Make a new key, and make it the account's") == 1
    assert moved.run("Make a new key, and make it the account's") == 0
    assert made(lab)["accounts"] == 1


def test_the_role_in_the_guide_from_community_crypto_needs_one_run_and_then_none(moved: Moved) -> None:
    lab = moved.lab
    srv = lab.directory / "srv"
    (publish,) = moved.block("Have the records in the zone file, or not")
    (srv / "publish.yml").write_text(yaml.safe_dump(publish["tasks"]))
    lab.write_vars(certificate_account_key_path=str(srv / "account.pem"), certificate_store_path=str(srv / "store"))
    zone = lab.zone_path.read_text()
    assert moved.run("Keep the certificate current") > 0
    assert (srv / "store/lineages/pomerium/current/fullchain.pem").is_file()
    assert lab.zone_path.read_text() == zone
    mark = lab.pebble.mark()
    assert moved.run("Keep the certificate current") == 0
    assert lab.pebble.requests(mark) == []
    assert made(lab) == {"accounts": 1, "orders": 1, "certificates": 1}


def test_options_under_the_names_of_community_crypto_are_taken(moved: Moved) -> None:
    """Over files and an order that are there: nothing is ordered, and the new files are the rest of the chain."""
    lab, srv = moved.lab, moved.lab.directory / "srv"
    moved.run(STEPS)
    given = {"dest": "corp.crt", "fullchain_dest": "corp.pem", "chain_dest": "corp-chain.pem"}
    options = {option: f"/srv/acme/{name}" for option, name in {**given, "account_key_src": "account.pem"}.items()}
    options.update(state_path="/srv/acme/corp.json", private_key_path="/srv/acme/corp.key", acme_directory=STAGING)
    task = {"zerotrust.pomerium.acme_finalize": options, "run_once": True}
    run(lab, adapt(lab, yaml.safe_dump([task])))
    assert (srv / "corp.crt").read_bytes() + (srv / "corp-chain.pem").read_bytes() == (srv / "corp.pem").read_bytes()
    revoke = {"certificate": "/srv/acme/corp.crt", "account_key_src": "/srv/acme/account.pem", "revoke_reason": 4}
    task = {"zerotrust.pomerium.acme_revoke": {**revoke, "acme_directory": STAGING}, "run_once": True}
    run(lab, adapt(lab, yaml.safe_dump([task])))
    assert lab.pebble.cert_status(f"{moved.chain()[0].serial_number:x}")["Reason"] == 4


def test_the_examples_of_the_modules_run(lab: Lab) -> None:
    def example(module: str) -> list[dict[str, t.Any]]:
        return adapt(lab, read_examples(MODULES / f"{module}.py"))

    run(lab, example("acme_account") + example("acme_account_info"))
    run(lab, example("acme_order") + example("acme_dns_record"))
    run(lab, example("acme_finalize"))
    run(lab, example("acme_revoke"))
    run(lab, example("acme_certificate"))
    install = example("pomerium_certificate")
    install[0]["tasks"] = install[0]["tasks"][:1]
    run(lab, install)
    seen = run(lab, example("pomerium_certificate_info"))
    assert f"{NAMES}, corp.example.com until" in seen.stdout


def test_the_example_of_acme_dns_account_registers_once_and_says_what_to_add(lab: Lab) -> None:
    with AcmeDnsStandin(lab.directory / "acme-dns") as server:
        plays = adapt(lab, read_examples(MODULES / "acme_dns_account.py"))
        access = {"url": server.url, "ca_path": str(server.ca_path)}
        plays[0]["tasks"][0]["zerotrust.pomerium.acme_dns_account"].update(access)
        for _time in range(2):
            printed = run(lab, plays).stdout
            names = [account["fulldomain"] for account in server.accounts.values()]
            assert len(names) == 1
            assert f"_acme-challenge.corp.example.com.  300  IN  CNAME  {names[0]}." in printed


def test_the_tarball_does_the_whole_guide_where_it_is_installed(lab: Lab, tmp_path: Path) -> None:
    """Built and installed as a user does it; the tree that the tests are in is not looked at."""
    import subprocess
    import sys

    galaxy = str(Path(sys.executable).with_name("ansible-galaxy"))
    environment = {**lab.ansible.environment, "ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    build = [galaxy, "collection", "build", "--output-path", str(tmp_path), str(MODULES.parents[1])]
    subprocess.run(build, check=True, env=environment, capture_output=True)
    (tarball,) = tmp_path.glob("*.tar.gz")
    install = [galaxy, "collection", "install", "--offline", "--collections-path", str(tmp_path), str(tarball)]
    subprocess.run(install, check=True, env=environment, capture_output=True)

    path = {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path)}
    first = lab.playbook("zerotrust.pomerium.site", env=path)
    lab.paste(first.record_lines)
    second = lab.playbook("zerotrust.pomerium.site", "-v", env=path)
    assert (first.rc, second.rc) == (0, 0), first.output + second.output
    assert visits(lab) == [200, 200]
