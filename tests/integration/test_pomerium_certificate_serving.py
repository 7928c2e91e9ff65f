# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pomerium_certificate where Pomerium lies, is old, is served by another, or is told by other means what to serve."""

from __future__ import annotations

import base64
import contextlib
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import Plain, Site
from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import WarmModules
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.handshake import look
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

NAME = "app.corp.example.com"
COLD = "runtime_flags:\n  config_hot_reload: false\n"
"""Files are not watched."""


@pytest.fixture
def private_ca(tmp_path: Path) -> Path:
    """A file with somebody's private CA."""
    path = tmp_path / "private-ca.pem"
    path.write_bytes(Authority("Private CA").pem)
    return path


@pytest.fixture
def start_site(warm_modules: WarmModules, tmp_path: Path) -> t.Iterator[t.Callable[..., Site]]:
    """Make a site of one host whose Pomerium starts with these settings and variables, whatever it then serves."""
    with contextlib.ExitStack() as stack:

        def start(settings: str = "", **environment: str) -> Site:
            host = PomeriumHost(tmp_path / "hosts/pom1", "pom1", environment=environment)
            stack.callback(host.close)
            append(host, settings)
            host._child.start()
            if "POMERIUM_STANDIN_VERSION" in environment:
                if host.is_real:
                    pytest.skip("the real Pomerium here is of one version only")
                host._child.wait_until(host.served, what="a handshake")
            else:
                host._child.wait_until(lambda: host.health()[0] in (200, 503), what="an answer of /healthz")
            return Site(tmp_path, host, modules=warm_modules)

        yield start


def append(host: PomeriumHost, settings: str) -> None:
    with host.config_path.open("a") as file:
        file.write(settings)


def reconfigure(site: Site, settings: str) -> None:
    """Append settings, and wait until Pomerium has read them."""
    since = len(site.host.log)
    append(site.host, settings)
    site.host.wait_log("config: loaded configuration", since=since)


def untouched(site: Site) -> dict[str, t.Any]:
    """What must be as before where an install is put back: all but the directory of our own."""
    return {path: seen for path, seen in site.snapshot().items() if str(site.host.tls_directory) not in path}


def test_a_503_that_outlives_its_cause_is_no_failure_where_the_leaf_is_served(site: Site) -> None:
    site.serve()
    (site.current / "privkey.pem").write_bytes(site.authority.issue("other.example.com").key_pem)
    site.host.reload()
    until(lambda: site.host.health("/readyz")[0] == 503, what="the 503 of a mismatched pair")
    renewed = site.issue()
    result = site.act()
    assert (result["failed"], result["served"]["is_ours"]) == (False, True), result
    assert site.host.served().leaf == renewed.certificate
    assert site.act()["changed"] is False


def test_good_health_is_no_proof_and_a_signal_does_it_where_files_are_not_watched(
    start_site: t.Callable[..., Site],
) -> None:
    site = start_site(COLD)
    first = site.issue()
    assert site.act(reload="signal")["reloaded"] == "signal"
    assert site.host.served().leaf == first.certificate
    before = site.snapshot()
    renewed = site.issue()
    refused = site.act(reload="none")
    assert site.host.health()[0] == 200
    assert (refused["failed"], refused["rolled_back"]) == (True, True), refused
    assert site.snapshot() == before
    result = site.act(reload="signal")
    assert (result["reloaded"], result["served"]["is_ours"]) == ("signal", True), result
    assert site.host.served().leaf == renewed.certificate


@pytest.mark.parametrize(("version", "settings"), [("0.28", COLD), ("0.12", "")])
def test_an_old_pomerium_that_sees_nothing_is_rolled_back_and_not_killed_by_a_signal(
    start_site: t.Callable[..., Site], version: str, settings: str
) -> None:
    """Before 0.29 SIGHUP ends it, and without a unit there is no restart. The first one is read at a start."""
    site = start_site(settings, POMERIUM_STANDIN_VERSION=version)
    first = site.issue()
    site.act(probe={"enabled": False}, reload="none")
    site.host.restart()
    assert site.host.served().leaf == first.certificate
    pid = site.host.pid
    before = site.snapshot()
    site.issue()
    result = site.act()
    assert (result["failed"], result["rolled_back"], result["reloaded"]) == (True, True, "none"), result
    assert "Pomerium did not serve the new certificate, and everything was put back" in result["msg"]
    assert f"not tried: restart: no unit runs process {pid}, signal: this Pomerium does not tell" in result["msg"]
    assert site.snapshot() == before
    assert (site.host.is_running, site.host.pid) == (True, pid)
    assert site.host.served().leaf == first.certificate


