# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DNS UPDATE against BIND: values come and go by themselves, and every refusal says its code, its reason and a remedy.

What BIND cannot be made to say comes from a server of these tests that answers as it is told: what Knot and PowerDNS do
not sign, among it.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import socketserver
import struct
import threading
import time
import types
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.tsig
import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publisher import Publisher
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers.choose import choose_publisher
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers.rfc2136 import ALGORITHMS
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.records import DnsRecord, merge
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.tests.lab.bind import KEY_NAME, Bind, why_missing
from ansible_collections.zerotrust.pomerium.tests.lab.needed import need
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until

PARENT = """\
$TTL 60
@        IN SOA ns1 hostmaster 1 60 60 60 60
@        IN NS ns1
ns1      IN A 127.0.0.1
corp     IN A 127.0.0.1
*.corp   IN CNAME corp
made     IN CNAME corp
acme     IN NS ns1.acme
ns1.acme IN A 127.0.0.1
_acme-challenge.theirs IN TXT somebody-elses-value
"""
CHILD = (
    "$TTL 60\n@ IN SOA ns1 hostmaster 1 60 60 60 60\n@ IN NS ns1\nns1 IN A 127.0.0.1\nmade IN CNAME ns1.example.com.\n"
)
ZONES = {"example.com": PARENT, "acme.example.com": CHILD}
FOREIGN = {"_acme-challenge.theirs.example.com": {"somebody-elses-value"}}
NAME = "_acme-challenge.corp.example.com"
SECRET = base64.b64encode(os.urandom(32)).decode()


@pytest.fixture(scope="module")
def bind(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Bind]:
    """A primary server of a zone and of a zone delegated in it, for tests that leave them as they were."""
    need(why_missing())
    with Bind(tmp_path_factory.mktemp("bind"), ZONES) as running:
        yield running


@pytest.fixture
def start(tmp_path: Path) -> t.Iterator[t.Callable[..., Bind]]:
    """Start one of a test's own, with arguments of Bind."""
    need(why_missing())
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Bind(tmp_path / "bind", ZONES, **options))


def publisher(options: t.Mapping[str, t.Any], **changed: t.Any) -> Publisher:
    """Make it as a module does, with some sub-options other than these."""
    made = choose_publisher({"publisher": {"zone": None, "ttl": 60, "timeout": 5, **options, **changed}})
    assert made is not None
    return made


def records(*values: str, name: str = NAME, zone: str | None = None) -> list[DnsRecord]:
    return merge([(name, value, "corp.example.com") for value in values], zones={f"{name}.": zone})


def refusal(options: t.Mapping[str, t.Any], found: t.Sequence[DnsRecord], **changed: t.Any) -> str:
    """What is said where an update fails: nothing of the key among it."""
    with pytest.raises(UserError) as caught:
        publisher(options, **changed).add(found)
    for secret in (options.get("key_secret"), changed.get("key_secret")):
        assert not secret or secret not in f"{caught.value} {caught.value.facts}"
    return str(caught.value)


def test_values_come_and_go_by_themselves_and_both_may_be_repeated(bind: Bind) -> None:
    """Two at one name, one that a zone file could cut at its semicolon, and one of more than 255 octets."""
    values = ["first", 'pki.goog; accounturi="\\x"; policy=wildcard', "long " * 100]
    at_work = publisher(bind.publisher())
    for _time in range(2):
        at_work.add(records(*values))
    assert bind.txt("example.com") == {NAME: set(values), **FOREIGN}
    at_work.remove(records(values[0]))
    assert bind.txt("example.com") == {NAME: set(values[1:]), **FOREIGN}
    for _time in range(2):
        at_work.remove(records(*values))
    assert bind.txt("example.com") == FOREIGN


def test_r13_what_somebody_else_has_at_the_name_stays(bind: Bind) -> None:
    ours = records("ours", name="_acme-challenge.theirs.example.com")
    publisher(bind.publisher()).add(ours)
    assert bind.txt("example.com") == {"_acme-challenge.theirs.example.com": {"somebody-elses-value", "ours"}}
    publisher(bind.publisher()).remove(ours)
    assert bind.txt("example.com") == FOREIGN


