# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every kind of fault is on the wire as it is said to be, and its text form is taken only where it means something."""

from __future__ import annotations

import contextlib
import email.utils
import json
import ssl
import subprocess
import sys
import time
import typing as t
from http.client import IncompleteRead
from pathlib import Path

import pytest
from acme import errors
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.fault_proxy import FaultProxy
from ansible_collections.zerotrust.pomerium.tests.lab.pebble import Pebble
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import Reply
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_acme import CHAINS, rechained
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules_text import FAULTS, HANDSHAKE, parse_rule
from ansible_collections.zerotrust.pomerium.tests.unit.lab.plain_client import AcmeClient, Client
from cryptography import x509

LAB = Path(__file__).resolve().parents[2] / "lab/lab.py"
NAMES = ("*.corp.example.com", "corp.example.com")


@pytest.mark.parametrize(
    ("text", "status", "headers", "body"),
    [
        ("429:3600", 429, {"Retry-After": "3600", "Content-Type": "application/problem+json"}, "error:rateLimited"),
        ("429", 429, {"Retry-After": None}, "error:rateLimited"),
        ("paused", 429, {"Retry-After": None}, "?jwt=e"),
        ("500", 500, {"Retry-After": None}, "error:serverInternal"),
        ("500:60", 500, {"Retry-After": "60"}, "error:serverInternal"),
        ("503", 503, {"Retry-After": None}, "error:serverInternal"),
        ("503:5", 503, {"Retry-After": "5"}, "error:serverInternal"),
        ("502", 502, {"Content-Type": "text/html"}, "<html>"),
        ("409", 409, {"Content-Type": None, "Content-Length": "0"}, ""),
        ("problem:badCSR/400", 400, {"Content-Type": "application/problem+json"}, "error:badCSR"),
        ("lost:502", 502, {"Content-Type": "text/html"}, "<html>"),
        ("header:Content-Type=text/html", 200, {"Content-Type": "text/html"}, '"newOrder"'),
        ("header:Content-Type", 200, {"Content-Type": None}, '"newOrder"'),
        ("retry-after:86400", 200, {"Retry-After": "86400"}, '"newOrder"'),
    ],
)
def test_an_answer_is_as_the_fault_says_and_the_next_one_is_the_cas(
    send: Client, proxy: FaultProxy, text: str, status: int, headers: dict[str, str | None], body: str
) -> None:
    proxy.inject(f"directory:{text}")
    seen, there, content = send("GET", "/dir")
    assert (seen, {name: there.get(name) for name in headers}) == (status, headers)
    assert body in content.decode()
    again, _headers, content = send("GET", "/dir")
    assert again == 200 and "newOrder" in json.loads(content)
    proxy.check()


@pytest.mark.parametrize("text", ["429:date+3600", "503:date+3600", "retry-after:date+3600"])
def test_a_date_is_reckoned_when_the_answer_is_sent(send: Client, proxy: FaultProxy, text: str) -> None:
    proxy.inject(f"directory:{text}")
    headers = send("GET", "/dir")[1]
    moments = [email.utils.parsedate_to_datetime(headers[name]) for name in ("Date", "Retry-After")]
    assert 3598 <= (moments[1] - moments[0]).total_seconds() <= 3601


def test_an_answer_can_come_without_its_nonce(send: Client, proxy: FaultProxy) -> None:
    proxy.inject("newNonce:header:Replay-Nonce")
    assert "Replay-Nonce" not in send("HEAD", "/nonce-plz")[1]
    assert "Replay-Nonce" in send("HEAD", "/nonce-plz")[1]


@pytest.mark.parametrize(
    ("text", "error", "served"),
    [
        ("refused", ConnectionError, False),
        ("lost", ConnectionError, True),
        ("lost:silence", TimeoutError, True),
        ("stall", TimeoutError, True),
        ("broken", (IncompleteRead, ConnectionError), True),
    ],
)
def test_no_whole_answer_comes_and_the_ca_has_seen_the_request_or_not(
    send: Client, proxy: FaultProxy, pebble: Pebble, text: str, error: t.Any, served: bool
) -> None:
    mark = pebble.mark()
    send.connection.timeout = 0.5
    proxy.inject(f"directory:{text}")
    with pytest.raises(error):
        send("GET", "/dir")
    assert len(pebble.requests(mark)) == served
    assert send("GET", "/dir")[0] == 200
    proxy.check()


def test_a_body_that_drips_is_whole_after_its_time(send: Client, proxy: FaultProxy) -> None:
    proxy.inject("directory:drip:0.001")
    send.connection.timeout = 0.3
    started = time.monotonic()
    body = send("GET", "/dir")[2]
    assert "newOrder" in json.loads(body)
    assert time.monotonic() - started >= len(body) * 0.001


@pytest.mark.parametrize(
    ("how", "error", "why"),
    [
        ("reset", OSError, "reset|EOF"),
        ("untrusted", ssl.SSLCertVerificationError, "unable to get local issuer|self-signed"),
        ("expired", ssl.SSLCertVerificationError, "expired"),
        ("misnamed", ssl.SSLCertVerificationError, "IP address mismatch"),
    ],
)
def test_a_handshake_fails_once(send: Client, proxy: FaultProxy, how: str, error: t.Any, why: str) -> None:
    proxy.inject(f"connection:tls:{how}")
    with pytest.raises(error, match=why):
        send("GET", "/dir")
    assert proxy.requests() == []
    assert send("GET", "/dir")[0] == 200
    proxy.check()


