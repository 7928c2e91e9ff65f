# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the stand-in says of itself is what notes/pomerium.md says that Pomerium says: much of it is not so."""

from __future__ import annotations

import socket
import typing as t
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import MUST_STAPLE, Authority, Issued
from ansible_collections.zerotrust.pomerium.tests.lab.handshake import look
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until
from ansible_collections.zerotrust.pomerium.tests.unit.lab.pomerium_pairs import Pair, configure, put, serial

BUILD = "config.databroker.build"
NOTICED = "controlplane: error updating server with new config"


@pytest.fixture(autouse=True)
def only_the_standin(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the stand-in, wherever a real Pomerium is installed too."""
    monkeypatch.setattr("ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host.find_pomerium", lambda: None)


@pytest.fixture
def serving(host: PomeriumHost, pair: Pair, wildcard: Issued) -> PomeriumHost:
    """A host that serves the pair."""
    configure(host, pair.settings)
    host.start()
    wait_errors(host, 200)  # it listens a moment before it says so
    return host


@pytest.fixture
def service_manager(tmp_path: Path) -> t.Iterator[socket.socket]:
    """The socket at which systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(5)
        yield channel


def errors(host: PomeriumHost, path: str = "/healthz") -> tuple[int, list[str]]:
    status, records = host.health(path)
    return status, [check for check, record in records.items() if record.get("error")]


def wait_errors(host: PomeriumHost, status: int, *checks: str) -> None:
    until(lambda: errors(host) == (status, list(checks)), what=f"{status} because of {checks}")


def mismatch(host: PomeriumHost, pair: Pair, ca: Authority) -> Issued:
    """Replace the certificate only, and wait until the watcher has noticed."""
    renewed, since = ca.issue("*.corp.example.com"), len(host.log)
    put(pair.certificate, renewed.fullchain_pem)
    host.wait_log(NOTICED, since=since)
    return renewed


def test_health_is_good_while_the_pair_that_the_watcher_noticed_is_mismatched(
    serving: PomeriumHost, pair: Pair, ca: Authority
) -> None:
    mismatch(serving, pair, ca)
    assert [errors(serving, path) for path in ("/healthz", "/readyz", "/status")] == [(200, [])] * 3


def test_a_sighup_during_a_mismatch_is_a_503_that_outlives_the_repair_until_the_next_sighup(
    serving: PomeriumHost, pair: Pair, ca: Authority
) -> None:
    renewed = mismatch(serving, pair, ca)
    serving.reload()
    wait_errors(serving, 503, BUILD)
    put(pair.key, renewed.key_pem)
    serving.wait_served(renewed.certificate.serial_number)
    assert [errors(serving, path) for path in ("/healthz", "/readyz")] == [(503, [BUILD])] * 2
    assert errors(serving, "/startupz") == (200, [BUILD])  # it did start
    assert "private key does not match" in serving.health("/status")[1][BUILD]["error"]
    serving.reload()
    wait_errors(serving, 200)


def test_a_change_of_the_configuration_takes_that_503_back_too(
    serving: PomeriumHost, pair: Pair, ca: Authority
) -> None:
    renewed = mismatch(serving, pair, ca)
    configure(serving, pair.settings, "# changed\n")
    wait_errors(serving, 503, BUILD)
    put(pair.key, renewed.key_pem)
    serving.wait_served(renewed.certificate.serial_number)
    configure(serving, pair.settings, "# changed again\n")
    wait_errors(serving, 200)


@pytest.mark.parametrize(
    "settings",
    [
        "a: [\n",
        "certificate_file: /no/such\ncertificate_key_file: /no/such\n",
        "downstream_mtls: {ca_file: /no/such}\n",
    ],
)
def test_a_configuration_that_is_not_taken_leaves_health_good(
    serving: PomeriumHost, wildcard: Issued, settings: str
) -> None:
    configure(serving, settings)
    serving.wait_log("config: loaded configuration")
    serving.reload()  # once more, so that the first time is over
    until(lambda: serving.log.count("config: loaded configuration") == 2, what="the second reload")
    assert "config: error updating config" in serving.log
    assert errors(serving) == (200, [])
    assert serial(serving) == wildcard.certificate.serial_number


def test_a_certificate_that_tls_refuses_is_a_503_of_the_listener_and_the_old_one_is_kept(
    serving: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority
) -> None:
    pair.put(ca.issue("*.corp.example.com", key_type="rsa-1024"))
    wait_errors(serving, 503, "xds.listener")
    assert serial(serving) == wildcard.certificate.serial_number
    good = pair.put(ca.issue("*.corp.example.com"))
    serving.wait_served(good.certificate.serial_number)
    wait_errors(serving, 200)


def test_must_staple_while_it_runs_is_ignored(
    serving: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority
) -> None:
    pair.put(ca.issue("*.corp.example.com", extensions=[MUST_STAPLE]))
    serving.wait_log("requires OCSP stapling")
    assert serial(serving) == wildcard.certificate.serial_number
    assert errors(serving) == (200, [])


def test_started_with_what_tls_refuses_it_is_up_without_a_listener_and_never_ready(
    tmp_path: Path, pair: Pair, ca: Authority, service_manager: socket.socket
) -> None:
    pair.put(ca.issue("*.corp.example.com", key_type="rsa-1024"))
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
    host = PomeriumHost(tmp_path / "host", "pom1", environment=environment)
    configure(host, pair.settings)
    host._child.start()
    try:
        told: list[bytes] = []

        def is_told() -> bool:
            told.append(service_manager.recv(1000))
            return told[-1].startswith(b"STATUS=")

        until(is_told, what="an error that systemd is told")
        told += [service_manager.recv(1000) for _each in range(5)]
        others = [one for one in told if one != b"WATCHDOG=1"]  # heartbeats go on, READY=1 does not come
        assert [one.startswith(b"STATUS=Error in xds.listener: ") for one in others] == [True]
        assert [errors(host, path) for path in ("/healthz", "/startupz")] == [(503, ["xds.listener"])] * 2
        with pytest.raises(ConnectionRefusedError):
            look(host.port, None)
        good = pair.put(ca.issue("*.corp.example.com"))
        host.wait_served(good.certificate.serial_number)
        until(lambda: service_manager.recv(1000) == b"READY=1", what="READY=1")
    finally:
        host.close()


def test_systemd_is_shown_80_characters_of_an_error_and_never_that_it_is_over(
    tmp_path: Path, pair: Pair, wildcard: Issued, ca: Authority, service_manager: socket.socket
) -> None:
    host = PomeriumHost(tmp_path / "host", "pom1", environment={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    configure(host, pair.settings)
    with host:
        renewed = mismatch(host, pair, ca)
        host.reload()
        wait_errors(host, 503, BUILD)
        put(pair.key, renewed.key_pem)
        host.wait_served(renewed.certificate.serial_number)
        host.reload()
        wait_errors(host, 200)
    told = [service_manager.recv(1000) for _each in range(3)]
    assert told[0] == b"READY=1"
    assert told[1].startswith(b"STATUS=Error in config.databroker.build: config: ")
    assert (len(told[1]), told[1][-3:]) == (83, b"...")
    assert told[2] == b"STOPPING=1"


def test_the_metric_of_the_last_reload_is_1_for_all_and_0_for_nobody_for_ever(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority
) -> None:
    port = LEASES.lease()
    configure(host, pair.settings, f"metrics_address: 127.0.0.1:{port}\n")

    def metrics() -> list[str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return t.cast("list[str]", answer.read().decode().splitlines())

    host.start()
    good = 'pomerium_config_last_reload_success{service="all"} 1'
    failed = 'pomerium_config_last_reload_success{service=""} 0'
    before = metrics()
    assert (good in before, failed in before) == (True, False)
    renewed = mismatch(host, pair, ca)
    host.reload()
    until(lambda: failed in metrics(), what="the failure of nobody")
    put(pair.key, renewed.key_pem)
    host.wait_served(renewed.certificate.serial_number)
    host.reload()
    wait_errors(host, 200)
    after = metrics()
    assert {good, failed} < set(after)
    assert before[-1] == after[-1]  # the checksum, which a rotation does not move
    LEASES.release(port)


def test_before_0_31_there_is_no_health_endpoint_and_systemd_is_told_nothing(
    tmp_path: Path, service_manager: socket.socket
) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "POMERIUM_STANDIN_VERSION": "0.30"}
    host = PomeriumHost(tmp_path / "host", "pom1", environment=environment)
    with host, pytest.raises(ConnectionRefusedError):
        host.health()
    service_manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        service_manager.recv(1000)


HTTPS_UPSTREAM = "policy:\n  - {from: https://b.corp.example.com, to: 'https://127.0.0.1:8444'}\n"


def test_a_missing_ca_file_is_a_503_of_the_clusters_where_an_upstream_needs_it_until_it_is_there(
    host: PomeriumHost, tmp_path: Path, ca: Authority
) -> None:
    path = tmp_path / "ca.pem"
    configure(host, f"certificate_authority_file: {path}\n", HTTPS_UPSTREAM)
    host.start()  # nothing checks the file when it is loaded
    wait_errors(host, 503, "xds.cluster")
    put(path, ca.pem)
    wait_errors(host, 200)


@pytest.mark.parametrize("content", [b"", b"no certificate\n"])
def test_garbage_as_ca_file_is_only_logged(host: PomeriumHost, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(content)
    configure(host, f"certificate_authority_file: {tmp_path / 'ca.pem'}\n", HTTPS_UPSTREAM)
    host.start()
    wait_errors(host, 200)
    assert "config: error getting cert pool" in host.log
