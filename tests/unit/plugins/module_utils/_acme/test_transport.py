# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to the CA, against a real server that is scripted and strict: what it does not expect fails the test."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.problems import AcmeProblem
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.transport import LostAnswer, Network
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys

CUT = "cut the connection"


@dataclass
class Answer:
    status: int = 200
    body: t.Any = None
    headers: dict[str, str] = field(default_factory=dict)
    nonce: bool = True


def problem(kind: str, *, status: int = 400, **headers: str) -> Answer:
    body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": f"said {kind}"}
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class Server:
    """Answers POSTs with the script, in turn, and newNonce with fresh nonces; each nonce is good once."""

    def __init__(self) -> None:
        self.script: list[t.Any] = []
        self.requests: list[str] = []
        self.user_agents: set[str] = set()
        self.errors: list[str] = []
        self.repeats_last = False
        self._lock = threading.Lock()
        self._nonces = 0
        self._open: set[str] = set()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                outer.requests.append("HEAD")
                self.send(Answer())

            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.user_agents.add(self.headers["User-Agent"])
                self.send(outer.next_answer(document))

            def send(self, answer: t.Any) -> None:
                if answer == CUT:
                    self.close_connection = True
                    return
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body or {}).encode()
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.nonce:
                    self.send_header("Replay-Nonce", outer.new_nonce())
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, format: str, *args: t.Any) -> None:
                """Say nothing."""

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}/"

    def new_nonce(self) -> str:
        with self._lock:
            self._nonces += 1
            nonce = f"nonc{self._nonces:04d}"  # base64url without padding
            self._open.add(nonce)
            return nonce

    def next_answer(self, jws: dict[str, str]) -> t.Any:
        import base64

        protected = json.loads(base64.urlsafe_b64decode(jws["protected"] + "=="))
        with self._lock:
            self.requests.append("POST")
            if protected["nonce"] not in self._open:
                self.errors.append(f"nonce {protected['nonce']} was used before")
            self._open.discard(protected["nonce"])
            if not self.script:
                self.errors.append("an unexpected request")
                return Answer(500)
            return self.script[0] if self.repeats_last and len(self.script) == 1 else self.script.pop(0)

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> t.Iterator[Server]:
    started = Server()
    yield started
    started.close()
    assert started.errors == []
    assert started.repeats_last or started.script == []


@pytest.fixture
def network(server: Server) -> t.Iterator[Network]:
    from josepy import jwa, jwk
    from josepy.util import ComparableECKey

    key = jwk.JWKEC(key=ComparableECKey(keys.generate("ec-256")))
    made = Network(key=key, alg=jwa.ES256, user_agent="tests/1", timeout=5, patience=5)
    made.new_nonce_url = f"{server.url}nonce"
    yield made
    made.session.close()


def body() -> t.Any:
    from acme import messages

    return messages.NewRegistration(only_return_existing=True)


def test_bad_nonces_are_repeated_as_often_as_needed_with_the_nonce_of_the_refusal(
    server: Server, network: Network
) -> None:
    """R1, T3: the stock library gives up after one, and asks for a fresh nonce."""
    server.script = [problem("badNonce")] * 12 + [Answer(201, {"ok": 1})]
    assert network.ask(server.url, body(), doing="test").json() == {"ok": 1}
    assert server.requests == ["HEAD"] + ["POST"] * 13
    assert server.user_agents == {"tests/1"}


def test_bad_nonces_end_at_the_deadline(server: Server, network: Network) -> None:
    server.script, server.repeats_last, network.patience = [problem("badNonce")], True, 0.5
    with pytest.raises(AcmeProblem, match="badNonce"):
        network.ask(server.url, body(), doing="test")


def test_a_success_without_a_new_nonce_is_a_success(server: Server, network: Network) -> None:
    """T10: the library raises MissingNonce although the CA has done what it was asked."""
    server.script = [Answer(201, {"ok": 1}, nonce=False)]
    assert network.ask(server.url, body(), doing="test").status_code == 201


