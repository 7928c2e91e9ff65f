# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The probe sees what is served, and tells apart what is not."""

from __future__ import annotations

import socket
import threading
import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.probe import Target, probe


def serve(host: t.Any, pair: t.Any, **settings: object) -> Target:
    (host.root / "certificate").write_bytes(pair.fullchain)
    (host.root / "key").write_bytes(pair.key)
    host.configure(certificate_file=host.root / "certificate", certificate_key_file=host.root / "key", **settings)
    host.start()
    return Target("127.0.0.1", host.port, "app.example.com")


def test_the_leaf_that_is_served_is_seen(host: t.Any, make_pair: t.Any) -> None:
    pair = make_pair("one")
    seen = probe(serve(host, pair))
    assert (seen.state, seen.sha256, seen.der) == ("served", pair.sha256, pair.der)


def test_a_port_that_nothing_has_is_not_listening(host: t.Any) -> None:
    seen = probe(Target("127.0.0.1", host.port, "app.example.com"))
    assert (seen.state, seen.sha256) == ("not_listening", None)
    assert seen.error


def test_the_proxy_protocol_is_spoken_where_it_is_expected(host: t.Any, make_pair: t.Any) -> None:
    pair = make_pair("one")
    target = serve(host, pair, use_proxy_protocol="true")
    assert probe(target).state == "no_tls"
    assert probe(Target(target.address, target.port, target.server_name, proxy_protocol=True)).sha256 == pair.sha256


def test_a_client_certificate_that_is_required_does_not_hide_the_leaf(host: t.Any, make_pair: t.Any) -> None:
    pair = make_pair("one")
    target = serve(host, pair, client_ca=host.root / "certificate")
    assert probe(target).sha256 == pair.sha256


def test_with_tls_1_2_a_required_client_certificate_is_said(host: t.Any, make_pair: t.Any) -> None:
    target = serve(host, make_pair("one"), client_ca=host.root / "certificate", maximum="1.2")
    assert probe(target).state in ("served", "client_certificate_required")


@pytest.fixture
def silent() -> t.Iterator[int]:
    """A server that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_a_server_that_says_nothing_gives_no_answer_in_time(silent: int) -> None:
    assert probe(Target("127.0.0.1", silent, "app.example.com"), within=0.2).state == "no_answer"


def test_plain_http_is_no_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _peer = listener.accept()
            with connection:
                connection.recv(10)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        seen = probe(Target("127.0.0.1", listener.getsockname()[1], "app.example.com"))
        thread.join()
    assert seen.state == "no_tls"
    assert seen.error
