# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole lab on loopback: an ACME CA, DNS with a zone, and hosts with Pomerium, with Ansible set up to use them.

`make demo`, `make lab` and the integration tests use this same class. By hand, `python tests/lab/lab.py` starts one,
says what to type, and leaves it running until Ctrl-C. Nothing here needs root, and nothing outlives the process.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import typing as t
from pathlib import Path

import yaml

if not __package__:  # run as a file: everything else comes from the tree copy, where Ansible finds the collection too
    _here = Path(__file__).resolve()
    _in_tree = _here.parents[4].name == "ansible_collections"
    sys.path.insert(0, str(_here.parents[5] if _in_tree else _here.parents[2] / ".cache"))

from ansible_collections.zerotrust.pomerium.tests.lab.acme_server import AcmeServer
from ansible_collections.zerotrust.pomerium.tests.lab.dns_server import DnsServer
from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy
from ansible_collections.zerotrust.pomerium.tests.lab.pebble import Pebble
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import Ansible, PlaybookRun
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import COLLECTIONS, PomeriumHost
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_text import describe_faults, parse_rule
from ansible_collections.zerotrust.pomerium.tests.lab.secret_forms import key_forms
from ansible_collections.zerotrust.pomerium.tests.lab.step_ca import StepCa

if t.TYPE_CHECKING:
    from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine

IDENTIFIERS = ["*.corp.example.com", "corp.example.com"]
ZONE = """\
$ORIGIN example.com.
$TTL 300
@       IN  SOA    ns1 hostmaster ( 1 3600 600 86400 60 )
@       IN  NS     ns1
ns1     IN  A      127.0.0.1
pomerium IN A      127.0.0.1
corp    IN  A      127.0.0.1
*.corp  IN  CNAME  pomerium
"""
"""With the wildcard CNAME that the guide begins with: until a TXT record is there, it covers _acme-challenge too."""
TSIG_NAME = "acme.example.com"
"""The key that may update the zone."""
PUBLISH = """\
- name: Have the records in the zone file, or not
  ansible.builtin.lineinfile:
    path: ZONE
    line: "{{ item.0.name }}  {{ item.0.ttl }}  IN  {{ item.0.type }}  {{ item.1 }}"
    state: "{{ certificate_dns_state }}"
  loop: "{{ certificate_dns_records | ansible.builtin.subelements('entries') }}"
"""
"""Tasks of a user's own that publish: into the zone file, as the README has it."""


