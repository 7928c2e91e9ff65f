# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The environment of a unit that is down is what its systemd would give it; a systemd that works will say."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import unit_environment
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import Site
from ansible_collections.zerotrust.pomerium.tests.lab.machine import Machine

Make = t.Callable[..., Site]

FILE = r"""
# a comment
; another
A1="x y"z
 A2 =  spaced value  	
A3='single $HOME \n' "double \" \\ \$ \` \n \t end"
A4=line \
  continued
A5=\ lead and trail\ 
A6="two
lines"
A7=x"y"'z'
A8=
export B1=no
B2
B3=a=b
B4=ends in backslash \\
B5="continued \
 inside"
B6='continued \
 single'
B7=tab	inside # no comment
B8 = "q"   'r'   s  t  
TWICE=first
B9="open
C1=x
"""  # noqa: W291
UNIT = r"""[Service]
Type=oneshot
Environment="ONE=a b" 'THREE=it is "q" $HOME `x` \\\\ end' FOUR=%n
Environment="FIVE=line\nbreak\ttab" SIX=ä€ SEVEN= "EIGHT=\x01\x7f"
Environment=NINE='single' TWO=2
Environment=A1=overridden
EnvironmentFile=/etc/default/one
EnvironmentFile=-/etc/default/tw*
EnvironmentFile=-/etc/default/none*
PassEnvironment=container NOTHING
UnsetEnvironment=TWO SIX=ä€ A8=x
ExecStart=sh -c 'cp /proc/self/environ /run/dump'
"""
PROPERTIES = "Environment,EnvironmentFiles,PassEnvironment,UnsetEnvironment"
OF_A_START = {"INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "PWD", "SHLVL", "_", "export B1"}
"""What only a process that runs can have, and a name that is none."""
TELL = f"""
import json, sys
sys.path.insert(0, "/opt/lab/collections")
from {unit_environment.__name__} import unit_environment
print(json.dumps(unit_environment(*json.load(sys.stdin))))
"""


def show(machine: Machine, unit: str) -> dict[str, str]:
    shown: dict[str, list[str]] = {}
    for line in machine.run("systemctl", "show", "--property", PROPERTIES, unit).splitlines():
        name, _equals, value = line.partition("=")
        shown.setdefault(name, []).append(value)
    return {name: "\n".join(values) for name, values in shown.items()}


def test_every_way_to_quote_and_every_source_comes_out_as_systemd_has_it(boot: t.Callable[..., Machine]) -> None:
    machine = boot(config="packaged")
    machine.write("/etc/default/one", FILE)
    machine.write("/etc/default/two", 'D1=crlf\r\nD2="q"\r\nTWICE=later\nC9=\\')
    machine.write("/etc/systemd/system/dump.service", UNIT)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "set-environment", "M1=a b", "M2=it's\nx", 'M3="$x"')
    machine.run("systemctl", "start", "dump")
    dump = (machine.root / "run/dump").read_bytes().decode().split("\0")
    real = dict(entry.partition("=")[::2] for entry in dump if entry)
    asked = [show(machine, "dump"), machine.run("systemctl", "show-environment")]
    found = json.loads(machine.run(machine.python, "-c", TELL, stdin=json.dumps(asked).encode()))
    assert {name: value for name, value in found.items() if name not in OF_A_START} == {
        name: value for name, value in real.items() if name not in OF_A_START
    }
    assert real["A3"] == 'single $HOME \\ndouble " \\ $ ` \\n \\t end'
    assert (real["TWICE"], real["M1"], real["container"]) == ("later", "a b", "systemd-nspawn")


def test_an_environment_that_is_taken_away_again_is_no_hindrance(make_fleet: Make) -> None:
    site = make_fleet(config="packaged")
    site.host.run("systemctl", "set-environment", "CERTIFICATE_FILE=/by/the/manager")
    issued = site.issue()
    refused = site.install()
    assert "CERTIFICATE_FILE (/by/the/manager)" in refused["msg"]
    site.host.set_up(Environment="AUTOCERT=true", UnsetEnvironment="AUTOCERT CERTIFICATE_FILE")
    assert site.install()["reloaded"] == "start"
    assert site.host.served().leaf == issued.certificate


def test_what_wins_by_the_files_of_a_unit_that_is_down_is_refused_and_nothing_else_of_them_told(
    make_fleet: Make,
) -> None:
    site = make_fleet(config="packaged", is_started=False)
    site.host.write("/etc/default/pomerium", '# ours\n\nCERTIFICATE_FILE="/by/its/file.pem"\nSECRET=tell-nobody\n')
    wins = '"A=b c" CERTIFICATE_KEY_FILE=/by/the/drop-in.pem'
    site.host.set_up(Environment=wins, EnvironmentFile="/etc/default/pomerium")
    site.issue()
    before = site.snapshot()
    run = site.run()
    refused = site.result()["msg"]
    assert "CERTIFICATE_FILE (/by/its/file.pem)" in refused and "CERTIFICATE_KEY_FILE (/by/the/drop-in.pem)" in refused
    assert "tell-nobody" not in run.output + json.dumps(site.result())
    assert site.snapshot() == before
    assert site.host.state == "inactive"


def test_a_unit_that_systemd_has_not_read_again_is_warned_of(make_fleet: Make) -> None:
    site = make_fleet()
    site.host.set_up(Environment="A=1")
    site.issue()
    assert "daemon-reload" not in site.run().output
    site.host.write("/etc/systemd/system/pomerium.service.d/override.conf", "[Service]\nEnvironment=A=2\n")
    site.issue()
    assert "`systemctl daemon-reload`" in " ".join(site.run().output.split())
    assert site.result()["changed"] is True