@pytest.mark.parametrize("where", ["configuration", "environment"])
def test_a_server_without_tls_is_refused_and_installed_where_nobody_wants_a_proof(
    start_site: t.Callable[..., Site], where: str
) -> None:
    site = start_site("insecure_server: true\n") if where == "configuration" else start_site(INSECURE_SERVER="true")
    site.issue()
    before = site.snapshot()
    refused = site.act()
    assert refused["failed"] is True
    assert "insecure_server is on" in refused["msg"]
    assert ("INSECURE_SERVER in the environment" in refused["msg"]) is (where == "environment")
    assert "probe.enabled: false" in refused["msg"]
    assert site.snapshot() == before
    result = site.act(probe={"enabled": False})
    assert (result["changed"], result["failed"], result["served"]) == (True, False, None), result
    assert (site.current / "privkey.pem").exists()


@pytest.mark.parametrize("where", ["configuration", "environment"])
def test_behind_the_proxy_protocol_the_leaf_is_proven(start_site: t.Callable[..., Site], where: str) -> None:
    in_yaml = where == "configuration"
    site = start_site("use_proxy_protocol: true\n") if in_yaml else start_site(USE_PROXY_PROTOCOL="true")
    with pytest.raises(OSError):  # it hears nobody who does not speak it
        site.host.served()
    for _each in range(2):  # the first install, and a renewal by what is remembered of it
        issued = site.issue()
        result = site.act()
        assert (result["failed"], result["served"]["is_ours"]) == (False, True), result
        assert look(site.host.port, NAME, has_proxy_protocol=True).leaf == issued.certificate
    assert site.act()["changed"] is False


def test_a_switch_that_the_environment_takes_back_is_off(start_site: t.Callable[..., Site]) -> None:
    switches = ("insecure_server", "use_proxy_protocol", "autocert")
    off = {name.upper(): "false" for name in switches}
    site = start_site("".join(f"{name}: true\n" for name in switches), **off)
    for _each in range(2):
        issued = site.issue()
        result = site.act()
        assert (result["failed"], result["served"]["is_ours"], result["removed_shadowing"]) == (False, True, []), result
        assert site.host.served().leaf == issued.certificate


@pytest.mark.parametrize("enforcement", ["policy_with_default_deny", "reject_connection"])
def test_where_clients_need_a_certificate_the_leaf_is_proven_without_one(
    start_site: t.Callable[..., Site], private_ca: Path, enforcement: str
) -> None:
    encoded = base64.b64encode(private_ca.read_bytes()).decode()
    place = f"ca_file: {private_ca}" if enforcement == "reject_connection" else f"ca: {encoded}"
    site = start_site(f"downstream_mtls:\n  {place}\n  enforcement: {enforcement}\n")
    for _each in range(2):
        issued = site.issue()
        result = site.act()
        assert (result["failed"], result["served"]["state"], result["served"]["is_ours"]) == (False, "served", True)
        assert site.host.served().leaf == issued.certificate


@pytest.mark.parametrize("other", ["plain", "tls"])
def test_a_port_that_another_process_serves_is_rolled_back_and_what_is_there_is_said(
    site: Site, tmp_path: Path, other: str
) -> None:
    """By hand, the address was set to a port that is taken: Pomerium stays where it was."""
    with contextlib.ExitStack() as stack:
        if other == "plain":
            port = stack.enter_context(Plain())
        else:
            port = stack.enter_context(PomeriumHost(tmp_path / "other", "other")).port
        text = site.host.config_text.replace(f"address: 127.0.0.1:{site.host.port}", f"address: 127.0.0.1:{port}")
        site.host.config_path.write_text(text)
        until(lambda: site.host.health()[0] == 503, what="the refused address")
        site.issue()
        before = untouched(site)
        result = site.act()
        assert (result["failed"], result["rolled_back"], result["served"]["port"]) == (True, True, port), result
        seen = f"leaf {result['served']['fingerprint_sha256']} is served" if other == "tls" else "no tls"
        assert seen in result["msg"]
        assert f"127.0.0.1:{port}" in result["msg"]
    assert untouched(site) == before
    assert not (site.current.exists() or site.current.is_symlink())


def test_a_host_whose_pomerium_is_down_is_installed_and_reported(site: Site) -> None:
    site.host.stop()
    issued = site.issue()
    result = site.act()
    assert (result["changed"], result["failed"], result["served"]["state"]) == (True, False, "not_listening"), result
    assert f"127.0.0.1:{site.host.port} not listening" in result["msg"]
    assert site.act()["changed"] is False
    site.host.start()
    assert site.host.served().leaf == issued.certificate


@pytest.mark.parametrize("is_there", [True, False])
def test_a_foreign_certificate_authority_file_is_kept_and_said(site: Site, private_ca: Path, is_there: bool) -> None:
    content = private_ca.read_bytes()
    if not is_there:
        private_ca.unlink()
    upstream = "policy:\n  - {from: https://b.corp.example.com, to: 'https://127.0.0.1:8444'}\n"
    reconfigure(site, f"certificate_authority_file: {private_ca}\n{upstream}")
    issued = site.issue()
    run = site.run()
    result = site.result()
    assert result["config_keys"]["after"]["certificate_authority_file"] == str(private_ca)
    assert "which is not ours" in run.output
    assert result["served"]["is_ours"] is True
    assert site.host.health()[0] == (200 if is_there else 503)  # its upstreams, and not what it serves
    always = site.act(authority="always")
    assert always["config_keys"]["after"]["certificate_authority_file"] == str(site.current / "ca.pem")
    assert (content in (site.current / "ca.pem").read_bytes()) is is_there
    until(lambda: site.host.health()[0] == 200, what="upstreams that are trusted again")
    assert site.host.served().leaf == issued.certificate