class Lab:
    """All parts, started and stopped together; use it as a context manager."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        hosts: t.Sequence[str] = ("pom1", "pom2"),
        host_config: t.Literal["configured", "packaged"] = "configured",
        faults: bool | t.Sequence[str] = False,
        ca: t.Literal["pebble", "step-ca"] = "pebble",
        store: t.Literal["controller", "fleet"] = "controller",
        pebble: t.Mapping[str, t.Any] | None = None,
        resolver: str | None = None,
        variables: t.Mapping[str, t.Any] | None = None,
    ) -> None:
        """Prepare it in `directory`, else in a temporary one that is removed at the end.

        `pebble` are keyword arguments of Pebble, where `ca` is that. `faults` puts a FaultProxy before Pebble, at
        `proxy`, with these rules where they are text. `store` says where certificates are kept, below `store_path` or
        on the hosts, as by default for users. `resolver` is a name server beside the lab's that the CA asks.
        `variables` are added to what vars.yml gives to the roles.
        """
        self._is_temporary = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix="zerotrust-pomerium-lab-")).resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.zone_path = self.directory / "example.com.zone"
        self.account_key_path = self.directory / "controller/account.pem"
        self.store_path = self.directory / "controller/store"
        self.publisher_path = self.directory / "controller/publisher.json"
        self.account_key_path.parent.mkdir(exist_ok=True)
        self._host_names, self._host_config = hosts, host_config
        self._faults, self._pebble_arguments = faults, dict(pebble or {})
        self._ca_name, self._is_fleet, self._variables = ca, store == "fleet", dict(variables or {})
        self._resolver = resolver
        self._stack = contextlib.ExitStack()
        self.tsig_secret = base64.b64encode(secrets.token_bytes(32)).decode()
        self.proxy: FaultProxy | None = None
        self.hosts: list[PomeriumHost] = []

    def __enter__(self) -> Lab:
        with contextlib.ExitStack() as stack:
            if self._is_temporary:
                stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: t.Any) -> None:
        self._stack.__exit__(*exception)

    def _start(self, stack: contextlib.ExitStack) -> None:
        self.zone_path.write_text(ZONE)
        keys = {TSIG_NAME: self.tsig_secret}
        self.dns = stack.enter_context(DnsServer({"example.com": self.zone_path}, tsig_keys=keys))
        self.ca = stack.enter_context(self._new_ca())
        if self._faults:
            self.proxy = stack.enter_context(FaultProxy(self.pebble, self.directory / "proxy"))
            for text in () if self._faults is True else self._faults:
                self.proxy.inject(text)
        for name in self._host_names:
            host = PomeriumHost(self.directory / "hosts" / name, name, config=self._host_config)
            self.hosts.append(stack.enter_context(host))
        self.inventory_path, self.vars_path = self.directory / "inventory.yml", self.directory / "vars.yml"
        self.ansible = Ansible(
            self.directory, collections=COLLECTIONS, inventory_path=self.inventory_path, vars_path=self.vars_path
        )
        self.write_inventory()
        self.write_vars()

    def _new_ca(self) -> AcmeServer:
        directory = self.directory / self._ca_name
        if self._ca_name == "step-ca":
            return StepCa(directory, dns_server=self._resolver or self.dns.resolver)
        return Pebble(directory, dns_server=self._resolver or self.dns.resolver, **self._pebble_arguments)

    @property
    def pebble(self) -> Pebble:
        """The CA of a lab that has Pebble."""
        if not isinstance(self.ca, Pebble):
            raise TypeError(f"the CA of this lab is {self._ca_name}")
        return self.ca

    @property
    def directory_url(self) -> str:
        """The ACME directory that the roles use: the proxy's, where there is one."""
        return self.proxy.directory_url if self.proxy is not None else self.ca.directory_url

    def host(self, name: str) -> PomeriumHost:
        return next(host for host in self.hosts if host.name == name)

    def take(self, machines: t.Sequence[Machine]) -> None:
        """Have these machines as hosts, too; whoever booted them switches them off."""
        self.hosts += machines  # type: ignore[arg-type]  # both have what a Lab wants of a host
        self.write_inventory()

    def variables(self) -> dict[str, t.Any]:
        """What a user has to give, and what makes the lab the lab."""
        return {
            "certificate_identifiers": IDENTIFIERS,
            "certificate_acme_directory": self.directory_url,
            "certificate_ca_path": str(self.ca.ca_path),
            "certificate_account_key_path": str(self.account_key_path),
            "certificate_terms_agreed": True,
            **({} if self._is_fleet else {"certificate_store_path": str(self.store_path)}),
            "certificate_resolvers": [self.dns.resolver],
            "certificate_verify_dns": "recursive",
            "pomerium_become": False,
            "pomerium_authority": "always",
            **self._variables,
        }

    def write_vars(self, **changed: t.Any) -> None:
        """Write vars.yml, with some variables other than they were."""
        self._variables.update(changed)
        remark = (
            "# verify_dns: authoritative servers are asked on port 53, which only root can serve in a lab.\n"
            "# authority: a test CA is not trusted by itself; here it is, to show all three settings.\n"
        )
        self.vars_path.write_text(remark + yaml.safe_dump(self.variables(), sort_keys=False))

    def write_inventory(self) -> None:
        """Write inventory.yml: the group pomerium with all hosts."""
        hosts = {host.name: host.inventory() for host in self.hosts}
        self.inventory_path.write_text(yaml.safe_dump({"pomerium": {"hosts": hosts}}, sort_keys=False))

    def playbook(self, playbook: str | Path, *arguments: str, **options: t.Any) -> PlaybookRun:
        """Run a playbook over the lab's inventory and variables; see Ansible.run."""
        return self.ansible.run(playbook, *arguments, **options)

    def paste(self, lines: str | t.Iterable[str]) -> None:
        """Append record lines, just as they were printed, to the zone file: what a person does at the registrar."""
        text = lines if isinstance(lines, str) else "\n".join(lines)
        with self.zone_path.open("a") as zone:
            zone.write(text.rstrip("\n") + "\n")
        if self.dns.errors:
            raise ValueError(f"what was pasted is no zone file: {self.dns.errors}")

    @property
    def publisher(self) -> dict[str, t.Any]:
        """A publisher for the zone, as `certificate_publisher` takes it."""
        return {
            "type": "rfc2136",
            "server": self.dns.address,
            "port": self.dns.port,
            "key_name": TSIG_NAME,
            "key_secret": self.tsig_secret,
        }

    def write_publish_tasks(self) -> Path:
        """Write tasks for `certificate_publish_tasks` that do what `paste` does, and take it back."""
        path = self.directory / "publish.yml"
        path.write_text(PUBLISH.replace("ZONE", str(self.zone_path)))
        return path

    def clear_records(self) -> None:
        """The zone as it was at the beginning."""
        self.zone_path.write_text(ZONE)

    def secrets(self) -> dict[str, str]:
        """Every secret there is at this moment, by what it is; keys in all the forms in which they could leak."""
        found = {f"EAB key {kid}": key for kid, key in self.ca.eab_keys.items()}
        found["TSIG key"] = self.tsig_secret
        for host in self.hosts:
            found.update(host.secrets())
        for path in sorted(self.directory.rglob("*.pem")):
            if not {self._ca_name, "proxy"} & {*path.parts} and b"PRIVATE KEY-----" in path.read_bytes():
                where = path.relative_to(self.directory).parent
                found.update({f"{where}/{what}": form for what, form in key_forms(path).items()})
        return found

    def leaked(self, text: str) -> list[str]:
        """Which secrets are in `text`, by what they are."""
        return [what for what, secret in self.secrets().items() if secret in text]


