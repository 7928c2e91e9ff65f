# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stand-in takes up, or does not, what changes while it runs, as notes/pomerium.md says that Pomerium does."""

from __future__ import annotations

import base64
import http.client
import os
import ssl
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import Plain
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued
from ansible_collections.zerotrust.pomerium.tests.lab.handshake import look
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import STANDIN, PomeriumHost
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.process import StartFailed
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until
from ansible_collections.zerotrust.pomerium.tests.unit.lab.pomerium_pairs import NAME, Pair, configure, serial


@pytest.fixture(autouse=True)
def only_the_standin(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the stand-in, wherever a real Pomerium is installed too."""
    monkeypatch.setattr("ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host.find_pomerium", lambda: None)


@pytest.fixture
def port() -> t.Iterator[int]:
    """A second port of the host."""
    leased = LEASES.lease()
    yield leased
    LEASES.release(leased)


def move(host: PomeriumHost, port: int) -> None:
    """Have the configuration say another port."""
    text = host.config_text
    host.config_path.write_text(text.replace(f"address: 127.0.0.1:{host.port}", f"address: 127.0.0.1:{port}"))
    assert host.config_text != text


def client_context(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    return context


def get(host: PomeriumHost, version: ssl.TLSVersion) -> int:
    """The status of a page, asked for without a client certificate."""
    connection = http.client.HTTPSConnection("127.0.0.1", host.port, timeout=5, context=client_context(version))
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_changed_address_is_bound_and_the_old_one_given_up(
    host: PomeriumHost, pair: Pair, wildcard: Issued, port: int
) -> None:
    configure(host, pair.settings)
    host.start()
    move(host, port)
    served = until(lambda: look(port, NAME), what="a handshake at the new address")
    assert served.leaf == wildcard.certificate
    with pytest.raises(ConnectionRefusedError):
        look(host.port, NAME)


def test_a_changed_address_that_is_taken_leaves_the_old_one_in_force(
    host: PomeriumHost, pair: Pair, wildcard: Issued
) -> None:
    configure(host, pair.settings)
    host.start()
    with Plain() as taken:
        move(host, taken)
        until(lambda: host.health()[0] == 503, what="the rejected listener")
    assert "Address already in use" in host.health()[1]["xds.listener"]["error"]
    assert serial(host) == wildcard.certificate.serial_number


@pytest.mark.parametrize("flag", ["false", "'false'"])
def test_without_hot_reload_only_a_sighup_makes_it_look(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority, flag: str
) -> None:
    configure(host, pair.settings, f"runtime_flags:\n  config_hot_reload: {flag}\n")
    host.start()
    renewed = pair.put(ca.issue("*.corp.example.com"))
    with pytest.raises(AssertionError):
        host.wait_served(renewed.certificate.serial_number, within=1)
    assert serial(host) == wildcard.certificate.serial_number
    host.reload()
    host.wait_served(renewed.certificate.serial_number)


@pytest.mark.parametrize(
    ("version", "settings", "is_seen"),
    [("0.12", "", False), ("0.13", "", True), ("0.26", "runtime_flags: {config_hot_reload: false}\n", True)],
)
def test_files_are_watched_since_0_13_and_could_not_be_left_alone_before_0_27(
    tmp_path: Path, pair: Pair, wildcard: Issued, ca: Authority, version: str, settings: str, is_seen: bool
) -> None:
    host = PomeriumHost(tmp_path / "host", "pom1", environment={"POMERIUM_STANDIN_VERSION": version})
    configure(host, pair.settings, settings)
    with host:
        renewed = pair.put(ca.issue("*.corp.example.com"))
        if is_seen:
            host.wait_served(renewed.certificate.serial_number)
        else:
            with pytest.raises(AssertionError):
                host.wait_served(renewed.certificate.serial_number, within=1)
            configure(host, pair.settings, "# a change of the configuration makes it read them\n")
            host.wait_served(renewed.certificate.serial_number)


def test_it_says_which_version_it_stands_in_for_and_that_it_does() -> None:
    environment = {**os.environ, "POMERIUM_STANDIN_VERSION": "0.28"}
    command = [sys.executable, "-m", STANDIN, "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert said.startswith("pomerium: 0.28.0+standin\n")


def test_a_client_certificate_is_asked_for_and_one_without_is_served_by_default(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority
) -> None:
    encoded = base64.b64encode(ca.pem).decode()
    configure(host, pair.settings, f"downstream_mtls: {{ca: {encoded}}}\n")
    host.start()
    assert get(host, ssl.TLSVersion.TLSv1_3) == 200
    asked = ["openssl", "s_client", "-connect", f"127.0.0.1:{host.port}", "-servername", NAME]
    shown = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
    assert "Requested Signature Algorithms" in shown


def test_with_reject_connection_one_without_is_turned_away_after_the_leaf_was_shown(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority, tmp_path: Path
) -> None:
    (tmp_path / "clients.pem").write_bytes(ca.pem)
    place = tmp_path / "clients.pem"
    configure(host, pair.settings, f"downstream_mtls: {{ca_file: {place}, enforcement: reject_connection}}\n")
    host.start()
    assert serial(host) == wildcard.certificate.serial_number  # TLS 1.3 ends the handshake before it turns one away
    with pytest.raises(ssl.SSLError, match="(?i)certificate.required|EOF"):
        get(host, ssl.TLSVersion.TLSv1_3)
    with pytest.raises(ssl.SSLError, match="(?i)handshake.failure"):
        get(host, ssl.TLSVersion.TLSv1_2)


def test_a_client_ca_that_is_missing_is_fatal_at_start(host: PomeriumHost) -> None:
    configure(host, "downstream_mtls: {ca_file: /no/such.pem}\n")
    with pytest.raises(StartFailed, match="CA file: open /no/such.pem: no such file"):
        host.start()


def test_a_connection_from_before_a_rotation_is_told_to_close(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority
) -> None:
    configure(host, pair.settings)
    host.start()
    context = client_context(ssl.TLSVersion.TLSv1_3)
    connection = http.client.HTTPSConnection("127.0.0.1", host.port, timeout=5, context=context)
    told = []
    for _each in range(2):
        connection.request("GET", "/ping")
        answer = connection.getresponse()
        answer.read()
        told.append(answer.getheader("Connection"))
        host.wait_served(pair.put(ca.issue("*.corp.example.com")).certificate.serial_number)
    connection.close()
    assert told == [None, "close"]