def test_handshakes_fail_one_after_the_other(send: Client, proxy: FaultProxy) -> None:
    for how in ("untrusted", "expired"):
        proxy.inject(f"connection:tls:{how}")
    for why in ("unable to get local issuer|self-signed", "expired"):
        with pytest.raises(ssl.SSLCertVerificationError, match=why):
            send("GET", "/dir")
    assert send("GET", "/dir")[0] == 200


@pytest.mark.parametrize(
    ("text", "member", "shown"),
    [
        ("status:pending=ready", "status", "ready"),
        ("status:thinking", "status", "thinking"),
        ("no-authorizations", "authorizations", []),
        ("empty-error", "error", {}),
        ("starless", "identifiers", [{"type": "dns", "value": "corp.example.com"}] * 2),
    ],
)
def test_an_order_is_shown_as_the_fault_says(
    acme: AcmeClient, proxy: FaultProxy, text: str, member: str, shown: object
) -> None:
    url = acme.order(*NAMES).headers["Location"]
    proxy.inject(f"order:{text}")
    assert acme.read(url).json()[member] == shown
    assert acme.read(url).json().get(member) != shown
    proxy.check()


def test_a_status_that_is_not_there_yet_is_waited_for(acme: AcmeClient, proxy: FaultProxy) -> None:
    proxy.inject("order:status:ready=pending")
    assert acme.read(acme.order(*NAMES).headers["Location"]).json()["status"] == "pending"
    with pytest.raises(AssertionError, match="order:status:ready=pending is still to fire"):
        proxy.check()


@pytest.mark.parametrize("name", ["Location", "Link", "Replay-Nonce"])
def test_an_order_is_answered_without_a_header(acme: AcmeClient, proxy: FaultProxy, name: str) -> None:
    proxy.inject(f"newOrder:header:{name}")
    with contextlib.suppress(errors.MissingNonce):
        acme.order(*NAMES)
    without = acme.answers[-1]
    assert without.status_code == 201 and name not in without.headers
    assert name in acme.order("www.example.com").headers


def test_an_authorization_offers_what_the_fault_says(acme: AcmeClient, proxy: FaultProxy) -> None:
    (url,) = acme.order("corp.example.com").json()["authorizations"]
    proxy.inject("authorization:challenges:http-02+carrier-pigeon-01")
    proxy.inject("authorization:token:abcde")
    proxy.inject("authorization:status:expired")
    kinds, tokens, expired = (acme.read(url).json() for _time in range(3))
    assert [challenge["type"] for challenge in kinds["challenges"]] == ["http-02", "carrier-pigeon-01"]
    assert {challenge["token"] for challenge in tokens["challenges"]} == {"abcde"}
    assert expired["status"] == "expired"


def test_chains_are_forged_as_their_names_say() -> None:
    issued = Authority("A CA").issue(*NAMES)
    right = x509.load_pem_x509_certificates(issued.fullchain_pem)
    chains = {}
    for name, forge in CHAINS.items():
        changed = rechained(forge)(Reply(200, {}, issued.fullchain_pem))
        assert isinstance(changed, Reply)
        chains[name] = x509.load_pem_x509_certificates(changed.body)
    assert chains["truncated"] == right[:1]
    assert chains["reordered"] == right[::-1]
    assert chains["foreign-leaf"][1:] == right[1:] and chains["foreign-leaf"][0] != right[0]
    chains["other-key"][0].verify_directly_issued_by(chains["other-key"][1])
    for name in ("foreign-leaf", "other-key"):
        leaf = chains[name][0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == list(NAMES)
        assert leaf.public_key() != right[0].public_key()


def test_counts_are_taken_from_the_text(send: Client, proxy: FaultProxy) -> None:
    proxy.inject("directory:503,nth=2,times=2,method=GET")
    assert [send("GET", "/dir")[0] for _time in range(4)] == [200, 503, 503, 200]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("newOrder", "no such fault"),
        ("newOrder:428", "no such fault; there are refused, lost, 429"),
        ("neworder:429", "no such resource: neworder"),
        ("newOrder:paused:5", "its argument is nothing"),
        ("order:status", r"its argument is \[WAS=\]STATUS"),
        ("order:drip:slow", "could not convert"),
        ("certificate:chain:rusty", "rusty"),
        ("newOrder:problem:badCSR/x", "invalid literal"),
        ("newOrder:429,time=3", "time is none of times, nth, method"),
        ("newOrder:429,times=often", "invalid literal"),
        ("connection:429", "no such fault; there are tls"),
        ("connection:tls,method=GET", "unexpected keyword argument 'method'"),
        ("connection:tls:slow", "no such failure of TLS: slow"),
        ("newOrder:tls", "no such fault"),
    ],
)
def test_text_that_is_no_rule_is_refused_with_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is no rule: .*{why}"):
        parse_rule(text)


def test_help_lists_every_fault_and_a_wrong_one_is_said_before_anything_starts() -> None:
    helped = subprocess.run([sys.executable, str(LAB), "--help"], capture_output=True, text=True, check=True).stdout
    assert not [name for name in FAULTS if f"\n  {name}" not in helped]
    assert HANDSHAKE.argument in helped
    wrong = subprocess.run(
        [sys.executable, str(LAB), "--fault", "order:428"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2 and "no such fault" in wrong.stderr