def explain(lab: Lab) -> str:
    """What runs where, and what to type next."""
    first = lab.hosts[0]
    kind = "the real Pomerium" if first.is_real else "a stand-in of Pomerium, which behaves like it with certificates"
    ansible = f"ANSIBLE_COLLECTIONS_PATH={COLLECTIONS} {Path(sys.executable).with_name('ansible-playbook')}"
    hosts = "\n".join(f"  {host.name:<8} 127.0.0.1:{host.port}  {host.config_path}" for host in lab.hosts)
    faults = "".join(f"  FAULT    {rule!r}\n" for rule in (lab.proxy.rules if lab.proxy else ()))
    return f"""\
The lab is up. Ctrl-C stops all of it.
  CA       {lab.directory_url}  ({lab.ca.about})
{faults}\
  DNS      {lab.dns.resolver}  {lab.zone_path}
{hosts}
  ({kind})

Type, in another terminal:
  {ansible} zerotrust.pomerium.site -i {lab.inventory_path} -e @{lab.vars_path}
Append the records that it prints to {lab.zone_path}, just as they are, and type it again. Then:
  openssl s_client -connect 127.0.0.1:{first.port} -servername app.corp.example.com </dev/null | openssl x509 -text
"""


def valid_rule(text: str) -> str:
    """Give the text of a rule back. Raises ArgumentTypeError, which argparse shows, where it is none."""
    try:
        parse_rule(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def main() -> None:
    """Start a lab and leave it running until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0],
        epilog=describe_faults(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--directory", type=Path, help="where its files are kept (default: a temporary directory)")
    parser.add_argument("--hosts", type=int, default=2, help="how many Pomerium hosts (default: 2)")
    parser.add_argument("--packaged", action="store_true", help="hosts as the package leaves them: Pomerium is down")
    parser.add_argument("--ca", choices=["pebble", "step-ca"], default="pebble", help="the ACME server")
    parser.add_argument("--nonce-reject", type=int, default=20, help="percent of nonces Pebble refuses (default: 20)")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=valid_rule,
        help="what the CA does wrong, as listed below; repeatable",
    )
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell's background jobs ignore SIGINT
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), Lab(
        options.directory,
        hosts=[f"pom{number}" for number in range(1, options.hosts + 1)],
        host_config="packaged" if options.packaged else "configured",
        ca=options.ca,
        store="fleet",
        faults=options.fault,
        pebble={"nonce_reject": options.nonce_reject},
    ) as lab:
        print(explain(lab), flush=True)
        signal.pause()
    print(f"stopped (pid {os.getpid()})")


if __name__ == "__main__":
    main()
