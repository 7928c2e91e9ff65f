# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks as jobs of AWX: containers that forget everything, credentials as files, events that are kept.

Each story is one fleet's, and every file that AWX would keep of its jobs is searched for every secret in play.
"""

from __future__ import annotations

import contextlib
import typing as t
from importlib.metadata import version
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki.chain import describe
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import QUICK, made
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from ansible_collections.zerotrust.pomerium.tests.lab.job import Awx, Job
from ansible_collections.zerotrust.pomerium.tests.lab.job_container import Node, Place, Pod, what_is_missing
from ansible_collections.zerotrust.pomerium.tests.lab.job_layout import Credentials, Template
from ansible_collections.zerotrust.pomerium.tests.lab.lab import IDENTIFIERS, ZONE, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine
from ansible_collections.zerotrust.pomerium.tests.lab.needed import need
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import record_lines
from ansible_collections.zerotrust.pomerium.tests.lab.secret_forms import forms_in_base64, key_forms

EAB = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
SURVEY = {
    "certificate_identifiers": "\n".join(IDENTIFIERS),
    "certificate_allow_limited": "",
    "certificate_contact": "",
    "certificate_profile": "",
    "certificate_store_path": "",
    "pomerium_serial": "1",
}
"""All text, as it is typed; from 2.19 on, Ansible takes it for what YAML would."""

IS_TEXT_KEPT = tuple(map(int, version("ansible-core").split(".")[:2])) < (2, 19)

BY_SSH = {"ansible_connection": "ssh", "ansible_python_interpreter": "/usr/bin/python3", "ansible_become": True}
"""What an inventory may say of localhost, and what no task of ours may do there."""

LEAK = [
    {
        "name": "Do what no playbook may do",
        "hosts": "pom1",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Have the key of the certificate",
                "ansible.builtin.slurp": {"path": "/etc/pomerium-tls/pomerium/current/privkey.pem"},
            },
            {
                "name": "Have the key of the account",
                "ansible.builtin.set_fact": {"account": "{{ lookup('file', certificate_account_file) }}"},
            },
        ],
    }
]
SEEN = {
    "user": "{{ lookup('pipe', 'id -u') }}:{{ lookup('pipe', 'id -g') }}",
    "home": "{{ lookup('pipe', 'echo $HOME; test -w $HOME && echo writable || true').splitlines() }}",
    "umask": "mask {{ lookup('pipe', 'umask') }}",
    "directory": "{{ lookup('pipe', 'pwd') }}",
    "project": "{{ lookup('pipe', 'ls -A').splitlines() }}",
    "account": "{{ lookup('pipe', 'stat -c %A ' ~ certificate_account_file) }}",
    "unsafe_writes": "{{ lookup('env', 'ANSIBLE_UNSAFE_WRITES') | bool }}",
    "job": "{{ [awx_job_id, tower_job_id] }}",
    "answers": "{{ [certificate_profile, pomerium_serial] }}",
}
LOOK = [
    {
        "name": "Look around",
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"name": "Hand it on", "ansible.builtin.set_stats": {"data": SEEN}}],
    }
]


class Fleet:
    """Machines, a CA and their AWX: one organisation."""

    def __init__(self, lab: Lab, machines: t.Sequence[Machine], *, may_publish: bool) -> None:
        self.lab, self.machines = lab, machines
        self._ssh_key = Path(machines[0].inventory()["ansible_ssh_private_key_file"])
        for machine in machines:
            machine.write("/etc/ssh/lab_authorized_keys", self._ssh_key.with_suffix(".pub").read_text())
        lab.account_key_path.write_bytes(key_pem(new_key("ec-256")))
        kid, key = next(iter(lab.ca.eab_keys.items()), ("", ""))
        account = {
            "directory": lab.directory_url,
            "account_key": lab.account_key_path.read_text(),
            "account_key_passphrase": "",
            "account_uri": "",
            "eab_kid": kid,
            "eab_key": key,
            "ca": lab.ca.ca_path.read_text(),
        }
        name_server = {name: str(value) for name, value in lab.publisher.items() if name != "type"}
        credentials = Credentials(account, self._ssh_key.read_text(), name_server if may_publish else None)
        self._awx = Awx(lab.directory / "awx", credentials)
        self._awx.write_playbook("site.yml", [{"name": "Do it", "import_playbook": "zerotrust.pomerium.site"}])
        self._awx.write_playbook("leak.yml", LEAK)
        self._awx.write_playbook("look.yml", LOOK)
        self.secrets: dict[str, str] = {}
        """Every secret that was in play after any of the jobs, in all forms, also as part of something in base64."""

    @property
    def jobs(self) -> list[Job]:
        return self._awx.jobs

    def place(self, kind: type[Place]) -> Place:
        return kind(self.lab.directory / kind.__name__)

    def launch(
        self,
        place: Place,
        *,
        localhost: t.Mapping[str, t.Any] | None = None,
        kill_when: t.Callable[[], bool] | None = None,
        **template: t.Any,
    ) -> Job:
        """Launch a job with a survey that a person has filled in, on an inventory that may define localhost."""
        variables = {
            "certificate_terms_agreed": True,
            "certificate_verify_dns": "recursive",
            "certificate_resolvers": [self.lab.dns.resolver],
            "pomerium_authority": "always",
        }
        hosts: dict[str, t.Any] = {
            machine.name: {"ansible_host": machine.address, "ansible_python_interpreter": machine.python}
            for machine in self.machines
        }
        inventory = {"pomerium": {"hosts": [*hosts]}, "_meta": {"hostvars": hosts}}
        if localhost is not None:
            inventory["all"] = {"hosts": ["localhost"]}
            hosts["localhost"] = dict(localhost)
        launched = Template(inventory, variables=variables, survey=SURVEY, **template)
        job = self._awx.launch(place, launched, kill_when=kill_when)
        self._remember_secrets()
        return job

    def search(self) -> dict[int, dict[str, list[str]]]:
        """Where in all that AWX keeps of which job secrets are."""
        found = {number: job.search(self.secrets) for number, job in enumerate(self.jobs, 1)}
        return {number: seen for number, seen in found.items() if seen}

    def is_served(self) -> list[bool]:
        """Whether each machine serves a certificate for the names."""
        return ["*.corp.example.com" in describe(machine.served().leaf).names for machine in self.machines]

    def _remember_secrets(self) -> None:
        found = self.lab.secrets()
        for machine in self.machines:
            found.update(machine.secrets())
            for path in machine.tls_directory.rglob("privkey.pem"):
                found.update({f"{machine.name}: {what}": form for what, form in key_forms(path).items()})
        lines = self._ssh_key.read_text().splitlines()[1:-1]
        found.update({f"SSH key, line {number}": line for number, line in enumerate(lines) if len(line) == 70})
        for what, secret in found.items():
            packed = enumerate(forms_in_base64(secret))
            self.secrets.update({what: secret, **{f"{what}, in base64 from octet {at}": form for at, form in packed}})


@pytest.fixture
def make_fleet(boot: t.Callable[..., Machine]) -> t.Iterator[t.Callable[..., Fleet]]:
    """Make a fleet of some machines, with arguments of Lab."""
    missing = what_is_missing()
    need(missing and f"jobs need {missing}")
    with contextlib.ExitStack() as stack:

        def make(
            *, machines: int, eab: t.Mapping[str, str] | None = None, may_publish: bool = False, **options: t.Any
        ) -> Fleet:
            pebble = {**QUICK, "eab_keys": eab, "eab_required": bool(eab)}
            lab = stack.enter_context(Lab(hosts=(), pebble=pebble, **options))
            hosts = [boot(f"pom{number}") for number in range(1, machines + 1)]
            return Fleet(lab, hosts, may_publish=may_publish)

        yield make


@pytest.mark.parametrize(
    ("kind", "user", "home"), [(Pod, "1000:0", ["/home/runner"]), (Node, "0:0", ["/home/runner", "writable"])]
)
def test_a_job_here_sees_what_a_job_of_awx_sees(
    make_fleet: t.Callable[..., Fleet], kind: type[Place], user: str, home: list[str]
) -> None:
    """What all that follows stands on, as it was measured on a real AWX."""
    fleet = make_fleet(machines=1)
    job = fleet.launch(fleet.place(kind), playbook="look.yml")
    assert job.artifacts == {
        "user": user,
        "home": home,
        "umask": "mask 0022",
        "directory": "/runner/project",
        "project": ["leak.yml", "look.yml", "site.yml"],
        "account": "-rw-------",
        "unsafe_writes": kind is Node,
        "job": [1, 1],
        "answers": ["", "1"] if IS_TEXT_KEPT else [None, 1],
    }, job.stdout


def ordered(fleet: Fleet, place: Place, **template: t.Any) -> None:
    """Have a job order, and do what the notification of its success asks for."""
    job = fleet.launch(place, **template)
    assert job.status == "successful", job.stdout
    handed_on = job.artifacts["pomerium_certificate"]
    records = record_lines("\n".join(handed_on["instructions"]))
    assert handed_on["action_required"] is True
    assert len(records) == 2 and record_lines(job.stdout) == records
    fleet.lab.paste(records)


def finished(fleet: Fleet, place: Place, **template: t.Any) -> None:
    """Have a job finish the one order that there is, and install."""
    job = fleet.launch(place, **template)
    assert job.status == "successful", job.stdout
    assert job.artifacts["pomerium_certificate"]["renewed"] is True
    assert made(fleet.lab) == {"accounts": 1, "orders": 1, "certificates": 1}
    assert fleet.is_served() == [True, True]


def idle(fleet: Fleet, place: Place, **template: t.Any) -> Job:
    """Have a job that finds nothing to do, and asks nobody for it."""
    mark = fleet.lab.pebble.mark()
    job = fleet.launch(place, **template)
    assert (job.status, job.changed) == ("successful", {}), job.stdout
    assert fleet.lab.pebble.mark() == mark
    return job


def searched(fleet: Fleet) -> None:
    """Have nothing found in what AWX keeps; say of how much that is said."""
    assert fleet.search() == {}
    print(*(f"{len(job.events):4} events in {job.seconds:4.1f} s" for job in fleet.jobs), sep="\n")
    print(f"{len(fleet.secrets)} forms of secrets, in none of {sum(len(job.events) for job in fleet.jobs)} events")


def test_published_in_a_pod_killed_once_the_ca_has_signed_and_finished_on_a_node(
    make_fleet: t.Callable[..., Fleet],
) -> None:
    """R14 and R45 among it, with privilege escalation ticked and an inventory that has a localhost of its own kind."""
    fleet = make_fleet(machines=2, may_publish=True, faults=["finalize:lost:silence"])
    lab, pod, node = fleet.lab, fleet.place(Pod), fleet.place(Node)
    assert lab.proxy is not None
    (finalize,) = lab.proxy.rules
    how: dict[str, t.Any] = {"verbosity": 4, "privilege_escalation": True, "localhost": BY_SSH}
    killed = fleet.launch(pod, **how, kill_when=lambda: finalize.fired > 0)
    assert killed.status == "error" and killed.artifacts == {}
    assert made(lab) == {"accounts": 1, "orders": 1, "certificates": 1}
    assert fleet.is_served() == [False, False] and lab.zone_path.read_text() != ZONE

    finished(fleet, node, verbosity=4, show_changes=True, privilege_escalation=True, localhost={})
    assert lab.zone_path.read_text() == ZONE
    assert "pom2" not in idle(fleet, pod, verbosity=4, limit="pom1", show_changes=True).stdout
    searched(fleet)


def test_ordered_on_a_node_with_an_account_that_is_bound_and_finished_in_a_pod(
    make_fleet: t.Callable[..., Fleet],
) -> None:
    fleet = make_fleet(machines=2, eab=EAB)
    pod, node = fleet.place(Pod), fleet.place(Node)
    ordered(fleet, node, verbosity=4, show_changes=True, localhost={})
    finished(fleet, pod, verbosity=4, show_changes=True, privilege_escalation=True, localhost=BY_SSH)
    idle(fleet, node)
    searched(fleet)


def test_a_check_job_orders_nothing_and_says_what_a_job_would_order(make_fleet: t.Callable[..., Fleet]) -> None:
    fleet = make_fleet(machines=1)
    job = fleet.launch(fleet.place(Pod), job_type="check", show_changes=True)
    assert job.status == "successful", job.stdout
    assert "Would order a certificate for *.corp.example.com, corp.example.com" in job.stdout
    assert fleet.lab.pebble.requests() == []


def test_the_search_finds_what_a_careless_playbook_hands_to_awx_without_printing_it(
    make_fleet: t.Callable[..., Fleet],
) -> None:
    fleet = make_fleet(machines=1)
    key = new_key("ec-256")
    fleet.machines[0].write("/etc/pomerium-tls/pomerium/current/privkey.pem", key_pem(key), mode=0o600)
    leak = fleet.launch(fleet.place(Pod), playbook="leak.yml")
    assert leak.status == "successful", leak.stdout
    found = {what for seen in fleet.search()[1].values() for what in seen}
    assert {
        "pom1: privkey.pem, line 1 of its PEM, in base64 from octet 2",
        "controller/account.pem, line 2 of its PEM",
    } <= found
    assert not [what for what, form in fleet.secrets.items() if form in leak.stdout]


def test_a_job_with_a_limit_orders_nothing_for_a_fleet_without_a_certificate(
    make_fleet: t.Callable[..., Fleet],
) -> None:
    """ "Relaunch on failed hosts" sets one: a host that has nothing does not mean that nobody has."""
    fleet = make_fleet(machines=2)
    job = fleet.launch(fleet.place(Pod), limit="pom2")
    assert job.status == "failed" and "certificate_allow_limited" in job.stdout, job.stdout
    assert made(fleet.lab) == {"accounts": 0, "orders": 0, "certificates": 0}