def test_a_refusal_keeps_its_problem_document_whatever_its_status(server: Server, network: Network) -> None:
    """T4: every 409 becomes ConflictError without a word of what was said."""
    server.script = [problem("alreadyReplaced", status=409)]
    with pytest.raises(AcmeProblem, match="said alreadyReplaced") as error:
        network.ask(server.url, body(), doing="test")
    assert (error.value.type, error.value.status) == ("alreadyReplaced", 409)


def test_an_error_page_that_is_no_json_is_quoted(server: Server, network: Network) -> None:
    """T9."""
    server.script = [Answer(403, b"<html>Forbidden by\nthe proxy</html>")]
    with pytest.raises(AcmeProblem, match="HTTP 403: <html>Forbidden by the proxy</html>"):
        network.ask(server.url, body(), doing="test")


def test_a_rate_limit_fails_at_once_with_its_time(server: Server, network: Network) -> None:
    """R7: no storm of retries."""
    server.script = [problem("rateLimited", status=429, Retry_After="3600")]
    with pytest.raises(AcmeProblem) as error:
        network.ask(server.url, body(), doing="test")
    assert error.value.retry_at is not None
    assert server.requests.count("POST") == 1


def test_a_busy_ca_is_waited_for_as_long_as_it_asks(server: Server, network: Network) -> None:
    """R9."""
    server.script = [problem("serverInternal", status=503, Retry_After="1"), Answer(200, {"ok": 1})]
    assert network.ask(server.url, body(), doing="test").json() == {"ok": 1}


def test_a_ca_that_is_busy_for_an_hour_is_left_alone(server: Server, network: Network) -> None:
    """R9."""
    server.script = [problem("serverInternal", status=503, Retry_After="3600")]
    with pytest.raises(AcmeProblem):
        network.ask(server.url, body(), doing="test")


@pytest.mark.parametrize("failure", [Answer(500), Answer(502, b"<html>"), CUT])
def test_reading_is_repeated(server: Server, network: Network, failure: t.Any) -> None:
    server.script = [failure, Answer(200, {"ok": 1})]
    assert network.ask(server.url, doing="read").json() == {"ok": 1}


@pytest.mark.parametrize("failure", [Answer(500), Answer(502, b"<html>"), CUT])
def test_what_changes_something_is_not_repeated_unseen(server: Server, network: Network, failure: t.Any) -> None:
    server.script = [failure]
    with pytest.raises(LostAnswer):
        network.ask(server.url, body(), doing="test")


def test_what_may_be_done_twice_is_repeated(server: Server, network: Network) -> None:
    server.script = [CUT, Answer(200, {"ok": 1})]
    assert network.ask(server.url, body(), doing="test", repeatable=True).json() == {"ok": 1}


def test_an_address_where_nobody_answers_is_named(network: Network) -> None:
    network.patience = 0.3
    with pytest.raises(UserError, match="cannot be reached to read for http://127.0.0.1:1/") as error:
        network.ask("http://127.0.0.1:1/", doing="read")
    assert not isinstance(error.value, LostAnswer)
    assert "acme_directory" in (error.value.remedy or "")


def test_threads_share_nonces_and_lose_none(server: Server, network: Network) -> None:
    server.script, server.repeats_last = [Answer(200, {"ok": 1})], True
    network.widen(5)
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda number: network.ask(server.url, doing="read").json(), range(60)))
    assert answers == [{"ok": 1}] * 60
    assert server.requests.count("HEAD") <= 5


def test_the_library_logs_no_payload(server: Server, network: Network, caplog: pytest.LogCaptureFixture) -> None:
    """T18: at DEBUG it would print tokens and external account bindings."""
    import logging

    logging.getLogger().setLevel(logging.DEBUG)
    server.script = [Answer(200, {"ok": 1})]
    network.ask(server.url, body(), doing="test")
    assert [record for record in caplog.records if record.name.startswith(("acme", "urllib3"))] == []
