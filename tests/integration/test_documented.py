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
from pathlib import Path

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import PlaybookRun
from ansible_collections.zerotrust.pomerium.tests.unit.test_examples import (
    list_guide_blocks,
    list_readme_blocks,
    read_examples,
)

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
    )
    text = text.replace("/srv/certificates", str(lab.directory / "srv" / "store"))
    found = yaml.safe_load(text)
    plays = found if "hosts" in found[0] else [{"hosts": "pomerium", "gather_facts": False, "tasks": found}]
    for play in plays:
        play.pop("become", None)
        play.setdefault("vars", {})["ansible_python_interpreter"] = "{{ ansible_playbook_python }}"
        for task in play["tasks"]:
            task.pop("become", None)
            for module, options in task.items():
                if module.startswith("zerotrust.pomerium."):
                    task[module] = {**(options or {}), **needed(lab, module)}
    return t.cast("list[dict[str, t.Any]]", plays)


def needed(lab: Lab, module: str) -> dict[str, t.Any]:
    name = module.rpartition(".")[2]
    if name.startswith("pomerium"):
        return {"config_path": "{{ pomerium_config_path }}", "directory": "{{ pomerium_directory }}"}
    options: dict[str, t.Any] = {"ca_path": str(lab.pebble.ca_path)}
    if name in ("acme_order", "acme_finalize", "acme_certificate"):
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


def test_the_examples_of_the_modules_run(lab: Lab) -> None:
    def example(module: str) -> list[dict[str, t.Any]]:
        return adapt(lab, read_examples(MODULES / f"{module}.py"))

    run(lab, example("acme_account") + example("acme_account_info"))
    order = run(lab, example("acme_order"))
    lab.paste(order.record_lines)
    run(lab, example("acme_finalize"))
    run(lab, example("acme_revoke"))
    lab.paste(run(lab, example("acme_certificate")).record_lines)
    run(lab, example("acme_certificate"))
    install = example("pomerium_certificate")
    install[0]["tasks"] = install[0]["tasks"][:1]
    run(lab, install)
    seen = run(lab, example("pomerium_certificate_info"))
    assert f"{NAMES}, corp.example.com until" in seen.stdout


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
