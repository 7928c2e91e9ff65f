# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stand-in treats certificates as notes/pomerium.md says that Pomerium does."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import MUST_STAPLE, Authority, Issued
from ansible_collections.zerotrust.pomerium.tests.lab.handshake import look
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import PomeriumHost
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_standin import Watcher
from ansible_collections.zerotrust.pomerium.tests.lab.process import StartFailed
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until
from ansible_collections.zerotrust.pomerium.tests.unit.lab.pomerium_pairs import NAME, Pair, configure, put, serial


@pytest.fixture(autouse=True)
def only_the_standin(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests are about the stand-in, wherever a real Pomerium is installed too."""
    monkeypatch.setattr("ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host.find_pomerium", lambda: None)


def test_it_looks_like_pomerium_and_says_that_it_is_not(host: PomeriumHost) -> None:
    host.start()
    assert Path(f"/proc/{host.pid}/comm").read_text() == "pomerium\n"
    arguments = Path(f"/proc/{host.pid}/cmdline").read_bytes().split(b"\0")
    assert arguments[arguments.index(b"-config") + 1] == str(host.config_path).encode()
    assert "stand-in" in json.loads(host.log.splitlines()[0])["message"]


def test_without_certificates_it_signs_one_for_any_name_itself(host: PomeriumHost) -> None:
    host.start()
    assert "Pomerium PSK CA" in host.served().leaf.issuer.rfc4514_string()


def test_a_configured_certificate_is_served_with_its_chain_and_verifies(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority
) -> None:
    configure(host, f"CERTIFICATE_FILE: {pair.certificate}\nCERTIFICATE_KEY_FILE: '{pair.key}'\n")
    host.start()
    visit = host.visit(NAME, root_pem=ca.pem)
    assert (visit.status, visit.served.leaf) == (200, wildcard.certificate)
    assert visit.served.chain == [wildcard.certificate, ca.certificate]
    assert visit.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"


def test_a_new_pair_is_served_without_a_signal(host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority) -> None:
    configure(host, pair.settings)
    host.start()
    assert serial(host) == wildcard.certificate.serial_number
    renewed = pair.put(ca.issue("*.corp.example.com"))
    host.wait_served(renewed.certificate.serial_number)


def test_a_mismatch_keeps_the_old_pair_and_the_second_half_completes_it(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority
) -> None:
    configure(host, pair.settings)
    host.start()
    renewed = ca.issue("*.corp.example.com")
    put(pair.certificate, renewed.fullchain_pem)
    host.wait_log("controlplane: error updating server with new config")
    assert "tls: private key does not match public key" in host.log
    assert serial(host) == wildcard.certificate.serial_number
    put(pair.key, renewed.key_pem)
    host.wait_served(renewed.certificate.serial_number)


def test_a_change_of_neither_size_nor_time_and_a_chmod_go_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    watcher = Watcher()
    watcher.watch([path])
    path.write_bytes(b"two")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    path.chmod(0o600)
    assert watcher.changed() == []
    path.write_bytes(b"three")
    assert watcher.changed() == [path]


def test_a_touch_that_changes_nothing_is_no_change_but_going_and_coming_are(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    watcher = Watcher()
    watcher.watch([path])
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert watcher.changed() == []
    path.unlink()
    assert watcher.changed() == [path]
    path.write_bytes(b"one")
    assert watcher.changed() == [path]


@pytest.mark.parametrize("is_by_link", [False, True])
def test_sighup_fixes_a_swap_to_files_of_the_same_size_and_time(
    host: PomeriumHost, wildcard: Issued, ca: Authority, tmp_path: Path, is_by_link: bool
) -> None:
    one, two, current = tmp_path / "one", tmp_path / "two", tmp_path / "current"
    renewed = ca.issue("*.corp.example.com", "corp.example.com")
    for directory, issued in ((one, wildcard), (two, renewed)):
        directory.mkdir()
        for name, content in (("fullchain.pem", issued.fullchain_pem), ("privkey.pem", issued.key_pem)):
            (directory / name).write_bytes(content.ljust(2000, b"\n"))
            os.utime(directory / name, (1_000_000_000, 1_000_000_000))
    current.symlink_to(one)
    configure(host, Pair(current / "fullchain.pem", current / "privkey.pem").settings)
    host.start()
    if is_by_link:
        (tmp_path / "next").symlink_to(two)
        (tmp_path / "next").rename(current)
    else:
        for name in ("fullchain.pem", "privkey.pem"):
            (two / name).rename(one / name)
    assert serial(host) == wildcard.certificate.serial_number
    host.reload()
    host.wait_served(renewed.certificate.serial_number)


def test_the_inline_pair_comes_before_the_list_and_the_list_before_the_file_pair(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority, tmp_path: Path
) -> None:
    inline, listed = (ca.issue("*.corp.example.com") for _each in range(2))
    Pair(tmp_path / "listed.pem", tmp_path / "listed.key").put(listed)
    list_text = "certificates:\n" + Pair(tmp_path / "listed.pem", tmp_path / "listed.key").item
    encoded = [base64.b64encode(content).decode() for content in (inline.fullchain_pem, inline.key_pem)]
    configure(host, pair.settings, list_text, f"certificate: {encoded[0]}\ncertificate_key: {encoded[1]}\n")
    host.start()
    assert serial(host) == inline.certificate.serial_number
    configure(host, pair.settings, list_text)
    host.wait_served(listed.certificate.serial_number)


def test_an_exact_name_beats_a_wildcard_and_an_unknown_one_gets_the_first(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority, tmp_path: Path
) -> None:
    exact = Pair(tmp_path / "exact.pem", tmp_path / "exact.key")
    exact_serial = exact.put(ca.issue("APP.corp.example.com")).certificate.serial_number
    first = Pair(tmp_path / "first.pem", tmp_path / "first.key")
    first_serial = first.put(ca.issue("other.example.com")).certificate.serial_number
    configure(host, "certificates:\n", first.item, exact.item, pair.settings)
    host.start()
    assert serial(host, "App.corp.example.com") == exact_serial
    assert serial(host, "b.corp.example.com") == wildcard.certificate.serial_number
    assert serial(host, "a.b.corp.example.com") == first_serial
    assert serial(host, None) == first_serial


def test_rsa_and_ecdsa_for_one_name_are_both_loaded_and_ecdsa_preferred(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority, tmp_path: Path
) -> None:
    rsa = Pair(tmp_path / "rsa.pem", tmp_path / "rsa.key")
    rsa.put(ca.issue("*.corp.example.com", key_type="rsa-2048"))
    configure(host, "certificates:\n", rsa.item, pair.settings)
    host.start()
    assert serial(host) == wildcard.certificate.serial_number


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            "certificate_file: {pair.certificate}\ncertificate_key_file: {other}\n",
            "tls: private key does not",
        ),
        ("certificate_file: {other}\ncertificate_key_file: {pair.key}\n", "failed to find"),
        ("certificate_file: /no/such\ncertificate_key_file: {pair.key}\n", "open /no/such: no such file or directory"),
        ("certificate_file: {pair.certificate}\n", "bad cert file open : no such file"),
        ("CERTIFICATE: {pair.certificate}\nCERTIFICATE_KEY: {pair.key}\n", "illegal base64 data at input byte"),
        (
            "certificates:\n  - {{cert: /no/c.pem, key: /no/k.pem}}\n",
            "file reference invalid. open /no/c.pem",
        ),
        ("a: [\n", "While parsing config: yaml"),
        ("address: :1\naddress: :2\n", "already defined"),
    ],
)
def test_what_is_wrong_at_start_is_fatal(
    host: PomeriumHost, pair: Pair, wildcard: Issued, ca: Authority, tmp_path: Path, settings: str, reason: str
) -> None:
    other = tmp_path / "other.key"
    other.write_bytes(ca.issue("other.example.com").key_pem)
    configure(host, settings.format(pair=pair, other=other))
    with pytest.raises(StartFailed, match="(?s)ended with 1.*" + "fatal"):
        host.start()
    fatal = json.loads(host.log.splitlines()[-1])
    assert (fatal["level"], reason in fatal["error"]) == ("fatal", True), fatal


def test_the_packaged_configuration_is_down_because_its_files_are_missing(tmp_path: Path) -> None:
    with PomeriumHost(tmp_path, "pom1", config="packaged") as host:
        assert not host.is_running
        assert f"open {host.etc}/cert.pem: no such file or directory" in host.log


def test_a_bad_configuration_while_it_runs_is_logged_and_the_old_one_kept(
    host: PomeriumHost, pair: Pair, wildcard: Issued
) -> None:
    configure(host, pair.settings)
    host.start()
    host.config_path.write_text("certificate_file: [\n")
    host.wait_log("config: error updating config")
    host.wait_log("config: loaded configuration")  # the line that lies
    assert serial(host) == wildcard.certificate.serial_number


def test_must_staple_is_fatal_at_start(host: PomeriumHost, pair: Pair, ca: Authority) -> None:
    pair.put(ca.issue("*.corp.example.com", extensions=[MUST_STAPLE]))
    configure(host, pair.settings)
    with pytest.raises(StartFailed, match="requires OCSP stapling"):
        host.start()


def test_an_expired_certificate_is_served_without_a_word(host: PomeriumHost, pair: Pair, ca: Authority) -> None:
    expired = pair.put(ca.issue("*.corp.example.com", days=-1))
    configure(host, pair.settings)
    host.start()
    assert serial(host) == expired.certificate.serial_number


def test_the_environment_wins_over_the_file(tmp_path: Path, pair: Pair, wildcard: Issued, ca: Authority) -> None:
    other = Pair(tmp_path / "env.pem", tmp_path / "env.key")
    from_environment = other.put(ca.issue("*.corp.example.com"))
    environment = {"CERTIFICATE_FILE": str(other.certificate), "CERTIFICATE_KEY_FILE": str(other.key)}
    host = PomeriumHost(tmp_path / "host", "pom1", environment=environment)
    configure(host, pair.settings)
    with host:
        assert serial(host) == from_environment.certificate.serial_number


def test_an_unknown_key_is_logged_and_nothing_else(host: PomeriumHost) -> None:
    configure(host, "certificate_flie: /etc/x.pem\n")
    host.start()
    assert '"unknown config option"' in host.log
    assert '"certificate_flie"' in host.log


def test_an_insecure_server_speaks_plain_http_and_still_sends_hsts(
    host: PomeriumHost, pair: Pair, wildcard: Issued
) -> None:
    configure(host, pair.settings, "insecure_server: true\n")
    host._child.start()

    def answer() -> bytes:
        with socket.create_connection(("127.0.0.1", host.port), timeout=2) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\nHost: app.corp.example.com\r\n\r\n")
            return connection.recv(4096)

    assert b"Strict-Transport-Security" in until(answer, what="plain HTTP")


def test_with_the_proxy_protocol_on_a_header_is_required(host: PomeriumHost, pair: Pair, wildcard: Issued) -> None:
    configure(host, pair.settings, "use_proxy_protocol: true\n")
    host._child.start()
    served = until(lambda: look(host.port, NAME, has_proxy_protocol=True), what="a handshake after a PROXY header")
    assert served.leaf == wildcard.certificate
    with pytest.raises(OSError):
        look(host.port, NAME)


def test_systemd_is_told_when_it_is_ready(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(5)
        with PomeriumHost(tmp_path / "host", "pom1", environment={"NOTIFY_SOCKET": str(tmp_path / "notify")}):
            assert channel.recv(100) == b"READY=1"


def test_before_0_29_a_sighup_kills_it(tmp_path: Path) -> None:
    with PomeriumHost(tmp_path, "pom1", environment={"POMERIUM_STANDIN_VERSION": "0.28"}) as host:
        host.reload()
        until(lambda: not host.is_running, what="the end of an old Pomerium")
        assert host._child.exit_code == -signal.SIGHUP
