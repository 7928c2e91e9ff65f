# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pomerium_certificate on whole hosts: over SSH, as a user with sudo, with the packaged unit under systemd."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import Site, executions
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

Make = t.Callable[..., Site]
PLACE = "/etc/pomerium-tls/pomerium/current"
TAKEN = "import socket, time; s = socket.create_server(('', 8443)); print(flush=True); time.sleep(600)"


def test_a_bundle_is_installed_over_ssh_and_served_without_a_restart(make_fleet: Make) -> None:
    site = make_fleet("pom1", "pom2", "pom3")
    issued = site.issue()
    before = [host.pid for host in site.hosts]
    site.run()
    for host in site.hosts:
        result = site.result(host.name)
        assert (result["changed"], result["reloaded"]) == (True, "none"), result
        assert result["config_keys"]["after"]["certificate_file"] == f"{PLACE}/fullchain.pem"
        assert host.served().leaf == issued.certificate
    assert [host.pid for host in site.hosts] == before
    again = site.run("-vvv")
    assert [site.result(host.name)["changed"] for host in site.hosts] == [False] * 3
    assert executions(again) == 3
    renewed = site.issue()
    site.run()
    assert [host.served().leaf for host in site.hosts] == [renewed.certificate] * 3


def test_the_key_is_root_s_and_readable_for_the_group_of_the_unit_alone(make_fleet: Make) -> None:
    site = make_fleet()
    site.issue()
    site.install()
    seen = site.host.run("stat", "--format=%U:%G %a", f"{PLACE}/privkey.pem", "/etc/pomerium-tls/pomerium").split("\n")
    assert seen[:2] == ["root:pomerium 640", "root:pomerium 750"]
    as_pomerium = ["setpriv", "--reuid=pomerium", "--regid=pomerium", "--clear-groups"]
    assert "PRIVATE KEY" in site.host.run(*as_pomerium, "cat", f"{PLACE}/privkey.pem")
    assert "Permission denied" in site.host.run("runuser", "-u", "ops", "cat", f"{PLACE}/privkey.pem", check=False)


def test_the_packaged_pomerium_that_is_down_for_want_of_its_files_is_started(make_fleet: Make) -> None:
    site = make_fleet(config="packaged")
    assert site.host.state == "failed"
    issued = site.issue()
    result = site.install()
    assert result["reloaded"] == "start", result
    assert site.host.state == "active"
    assert site.host.served().leaf == issued.certificate
    assert site.install()["changed"] is False


def test_a_unit_that_was_never_started_is_started(make_fleet: Make) -> None:
    site = make_fleet(config="packaged", is_started=False)
    assert site.host.state == "inactive"
    issued = site.issue()
    assert site.install()["reloaded"] == "start"
    assert site.host.served().leaf == issued.certificate


def test_one_that_an_operator_stopped_is_installed_and_stays_down(make_fleet: Make) -> None:
    site = make_fleet()
    site.host.run("systemctl", "stop", "pomerium")
    issued = site.issue()
    result = site.install()
    assert (result["changed"], result["reloaded"], result["served"]["state"]) == (True, "none", "not_listening")
    assert site.host.state == "inactive"
    assert site.install()["changed"] is False
    site.host.restart()
    assert site.host.served().leaf == issued.certificate


def test_a_stopped_one_stays_down_with_every_way_to_reload(make_fleet: Make) -> None:
    site = make_fleet()
    site.host.run("systemctl", "stop", "pomerium")
    site.issue()
    for way in ("restart", "signal", "none"):
        assert not site.install(reload=way).get("failed")
        assert site.host.state == "inactive"


OVERRIDES: dict[str, dict[str, str]] = {
    "drop-in": {"Environment": "CERTIFICATE_FILE=/etc/pomerium/other.pem CERTIFICATE_KEY_FILE=/etc/pomerium/other.key"},
    "EnvironmentFile": {"EnvironmentFile": "/etc/default/pomerium"},
}


