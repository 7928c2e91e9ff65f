# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to the CA, against a real server that is scripted and strict: what it does not expect fails the test."""

from __future__ import annotations

import logging
import ssl
import sys
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.problems import AcmeProblem
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.transport import LostAnswer, Network
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._acme.scripted_ca import (
    CUT,
    RESET,
    Answer,
    ScriptedCa,
    problem,
)

OK = Answer(200, {"ok": 1})
BUSY = "serverInternal"


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def server() -> t.Iterator[ScriptedCa]:
    started = ScriptedCa()
    yield started
    started.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def key() -> t.Any:
    from josepy import jwk
    from josepy.util import ComparableECKey

    return jwk.JWKEC(key=ComparableECKey(keys.generate("ec-256")))


@pytest.fixture
def network(server: ScriptedCa, clock: Clock, key: t.Any) -> t.Iterator[Network]:
    from josepy import jwa

    made = Network(key=key, alg=jwa.ES256, user_agent="tests/1", timeout=5, clock=lambda: clock.now, sleep=clock.sleep)
    made.new_nonce_url = f"{server.url}nonce"
    yield made
    made.session.close()


def body() -> t.Any:
    from acme import messages

    return messages.NewRegistration(only_return_existing=True)


def change(network: Network, server: ScriptedCa, **how: t.Any) -> t.Any:
    return network.ask(server.url, body(), doing="test", **how).json()


def read(network: Network, server: ScriptedCa, **how: t.Any) -> t.Any:
    return network.ask(server.url, doing="read", **how).json()


def test_bad_nonces_are_repeated_as_often_as_needed_with_the_nonce_of_the_refusal(
    server: ScriptedCa, network: Network
) -> None:
    """R1, T3: the stock library gives up after one, and asks for a fresh nonce."""
    server.script = [problem("badNonce")] * 12 + [OK]
    assert change(network, server) == {"ok": 1}
    assert server.requests == ["HEAD"] + ["POST"] * 13
    assert server.user_agents == {"tests/1"}


def test_bad_nonces_end_at_the_deadline_and_are_no_storm(server: ScriptedCa, network: Network, clock: Clock) -> None:
    server.script, server.repeats_last = [problem("badNonce")], True
    with pytest.raises(AcmeProblem, match="badNonce"):
        change(network, server)
    assert clock.now - 1000 == pytest.approx(network.patience, abs=2)
    assert server.requests.count("POST") < 150


def test_the_nonce_of_every_answer_is_used_for_the_next_request(server: ScriptedCa, network: Network) -> None:
    server.script = [OK, problem("malformed"), OK, problem(BUSY, status=500), OK]
    read(network, server)
    with pytest.raises(AcmeProblem):
        read(network, server)
    read(network, server)
    read(network, server)
    assert server.requests == ["HEAD"] + ["POST"] * 5


@pytest.mark.parametrize("nonce", [False, "abcde"])  # five characters are no base64url
def test_a_success_without_a_usable_nonce_is_a_success(server: ScriptedCa, network: Network, nonce: bool | str) -> None:
    """T10: the library raises MissingNonce although the CA has done what it was asked."""
    server.script = [Answer(201, {"ok": 1}, nonce=nonce), OK]
    assert change(network, server) == {"ok": 1}
    assert read(network, server) == {"ok": 1}
    assert server.requests == ["HEAD", "POST", "HEAD", "POST"]


@pytest.mark.parametrize("failure", [Answer(nonce=False), Answer(503, nonce=False), CUT, RESET])
def test_a_nonce_that_did_not_come_is_asked_for_again_and_nothing_was_lost(
    server: ScriptedCa, network: Network, failure: t.Any
) -> None:
    server.heads, server.script = [failure], [OK]
    assert change(network, server) == {"ok": 1}
    assert server.requests == ["HEAD", "HEAD", "POST"]


def test_a_refusal_keeps_its_problem_document_whatever_its_status(server: ScriptedCa, network: Network) -> None:
    """T4: every 409 becomes ConflictError without a word of what was said."""
    server.script = [problem("alreadyReplaced", status=409)]
    with pytest.raises(AcmeProblem, match="said alreadyReplaced") as error:
        change(network, server)
    assert (error.value.type, error.value.status) == ("alreadyReplaced", 409)
    assert error.value.facts["problem"]["detail"] == "said alreadyReplaced"


@pytest.mark.parametrize("page", [b"<html>Forbidden by\nthe proxy</html>", b'"Forbidden by the proxy"', b"", b"[]"])
def test_an_error_that_is_no_problem_document_is_quoted(server: ScriptedCa, network: Network, page: bytes) -> None:
    """T9."""
    server.script = [Answer(403, page)]
    with pytest.raises(AcmeProblem, match="HTTP 403") as error:
        change(network, server)
    assert ("Forbidden by the proxy" in str(error.value)) is (b"Forbidden" in page)


def test_a_rate_limit_fails_at_once_with_its_time(server: ScriptedCa, network: Network, clock: Clock) -> None:
    """R7: no storm of retries."""
    server.script = [problem("rateLimited", status=429, Retry_After="3600")]
    with pytest.raises(AcmeProblem, match=r"said rateLimited' \(not before 20") as error:
        change(network, server)
    assert error.value.retry_at is not None
    assert clock.pauses == []


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("ask", [read, change])
def test_a_busy_ca_is_waited_for_as_long_as_it_asks(
    server: ScriptedCa, network: Network, clock: Clock, ask: t.Any, status: int
) -> None:
    """R9."""
    server.script = [problem(BUSY, status=status, Retry_After="7"), OK]
    assert ask(network, server) == {"ok": 1}
    assert clock.pauses == [7]