def test_r21_writers_at_the_same_time_in_one_zone_lose_nothing(bind: Bind) -> None:
    def write(value: str) -> None:
        publisher(bind.publisher()).add(records(value))

    values = [f"value-{number}" for number in range(40)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(write, values))
    assert bind.txt("example.com")[NAME] == set(values)
    publisher(bind.publisher()).remove(records(*values))
    assert bind.txt("example.com") == FOREIGN


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_may_have_every_algorithm_that_is_offered(start: t.Callable[..., Bind], algorithm: str) -> None:
    bind = start(algorithm=algorithm)
    publisher(bind.publisher()).add(records("value"))
    assert bind.txt("example.com")[NAME] == {"value"}


def test_a_secondary_server_gets_it_from_the_primary_one(bind: Bind, tmp_path: Path) -> None:
    primary = Bind(tmp_path / "primary", ZONES)
    secondary = Bind(tmp_path / "secondary", primary=primary)
    with primary, secondary:
        publisher(primary.publisher()).add(records("value"))
        until(lambda: NAME in secondary.txt("example.com"), what="the secondary to follow")
        said = refusal(primary.publisher(), records("other"), port=secondary.port, key_name=None)
    assert "REFUSED" in said and "secondaries" in said


def test_the_zone_is_the_one_that_the_server_knows_also_where_a_cname_hides_it(bind: Bind) -> None:
    """What the resolvers believe (the parent zone) does not count then."""
    child = records("in-the-child", name="_acme-challenge.x.acme.example.com", zone="example.com")
    hidden = records("below-a-cname", name=NAME)
    publisher(bind.publisher()).add([*child, *hidden])
    assert bind.txt("acme.example.com") == {"_acme-challenge.x.acme.example.com": {"in-the-child"}}
    assert bind.txt("example.com") == {NAME: {"below-a-cname"}, **FOREIGN}
    publisher(bind.publisher()).remove([*child, *hidden])


def test_a_value_beside_a_cname_is_refused_and_not_dropped_in_silence(bind: Bind) -> None:
    said = refusal(bind.publisher(), [*records("fine"), *records("lost", name="made.acme.example.com")])
    assert "for made.acme.example.com: YXRRSET, a CNAME is there already" in said and "delegation" in said
    publisher(bind.publisher()).remove(records("lost", name="made.acme.example.com"))
    publisher(bind.publisher()).remove(records("fine"))


def test_an_update_is_taken_as_a_whole_or_not_at_all(start: t.Callable[..., Bind]) -> None:
    """With the policy that the guide has: one name, TXT only."""
    bind = start(policy=f"grant {KEY_NAME} name {NAME}. TXT;")
    said = refusal(bind.publisher(), [*records("ours"), *records("ours", name="www.example.com")])
    assert f"for {NAME}, www.example.com: REFUSED" in said and f"the key {KEY_NAME}" in said
    assert bind.txt("example.com") == FOREIGN
    publisher(bind.publisher()).add(records("ours"))
    assert bind.txt("example.com") == {NAME: {"ours"}, **FOREIGN}


REFUSED_BY_BIND: dict[str, tuple[dict[str, t.Any], str, str]] = {
    "no key": ({"key_name": None, "key_secret": None}, "REFUSED, the server does not allow it", "publisher.key_name"),
    "a key it does not know": ({"key_name": "other"}, "BADKEY, the server does not know the key other", "its name"),
    "its key as another algorithm": ({"key_algorithm": "hmac-sha512"}, "BADKEY", "algorithm"),
    "another secret": ({"key_secret": SECRET}, f"BADSIG, the server has another secret for the key {KEY_NAME}", "key_"),
    "a zone that is none": (
        {"zone": "corp.example.com"},
        "NOTAUTH",
        "not the primary one of the zone corp.example.com",
    ),
}


