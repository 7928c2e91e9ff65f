# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make demo`: the guide from nothing to a certificate that browsers of the lab accept, then the same with nobody.

It exits with an error where anything is not as told: each claim on the screen was checked before it is printed.
"""

from __future__ import annotations

import difflib
import json
import signal
import sys
import textwrap
import typing as t
from datetime import timezone
from pathlib import Path

if not __package__:  # run as a file: everything else comes from the tree copy, where Ansible finds the collection too
    _here = Path(__file__).resolve()
    _in_tree = _here.parents[4].name == "ansible_collections"
    sys.path.insert(0, str(_here.parents[5] if _in_tree else _here.parents[2] / ".cache"))

from ansible_collections.zerotrust.pomerium.tests.lab.handshake import Visit
from ansible_collections.zerotrust.pomerium.tests.lab.lab import IDENTIFIERS, Lab
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import PlaybookRun
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost
from cryptography import x509

SITE = "zerotrust.pomerium.site"
NAME = "app.corp.example.com"
MORE = "*.team.example.com"
SETTINGS = sorted(["certificate_file", "certificate_key_file", "certificate_authority_file"])


class NotAsTold(Exception):
    """The demo would have to lie to go on."""


def say(text: str = "") -> None:
    print(text, flush=True)


def title(text: str) -> None:
    say(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}")
    say("-" * len(text))


def check(holds: bool, otherwise: str, run: PlaybookRun | None = None) -> None:
    if not holds:
        raise NotAsTold(f"{otherwise}\n{run.output if run else ''}")


def play(lab: Lab, *, shows: str) -> PlaybookRun:
    """Run the one playbook and show the part of its output that matters, with the recap."""
    say(f"$ ansible-playbook {SITE} -i inventory.yml -e @vars.yml")
    run = lab.playbook(SITE)
    check(run.rc == 0, "the playbook failed", run)
    check(not lab.leaked(run.output), "a secret was printed", run)
    task = next((part for part in run.stdout.split("\nTASK ") if f": {shows}]" in part.splitlines()[0]), "")
    recap = run.stdout[run.stdout.index("PLAY RECAP") :].splitlines()[1:]
    lines = [f"TASK {task.strip().split(chr(10) + 'PLAY')[0].rstrip()}", *recap] if task else recap
    say(textwrap.indent("\n".join(line.rstrip(" *") for line in lines if line.strip()), "  "))
    return run


def order(lab: Lab) -> PlaybookRun:
    title("1. Order: an account, an order, and the TXT records to add")
    served_before = {host.name: host.served(NAME).leaf for host in lab.hosts}
    run = play(lab, shows="Add these records to the zone")
    check(len(run.record_lines) == 2, "no two records were printed", run)
    for host in lab.hosts:
        check(host.config_text == host.original_config_text, f"{host.name} was changed", run)
        check(host.served(NAME).leaf == served_before[host.name], f"{host.name} serves something else", run)
    say(f"\nThe CA served {len(lab.pebble.requests())} requests. The hosts are as they were.")
    return run


def add_records(lab: Lab, lines: t.Sequence[str]) -> None:
    title("2. What a person does at the registrar: the printed lines go into the zone")
    say(f"$ cat >> {lab.zone_path.name}")
    say(textwrap.indent("\n".join(lines), "  "))
    lab.paste(lines)


def finish(lab: Lab) -> None:
    title("3. The same playbook again: it finishes the order and installs")
    run = play(lab, shows="Install the certificate and prove that it is served")
    changed = [host.name for host in lab.hosts if run.stats(host.name)["changed"]]
    check(changed == [host.name for host in lab.hosts], "not every host was changed", run)


def show_settings(lab: Lab) -> None:
    first, *others = lab.hosts
    title(f"4. The three settings on {first.name}, and nothing else")
    say(textwrap.indent("\n".join(settings_diff(first)), "  "))
    for host in others:
        settings_diff(host)
    say(f"\nThe same on {', '.join(host.name for host in others)}.")


def settings_diff(host: PomeriumHost) -> list[str]:
    """The configuration against how it was before the first run; only the three settings may have been added."""
    before, after = host.original_config_text.splitlines(), host.config_text.splitlines()
    changes = list(difflib.unified_diff(before, after, "before", "after", n=1, lineterm=""))
    added = [line[1:] for line in changes[2:] if line.startswith("+")]
    removed = [line for line in changes[2:] if line.startswith("-")]
    check(sorted(line.partition(":")[0] for line in added) == SETTINGS and not removed, f"{host.name}: {changes}")
    return changes


def idle(lab: Lab) -> None:
    title("5. A third run: nothing is due")
    mark = lab.pebble.mark()
    run = play(lab, shows="")
    check(not lab.pebble.requests(mark), "the CA was asked although nothing is due", run)
    check(not any(run.stats(host.name)["changed"] for host in lab.hosts), "something was changed", run)
    say("\nNothing changed, and the CA was sent nothing (counted there).")


def show_served(lab: Lab) -> None:
    title("6. The certificate as an end user sees it")
    for host in lab.hosts:
        visit = host.visit(NAME, root_pem=lab.pebble.root_pem())
        check(visit.status == 200, f"{host.name} answers {visit.status}")
        say(describe_visit(host, visit))
    say("\nVerified against the CA's root and the host name, as a browser does it.")
    if not lab.hosts[0].is_real:
        say("(Pomerium here is a stand-in, which treats certificates as the real one does; set POMERIUM_BIN for that.)")


def unattended(lab: Lab) -> None:
    title("7. With nobody in between: the name server takes updates, and one name more is wanted")
    lab.publisher_path.touch(mode=0o600)
    lab.publisher_path.write_text(json.dumps(lab.publisher))
    lab.write_vars(certificate_identifiers=[*IDENTIFIERS, MORE], certificate_publisher_file=str(lab.publisher_path))
    shown = {key: "..." if key == "key_secret" else value for key, value in lab.publisher.items()}
    say(f"publisher.json\n  {json.dumps(shown)}")
    say(f"vars.yml\n  certificate_publisher_file: publisher.json\n  certificate_identifiers: [..., '{MORE}']\n")
    zone = lab.zone_path.read_text()
    run = play(lab, shows="Install the certificate and prove that it is served")
    check(lab.zone_path.read_text() == zone, "the zone is not as it was", run)
    for host in lab.hosts:
        visit = host.visit(NAME, root_pem=lab.pebble.root_pem())
        check(MORE in names_on(visit), f"{host.name} serves something else", run)
        say(describe_visit(host, visit))
    say("\nThe zone is as it was before: what the publisher had added is gone.")


def names_on(visit: Visit) -> list[str]:
    names = visit.served.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(names.get_values_for_type(x509.DNSName))


def describe_visit(host: PomeriumHost, visit: Visit) -> str:
    leaf = visit.served.leaf
    until = leaf.not_valid_after_utc.astimezone(timezone.utc)
    return f"""\
https://{NAME}/ on {host.name} (127.0.0.1:{host.port}): {visit.status}, certificate verified
    names   {", ".join(names_on(visit))}
    issuer  {leaf.issuer.rfc4514_string()}
    until   {until:%Y-%m-%d %H:%M} UTC
    chain   {len(visit.served.chain)} certificates, {visit.served.tls_version}"""


def main() -> int:
    """Run the guide; 0 where everything was as told."""
    say((__doc__ or "").splitlines()[0])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the lab is taken down in order
    try:
        with Lab(store="fleet") as lab:
            pomerium = "Pomerium" if lab.hosts[0].is_real else "a stand-in of Pomerium"
            say(
                f"\nStarted: Pebble (strict, refuses 20 % of all nonces), DNS for example.com, {pomerium} on two hosts."
            )
            first = order(lab)
            add_records(lab, first.record_lines)
            finish(lab)
            show_settings(lab)
            idle(lab)
            show_served(lab)
            unattended(lab)
    except NotAsTold as error:
        print(f"\nNot as told: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