@pytest.mark.parametrize("seconds", ["3600", "9" * 400])
@pytest.mark.parametrize("status", [500, 503])
def test_a_ca_that_is_busy_for_an_hour_is_left_alone(
    server: ScriptedCa, network: Network, clock: Clock, status: int, seconds: str
) -> None:
    """R9."""
    server.script = [problem(BUSY, status=status, Retry_After=seconds)]
    with pytest.raises(AcmeProblem, match="not before"):
        read(network, server)
    assert clock.pauses == []


LOST = [
    pytest.param(Answer(500), id="500"),
    pytest.param(Answer(502, b"<html>"), id="502, a page"),
    pytest.param(CUT, id="cut"),
    pytest.param(RESET, id="reset"),
    pytest.param(Answer(201, {"ok": 0}, breaks_off=True), id="breaks off"),
    pytest.param(Answer(201, b"<html>a portal</html>"), id="200, a page"),
    pytest.param(Answer(201, b'"text"'), id="200, no object"),
]


@pytest.mark.parametrize("failure", LOST)
def test_reading_is_repeated(server: ScriptedCa, network: Network, clock: Clock, failure: t.Any) -> None:
    server.script = [failure, OK]
    assert read(network, server) == {"ok": 1}
    assert clock.pauses == [pytest.approx(0.5, abs=0.11)]


@pytest.mark.parametrize("failure", LOST)
def test_what_changes_something_is_not_repeated_unseen(server: ScriptedCa, network: Network, failure: t.Any) -> None:
    server.script = [failure]
    with pytest.raises(LostAnswer, match="the request to test|asked to test"):
        change(network, server)


@pytest.mark.parametrize("failure", LOST)
def test_what_may_be_done_twice_is_repeated(server: ScriptedCa, network: Network, failure: t.Any) -> None:
    server.script = [failure, OK]
    assert change(network, server, repeatable=True) == {"ok": 1}


def test_reading_that_fails_on_and_on_ends_at_the_deadline(server: ScriptedCa, network: Network, clock: Clock) -> None:
    server.script, server.repeats_last = [Answer(500)], True
    with pytest.raises(AcmeProblem, match="HTTP 500"):
        read(network, server)
    assert network.patience - 13 < clock.now - 1000 <= network.patience
    assert max(clock.pauses) <= 12


def test_an_answer_that_is_meant_to_be_no_document_is_taken_as_it_is(server: ScriptedCa, network: Network) -> None:
    server.script = [Answer(200, b"-----BEGIN CERTIFICATE-----")]
    assert network.ask(server.url, doing="read", document=False).content == b"-----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize("ask", [read, change])
def test_an_address_where_nobody_answers_is_named(server: ScriptedCa, network: Network, ask: t.Any) -> None:
    server.script = [OK]
    read(network, server)  # a nonce is there now: the next request is the POST itself
    server.url = "http://127.0.0.1:1/"
    with pytest.raises(
        UserError, match=r"cannot be reached to \w+ for http://127.0.0.1:1/: .*Connection refused"
    ) as error:
        ask(network, server)
    assert not isinstance(error.value, LostAnswer)
    assert "acme_directory" in (error.value.remedy or "")


@pytest.mark.parametrize("ask", [read, change])
def test_a_host_that_does_not_resolve_is_said_at_once(
    server: ScriptedCa, network: Network, clock: Clock, ask: t.Any
) -> None:
    server.script = [OK]
    read(network, server)
    server.url = "http://ca.invalid/"
    with pytest.raises(UserError, match="cannot be reached") as error:
        ask(network, server)
    assert not isinstance(error.value, LostAnswer)
    assert clock.pauses == []


def test_threads_share_nonces_and_connections_and_lose_none(server: ScriptedCa, network: Network) -> None:
    server.script, server.repeats_last = [OK], True
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda number: read(network, server), range(200)))
    finally:
        sys.setswitchinterval(before)
    assert answers == [{"ok": 1}] * 200
    assert server.requests.count("HEAD") <= 10
    assert len(server.connections) <= 10


def test_a_nonce_that_another_thread_takes_first_is_no_error(server: ScriptedCa, network: Network) -> None:
    class TakenMeanwhile(set):
        looks = 0

        def __len__(self) -> int:
            self.looks += 1
            return 1 if self.looks == 1 else super().__len__()

    network._nonces = TakenMeanwhile()
    server.script = [OK]
    assert read(network, server) == {"ok": 1}


def test_the_library_logs_no_payload(server: ScriptedCa, network: Network, caplog: pytest.LogCaptureFixture) -> None:
    """T18: at DEBUG it would print tokens and external account bindings."""
    server.script = [OK, problem("badNonce"), problem("malformed"), Answer(502, b"secret")]
    with caplog.at_level(logging.DEBUG):
        change(network, server)
        for _time in range(2):
            with pytest.raises(UserError):
                change(network, server)
    assert caplog.records == []


def test_a_server_that_is_not_trusted_is_told_with_the_option_that_mends_it(
    tmp_path: Path, key: t.Any, clock: Clock
) -> None:
    authority = Authority("Lab CA")
    authority.issue("127.0.0.1").write(tmp_path / "fullchain.pem", tmp_path / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "fullchain.pem", tmp_path / "key.pem")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server = ScriptedCa(context)
    try:
        stranger = Network(user_agent="tests/1", clock=lambda: clock.now, sleep=clock.sleep)
        with pytest.raises(UserError, match="is not trusted for https://127.0.0.1:.*ca_path"):
            stranger.fetch(server.url, doing="give its directory")
        stranger.session.close()
        friend = Network(user_agent="tests/1", verify=str(tmp_path / "ca.pem"))
        server.script = [OK]
        assert friend.fetch(server.url, doing="give its directory").json() == {"ok": 1}
        friend.session.close()
    finally:
        server.close()
    assert clock.pauses == []