@pytest.mark.parametrize("given", REFUSED_BY_BIND)
def test_r20_what_the_server_refuses_is_named_with_its_reason(bind: Bind, given: str) -> None:
    changed, answer, remedy = REFUSED_BY_BIND[given]
    said = refusal(bind.publisher(), records("value"), **changed)
    assert said.startswith(f"The DNS update at 127.0.0.1 failed for {NAME}: {answer}")
    assert remedy in said.split(answer)[1]
    assert bind.txt("example.com") == FOREIGN


def test_r20_a_zone_that_the_server_does_not_have(bind: Bind) -> None:
    """The zone is what the resolvers said; where they know none either, it has to be given."""
    elsewhere = "_acme-challenge.example.net"
    said = refusal(bind.publisher(), records("value", name=elsewhere, zone="example.net"))
    assert "NOTAUTH, the server is not the primary one of the zone example.net" in said
    with pytest.raises(UserError, match=r"not known for _acme-challenge\.example\.net\. Give it in publisher\.zone"):
        publisher(bind.publisher()).add(records("value", name=elsewhere))


def test_r20_clocks_that_differ(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour, for what signs; TSIG allows five minutes."""
    late = types.SimpleNamespace(time=lambda: time.time() - 3600)
    monkeypatch.setattr("dns.message.time", late)
    said = refusal(bind.publisher(), records("value"))
    assert "BADTIME, the server's clock and that of this machine are minutes apart. Set them" in said


def test_r20_a_server_that_cannot_write_its_journal(start: t.Callable[..., Bind]) -> None:
    bind = start()
    (bind.directory / "example.com.zone.jnl").mkdir()
    said = refusal(bind.publisher(), records("value"))
    assert "SERVFAIL, the server failed. Its log says why" in said


class Told(socketserver.ThreadingTCPServer):
    """A name server over TCP that answers every message by a function: octets (none: it closes), None for silence."""

    daemon_threads = True

    def __init__(self, answer: t.Callable[[dns.message.Message], bytes | None]) -> None:
        self.answer = answer
        self.is_over = threading.Event()
        super().__init__(("127.0.0.1", 0), Conversation)

    @property
    def publisher(self) -> dict[str, t.Any]:
        place = {"type": "rfc2136", "server": "127.0.0.1", "port": self.server_address[1], "zone": "example.com"}
        return {**place, "key_name": KEY_NAME, "key_secret": SECRET, "key_algorithm": "hmac-sha256"}


class Conversation(socketserver.StreamRequestHandler):
    server: Told

    def handle(self) -> None:
        (length,) = struct.unpack("!H", self.rfile.read(2))
        key = dns.tsig.Key(KEY_NAME, SECRET)
        answer = self.server.answer(dns.message.from_wire(self.rfile.read(length), keyring=key))
        if answer is None:
            self.server.is_over.wait(30)
        elif answer:
            self.wfile.write(struct.pack("!H", len(answer)) + answer)


@contextlib.contextmanager
def told(answer: t.Callable[[dns.message.Message], bytes | None]) -> t.Iterator[Told]:
    with Told(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.is_over.set()
            server.shutdown()
            thread.join()


def answering(
    rcode: str = "NOERROR", *, secret: str | None = SECRET, tsig_error: str = "NOERROR"
) -> t.Callable[[dns.message.Message], bytes]:
    """Answer with these codes, signed by the secret, or not at all."""

    def answer(query: dns.message.Message) -> bytes:
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.from_text(rcode))
        response.tsig = None
        response.want_tsig_sign = False
        if secret:
            response.use_tsig(dns.tsig.Key(KEY_NAME, secret), tsig_error=dns.rcode.from_text(tsig_error))
        return response.to_wire()

    return answer


SAID: dict[str, tuple[t.Callable[[dns.message.Message], bytes | None], str]] = {
    "FORMERR": (answering("FORMERR"), "FORMERR, the server cannot read it"),
    "NOTIMP": (answering("NOTIMP"), "NOTIMP, the server takes no updates. Give the primary server"),
    "NOTZONE": (answering("NOTZONE"), "NOTZONE, the name does not lie in the zone example.com"),
    "a code of no meaning here": (answering("YXDOMAIN"), "YXDOMAIN, the server did not do it"),
    "BADTRUNC": (answering("NOTAUTH", tsig_error="BADTRUNC"), "BADTRUNC, the server wants longer signatures"),
    "NOTAUTH, not signed": (
        answering("NOTAUTH", secret=None),
        f"zone example.com, or does not take the key {KEY_NAME}",
    ),
    "done, not signed": (answering(secret=None), f"the answer is not signed by the key {KEY_NAME}"),
    "done, signed by another": (answering(secret="b3RoZXI="), f"the answer is not signed by the key {KEY_NAME}"),
    "an answer to something else": (
        lambda query: answering(secret=None)(dns.message.Message(query.id ^ 1)),
        "BadResponse",
    ),
    "no DNS": (lambda query: b"SSH-2.0-OpenSSH", "an answer that cannot be read"),
}


@pytest.mark.parametrize("said", SAID)
def test_r20_what_a_server_may_say(said: str) -> None:
    answer, expected = SAID[said]
    with told(answer) as server:
        assert expected in refusal(server.publisher, records("value"))


def test_a_server_that_says_nothing_is_left_at_the_deadline_for_all() -> None:
    """The zone is asked for and the update is sent within one time."""
    started = time.monotonic()
    with told(lambda query: None) as server:
        said = refusal(server.publisher, records("value"), timeout=1, zone=None)
        assert f"no answer within 1 s from 127.0.0.1:{server.server_address[1]}" in said
    assert time.monotonic() - started < 3


def test_a_server_that_is_not_there_is_told_apart_from_one_that_closes(bind: Bind) -> None:
    free = LEASES.lease()
    assert f"connection refused at 127.0.0.1:{free}. Is publisher.server (and port) right" in refusal(
        bind.publisher(port=free), records("value")
    )
    LEASES.release(free)
    with told(lambda query: b"") as server:
        assert "it closed the connection at 127.0.0.1:" in refusal(server.publisher, records("value"))
    assert "it has no address here" in refusal(bind.publisher(server="nowhere.invalid"), records("value"))


def test_all_addresses_of_a_name_are_tried(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where IPv6 is announced and does not work. (No test can put a name with two addresses into the resolver.)"""
    addresses = ["127.99.99.99", "127.0.0.1"]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, bind.port)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_options: found)
    publisher(bind.publisher(server="ns1.example.com")).add(records("value"))
    assert bind.txt("example.com") == {NAME: {"value"}, **FOREIGN}
    publisher(bind.publisher(server="ns1.example.com")).remove(records("value"))