@pytest.mark.parametrize("where", [*OVERRIDES, "unit"])
def test_environment_of_the_running_unit_that_wins_is_refused_by_name(make_fleet: Make, where: str) -> None:
    site = make_fleet()
    other = site.authority.issue("*.corp.example.com")
    site.host.write("/etc/pomerium/other.pem", other.fullchain_pem, owner="pomerium:pomerium")
    site.host.write("/etc/pomerium/other.key", other.key_pem, owner="pomerium:pomerium", mode=0o600)
    site.host.write(
        "/etc/default/pomerium",
        '# ours\nCERTIFICATE_FILE="/etc/pomerium/other.pem"\nCERTIFICATE_KEY_FILE=/etc/pomerium/other.key\n',
    )
    if where == "unit":
        script = "sed -i '/^Environment=/a Environment=CERTIFICATE_FILE=/etc/pomerium/other.pem' /lib/systemd/system/$0"
        script += "; sed -i '/^User=/i Environment=CERTIFICATE_KEY_FILE=/etc/pomerium/other.key' /lib/systemd/system/$0"
        site.host.run("sh", "-c", script, "pomerium.service")
        site.host.run("systemctl", "daemon-reload")
    else:
        site.host.set_up(**OVERRIDES[where])
    site.host.restart()
    site.issue()
    before = site.snapshot()
    result = site.install()
    assert result["failed"] is True
    assert "CERTIFICATE_FILE (/etc/pomerium/other.pem)" in result["msg"], result
    assert site.snapshot() == before
    assert site.host.served().leaf == other.certificate


def test_an_old_pomerium_is_restarted_where_that_is_allowed(make_fleet: Make) -> None:
    """Before 0.13 only the configuration is watched, and before 0.29 SIGHUP ends it, so that it must not be sent."""
    site = make_fleet()
    site.host.set_up(Environment="POMERIUM_STANDIN_VERSION=0.12", Type="simple", WatchdogSec="0")
    site.host.restart()
    old = site.serve()
    assert site.host.served().leaf == old.certificate
    renewed, pid = site.issue(), site.host.pid
    refused = site.install(reload="none")
    assert (refused["failed"], refused["rolled_back"]) == (True, True)
    assert (site.host.served().leaf, site.host.pid) == (old.certificate, pid)
    result = site.install()
    assert result["reloaded"] == "restart", result
    assert site.host.served().leaf == renewed.certificate
    assert "terminated by signal HUP" not in site.host.log


def test_where_the_start_fails_everything_is_put_back_and_the_journal_is_quoted(make_fleet: Make) -> None:
    """The port is taken, so that the packaged Pomerium cannot start although its certificate is right."""
    site = make_fleet(config="packaged")
    site.host.run("systemd-run", "--quiet", "--unit=taker", "--", site.host.python, "-c", TAKEN)
    until(lambda: "8443" in site.host.run("ss", "-Hltn"), what="the port to be taken")
    site.issue()
    before = site.snapshot()
    result = site.install()
    assert (result["failed"], result["rolled_back"]) == (True, True), result
    assert "Address already in use" in result["msg"]
    until(lambda: site.host.state == "failed", what="the unit to be as it was")
    assert {path for path in site.snapshot() if "/etc/pomerium/" in path} == set(before)
    assert site.host.config_text == before[str(site.host.etc / "config.yaml")][1].decode()


HANG_UP = """
for _ in $(seq 300); do
    if [ "$(ls $0/versions | grep -c .)" = 2 ]; then exec pkill -f "^sshd: ops@"; fi
    sleep 0.02
done
exit 1
"""
"""Cut the connection off as soon as the second version is there."""


def test_a_connection_that_breaks_in_the_middle_leaves_a_whole_transaction(make_fleet: Make) -> None:
    """It may run through this very Pomerium: the SIGHUP that its end sends must not stop us between the steps."""
    site = make_fleet()
    site.serve()
    site.host.set_up(
        Environment="POMERIUM_STANDIN_VERSION=0.12", Type="simple", WatchdogSec="0"
    )  # so that a restart is needed, which takes a while
    site.host.restart()
    renewed = site.issue()
    breaker = ["systemd-run", "--quiet", "--unit=breaker", "--remain-after-exit", "--", "sh", "-c", HANG_UP]
    site.host.run(*breaker, "/etc/pomerium-tls/pomerium")
    run = site.run(rc=4)
    assert site.host.show("Result", "breaker") == "success"
    assert "unreachable=1" in run.stdout.replace(" ", ""), run.output
    until(lambda: site.host.served().leaf == renewed.certificate, what="the new leaf", within=30)
    assert site.host.state == "active"
    assert not site.install().get("failed")
    assert site.host.served().leaf == renewed.certificate