def test_a_ca_file_of_the_environment_is_said_and_refused_where_ours_is_wanted_in_any_case(
    start_site: t.Callable[..., Site], private_ca: Path
) -> None:
    site = start_site(CERTIFICATE_AUTHORITY_FILE=str(private_ca))
    site.issue()
    before = site.snapshot()
    refused = site.act(authority="always")
    assert refused["shadowing"] == [f"environment CERTIFICATE_AUTHORITY_FILE ({private_ca})"]
    assert site.snapshot() == before
    said = f"CERTIFICATE_AUTHORITY_FILE ({private_ca}) in the environment of Pomerium wins"
    assert said in " ".join(site.run().output.split())
    assert site.result()["served"]["is_ours"] is True
    assert said not in " ".join(site.run(authority="never").output.split())


def test_a_pomerium_that_runs_and_does_not_listen_is_warned_of(site: Site) -> None:
    """As one does that refused its certificate at its start; no failure, since we may not know where it listens."""
    site.issue()
    port = LEASES.lease()
    for is_changed in (True, False):
        run = site.run(probe={"port": port, "timeout": 0.5})
        assert site.result()["changed"] is is_changed
        assert f"Pomerium runs and nothing listens at 127.0.0.1:{port}" in " ".join(run.output.split())
    LEASES.release(port)


def test_an_inline_certificate_and_autocert_are_refused_by_name_and_removed_where_allowed(site: Site) -> None:
    inline = site.authority.issue("*.corp.example.com")
    encoded = [base64.b64encode(pem).decode() for pem in (inline.fullchain_pem, inline.key_pem)]
    reconfigure(site, f"certificate: {encoded[0]}\ncertificate_key: {encoded[1]}\nautocert: true\n")
    site.host.wait_served(inline.certificate.serial_number)
    issued = site.issue()
    before = site.snapshot()
    refused = site.act()
    assert refused["failed"] is True
    assert refused["shadowing"] == ["certificate (inline)", "certificate_key (inline)", "autocert: true"]
    assert "shadowing: remove" in refused["msg"]
    assert site.snapshot() == before
    result = site.act(shadowing="remove")
    assert result["removed_shadowing"] == refused["shadowing"]
    assert site.host.served().leaf == issued.certificate
    assert "certificate_key:" not in site.host.config_text


def test_variables_that_win_over_the_configuration_are_refused_by_name_and_no_secret_is_shown(
    start_site: t.Callable[..., Site], tmp_path: Path
) -> None:
    inline = Authority("Another CA").issue("*.corp.example.com")
    inline.write(tmp_path / "env.pem", tmp_path / "env.key")
    encoded = [base64.b64encode(pem).decode() for pem in (inline.fullchain_pem, inline.key_pem)]
    site = start_site(
        CERTIFICATE=encoded[0],
        CERTIFICATE_KEY=encoded[1],
        CERTIFICATE_FILE=str(tmp_path / "env.pem"),
        CERTIFICATE_KEY_FILE=str(tmp_path / "env.key"),
    )
    site.issue()
    before = site.snapshot()
    run = site.run("-vvv", shadowing="remove")
    refused = site.result()
    assert refused["failed"] is True
    assert refused["shadowing"] == [
        "environment CERTIFICATE",
        f"environment CERTIFICATE_FILE ({tmp_path / 'env.pem'})",
        "environment CERTIFICATE_KEY",
        f"environment CERTIFICATE_KEY_FILE ({tmp_path / 'env.key'})",
    ]
    assert f"process {site.host.pid}" in refused["msg"]
    assert encoded[1] not in run.output
    assert site.snapshot() == before
    assert site.host.served().leaf == inline.certificate


def test_where_the_environment_has_the_address_the_leaf_is_proven_there(start_site: t.Callable[..., Site]) -> None:
    port = LEASES.lease()
    site = start_site(ADDRESS=f"127.0.0.1:{port}")
    issued = site.issue()
    result = site.act()
    assert (result["served"]["port"], result["served"]["is_ours"]) == (port, True), result
    assert look(port, NAME).leaf == issued.certificate
    LEASES.release(port)


def test_a_renewal_that_tls_refuses_is_refused_before_pomerium_sees_it(site: Site) -> None:
    good = site.serve()
    before = site.snapshot()
    site.issue(key_type="rsa-1024")
    result = site.act()
    assert result["failed"] is True
    assert "1024" in result["msg"]
    assert site.snapshot() == before
    assert site.host.health()[0] == 200
    assert site.host.served().leaf == good.certificate