WRONG: dict[str, tuple[dict[str, t.Any], str]] = {
    "a port in the server": ({"server": "192.0.2.1:53"}, "publisher.server '192.0.2.1:53': neither an address nor"),
    "an empty server": ({"server": " "}, "publisher.server"),
    "a port that is none": ({"port": 65536}, "publisher.port '65536': no port"),
    "a key's name with a blank": ({"key_name": "my key"}, "publisher.key_name 'my key'"),
    "a secret that is not base64": ({"key_secret": "hmac-sha256:key:c2VjcmV0"}, "publisher.key_secret: is not base64"),
    "a secret that is cut": ({"key_secret": "c2VjcmV"}, "publisher.key_secret: is not base64"),
    "a secret of nothing": ({"key_secret": "  "}, "publisher.key_secret: is not base64"),
}


@pytest.mark.parametrize("given", WRONG)
def test_what_cannot_be_right_is_refused_before_anybody_is_asked(given: str) -> None:
    changed, expected = WRONG[given]
    right = {"type": "rfc2136", "server": "192.0.2.1", "port": 53, "key_name": KEY_NAME, "key_secret": SECRET}
    with pytest.raises(BadInput) as caught:
        publisher({**right, "key_algorithm": "hmac-sha256"}, **changed)
    assert expected in str(caught.value)
    assert "c2VjcmV" not in str(caught.value)
