# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""step-ca in the lab is the real server with a private root, stays on loopback, and has its say in `requests`."""

from __future__ import annotations

import json
import os
import socket
import ssl
import typing as t
import urllib.request
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.lab.acme_server import find_program
from ansible_collections.zerotrust.pomerium.tests.lab.handshake import look
from ansible_collections.zerotrust.pomerium.tests.lab.lab import Lab
from ansible_collections.zerotrust.pomerium.tests.lab.step_ca import StepCa, why_missing
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

needs_step_ca = pytest.mark.skipif(why_missing() is not None, reason=str(why_missing()))


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[StepCa]:
    with StepCa(tmp_path_factory.mktemp("step-ca"), dns_server="127.0.0.1:1") as up:
        yield up


def directory(ca: StepCa) -> dict[str, t.Any]:
    context = ssl.create_default_context(cafile=str(ca.ca_path))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(ca.directory_url, timeout=10) as answer:
        return dict(json.load(answer))


def connections(pid: int) -> list[tuple[str, str]]:
    """Local and remote address of every IP socket of a process, as /proc has them (hexadecimal)."""
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6", "udp", "udp6")]
    rows = [line.split() for table in tables for line in table]
    return [(row[1], row[2]) for row in rows if f"socket:[{row[9]}]" in links]


@needs_step_ca
def test_its_https_is_trusted_by_its_private_root_and_by_no_other(ca: StepCa) -> None:
    chain = look(ca.port, "localhost").chain
    assert len(chain) == 2
    chain[-1].verify_directly_issued_by(ca.authority.certificate)
    assert directory(ca)
    with socket.create_connection(("127.0.0.1", ca.port)) as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")


@needs_step_ca
def test_it_offers_neither_ari_nor_profiles_nor_terms(ca: StepCa) -> None:
    assert set(directory(ca)) == {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"}


@needs_step_ca
def test_its_requests_are_told_by_their_acme_names_since_a_mark(ca: StepCa) -> None:
    mark = ca.mark()
    directory(ca)
    until(lambda: ca.mark() > mark, what="the request in the log")
    assert [(request.method, request.resource) for request in ca.requests(mark)] == [("GET", "directory")]
    assert ca.requests(mark + 1) == []


@needs_step_ca
def test_it_listens_on_loopback_and_talks_to_nobody(ca: StepCa) -> None:
    directory(ca)
    found = until(lambda: connections(ca.pid), what="its sockets (one may be closed while looked at)")
    assert [local for local, remote in found if remote.endswith(":0000")] == [f"0100007F:{ca.port:04X}"]
    assert {remote.partition(":")[0] for _local, remote in found} <= {"00000000", "0100007F"}


def test_a_program_that_was_not_built_is_said_with_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(RuntimeError, match="run `make no-such-ca`, or set NO_SUCH_BIN"):
        find_program("no-such-ca", "NO_SUCH_BIN")


@needs_step_ca
def test_a_lab_with_it_has_no_pebble() -> None:
    with Lab(hosts=(), ca="step-ca") as lab, pytest.raises(TypeError, match="the CA of this lab is step-ca"):
        lab.pebble.root_pem()
