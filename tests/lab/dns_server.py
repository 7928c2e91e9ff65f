# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small authoritative DNS server on UDP and TCP that serves master files and misbehaves by script.

It answers as RFC 1034, 2181, 2308, 4592 and 6891 say (AA, SOA with negative answers, referrals with glue, wildcards,
EDNS with 1232 octets, truncation), keeps the case of the question, refuses what lies outside of its zones, takes
updates (dns_update.py), and remembers every query. `misbehave` says how it errs, for which name and for how many
queries. Zone files are read again when they change; dns_zone.py says how records are pasted.

By hand: `python -m ansible_collections.zerotrust.pomerium.tests.lab.dns_server --zone example.com=FILE --port 5300`.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import struct
import threading
import time
import typing as t
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsigkeyring
import dns.zone
from ansible_collections.zerotrust.pomerium.tests.lab.dns_update import apply_update, read_query
from ansible_collections.zerotrust.pomerium.tests.lab.dns_zone import Answer, ZoneFile, resolve
from ansible_collections.zerotrust.pomerium.tests.lab.ports import LEASES

EDNS_PAYLOAD = 1232
Kind = t.Literal["servfail", "nxdomain", "refused", "nodata", "truncate", "drop", "stale"]
RCODES = {"servfail": dns.rcode.SERVFAIL, "nxdomain": dns.rcode.NXDOMAIN, "refused": dns.rcode.REFUSED}
Zones = t.Dict[dns.name.Name, dns.zone.Zone]


@dataclass(frozen=True)
class Query:
    """One query that was received, and how it was answered; `rcode` is None where no answer was sent."""

    name: str
    rdtype: str
    transport: t.Literal["udp", "tcp"]
    rcode: str | None
    at: float


@dataclass
class Misbehaviour:
    """What goes wrong for one name; `queries` is how many it still applies to, None for all."""

    kind: Kind
    name: dns.name.Name
    rdtype: dns.rdatatype.RdataType | None
    queries: int | None
    zones: Zones


class DnsServer:
    """The server, on threads of this process; use it as a context manager."""

    def __init__(
        self,
        zones: t.Mapping[str, Path],
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        tsig_keys: t.Mapping[str, str] | None = None,
    ) -> None:
        """Serve `zones` (origin to master file). Port 0 is a free one; below 1024 it takes root. Who signs with one of
        `tsig_keys` (name to base64, HMAC-SHA256) may update the files."""
        self._keyring = dns.tsigkeyring.from_text(dict(tsig_keys or {}))
        self._zones = [ZoneFile(origin, path) for origin, path in zones.items()]
        self.address = address
        self.port = port or LEASES.lease(address)
        self._guard = threading.Lock()
        self._misbehaviours: list[Misbehaviour] = []
        self._queries: list[Query] = []
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_closing = False

    @property
    def resolver(self) -> str:
        """`address:port`, as Pebble and the option `resolvers` want it."""
        return f"{self.address}:{self.port}"

    @property
    def errors(self) -> list[str]:
        """Zone files that cannot be parsed as they are now."""
        self._current()
        return [zone.error for zone in self._zones if zone.error]

    def __enter__(self) -> DnsServer:
        self.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def start(self) -> None:
        """Bind both sockets and serve; whoever asks from now on is answered."""
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sockets |= {udp, tcp}
        udp.bind((self.address, self.port))
        tcp.bind((self.address, self.port))
        tcp.listen(64)
        for serve, served in ((self._serve_udp, udp), (self._serve_tcp, tcp)):
            self._start_thread(serve, served)

    def close(self) -> None:
        """Stop serving and give the port back; queries under way may go unanswered."""
        self._is_closing = True
        for served in list(self._sockets):
            with contextlib.suppress(OSError):  # it wakes the thread that waits on the socket, also where it fails
                served.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)
        for served in list(self._sockets):
            served.close()
        LEASES.release(self.port)

    def serve_also(self, origin: str, path: Path) -> None:
        """Serve one more zone from now on."""
        with self._guard:
            self._zones.append(ZoneFile(origin, path))

    def misbehave(self, name: str, kind: Kind, *, rdtype: str | None = None, queries: int | None = None) -> None:
        """Err for queries of `name` (of `rdtype` only, where given): all of them, or the first `queries`.

        `servfail`, `refused` and `nxdomain` are answers, `nodata` is an empty one, `truncate` sets TC over UDP,
        `drop` answers nothing, `stale` answers from the zones as they are at this moment. Several for one name are
        used up one after the other.
        """
        kind_of_record = None if rdtype is None else dns.rdatatype.from_text(rdtype)
        with self._guard:
            zones = self._current_zones()
            self._misbehaviours.append(Misbehaviour(kind, dns.name.from_text(name), kind_of_record, queries, zones))

    def behave(self, name: str | None = None) -> None:
        """End the misbehaviour for `name`, or all of it."""
        wanted = None if name is None else dns.name.from_text(name)
        with self._guard:
            self._misbehaviours = [m for m in self._misbehaviours if wanted not in (None, m.name)]

    def mark(self) -> int:
        """How many queries were received so far: what `queries(since=...)` takes."""
        return len(self._queries)

    def queries(self, since: int = 0, *, name: str | None = None, rdtype: str | None = None) -> list[Query]:
        """The queries after the mark `since`, of one name (in any case) and type where given."""
        wanted = None if name is None else name.rstrip(".").lower()
        return [
            query
            for query in list(self._queries)[since:]
            if wanted in (None, query.name.lower()) and rdtype in (None, query.rdtype)
        ]

    def _current(self) -> Zones:
        with self._guard:
            return self._current_zones()

    def _current_zones(self) -> Zones:
        return {zone.origin: zone.current() for zone in self._zones}

    def _serve_udp(self, served: socket.socket) -> None:
        while not self._is_closing:
            try:
                wire, client = served.recvfrom(65535)
            except OSError:
                if self._is_closing:
                    return
                continue  # an ICMP error of an earlier answer
            answer = self._respond(wire, "udp")
            if answer is not None:
                with contextlib.suppress(OSError):
                    served.sendto(answer, client)

    def _serve_tcp(self, served: socket.socket) -> None:
        while not self._is_closing:
            try:
                connection, _client = served.accept()
            except OSError:
                return
            self._sockets.add(connection)
            self._start_thread(self._serve_connection, connection)

    def _start_thread(self, serve: t.Callable[[socket.socket], None], served: socket.socket) -> None:
        thread = threading.Thread(target=serve, args=(served,), name=f"dns {self.resolver}", daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def _serve_connection(self, connection: socket.socket) -> None:
        """Answer one query after the other (RFC 7766) until the client has no more or is silent for 30 seconds."""
        with contextlib.suppress(OSError, EOFError), connection:
            connection.settimeout(30)
            while not self._is_closing:
                (length,) = struct.unpack("!H", _receive(connection, 2))
                answer = self._respond(_receive(connection, length), "tcp")
                if answer is None:
                    break
                connection.sendall(struct.pack("!H", len(answer)) + answer)
        self._sockets.discard(connection)

    def _respond(self, wire: bytes, transport: t.Literal["udp", "tcp"]) -> bytes | None:
        """The answer to one message, or None where none is to be sent."""
        try:
            query = read_query(wire, self._keyring)
        except dns.exception.DNSException:
            return _format_error(wire)
        if query.flags & dns.flags.QR:
            return None
        response = self._answer(query, transport)
        if query.question:
            question = query.question[0]
            name, rdtype = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
            rcode = None if response is None else dns.rcode.to_text(response.rcode())
            self._queries.append(Query(name, rdtype, transport, rcode, time.time()))
        if response is None:
            return None
        limit = 65535 if transport == "tcp" else max(512, min(query.payload, EDNS_PAYLOAD)) if query.edns >= 0 else 512
        return _to_wire(response, limit)

    def _answer(self, query: dns.message.Message, transport: str) -> dns.message.Message | None:
        response = dns.message.make_response(query, our_payload=EDNS_PAYLOAD)
        if query.opcode() == dns.opcode.UPDATE:
            with self._guard:
                response.set_rcode(apply_update(query, self._zones))
            return response
        if query.opcode() != dns.opcode.QUERY:
            response.set_rcode(dns.rcode.NOTIMP)
            return response
        if len(query.question) != 1:
            response.set_rcode(dns.rcode.FORMERR)
            return response
        if query.edns > 0:
            response.set_rcode(dns.rcode.BADVERS)
            return response
        name, rdtype = query.question[0].name, query.question[0].rdtype
        with self._guard:
            zones = self._current_zones()
            wrong = self._misbehaviour(name, rdtype, transport)
        if wrong is not None and wrong.kind == "drop":
            return None
        if wrong is not None and wrong.kind == "truncate":
            response.flags |= dns.flags.TC | dns.flags.AA
            return response
        found = _found(wrong, zones, query)
        if found.is_authoritative:
            response.flags |= dns.flags.AA
        response.set_rcode(found.rcode)
        response.answer, response.authority, response.additional = found.answer, found.authority, found.additional
        return response

    def _misbehaviour(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, transport: str
    ) -> Misbehaviour | None:
        """What is to go wrong for this query, if anything; it is used up by one."""
        for wrong in self._misbehaviours:
            is_ours = wrong.name == name and wrong.rdtype in (None, rdtype) and wrong.queries != 0
            if is_ours and not (wrong.kind == "truncate" and transport == "tcp"):
                if wrong.queries is not None:
                    wrong.queries -= 1
                return wrong
        return None


def _found(wrong: Misbehaviour | None, zones: Zones, query: dns.message.Message) -> Answer:
    question = query.question[0]
    if question.rdclass not in (dns.rdataclass.IN, dns.rdataclass.ANY) or question.rdtype == dns.rdatatype.AXFR:
        return Answer(rcode=dns.rcode.REFUSED, is_authoritative=False)
    if wrong is not None and wrong.kind == "nodata":
        return Answer()
    if wrong is not None and wrong.kind in RCODES:
        return Answer(rcode=RCODES[wrong.kind], is_authoritative=wrong.kind == "nxdomain")
    return resolve(wrong.zones if wrong is not None else zones, question.name, question.rdtype)


def _to_wire(response: dns.message.Message, limit: int) -> bytes:
    """Within `limit` octets: without glue where that helps, else empty with TC set (RFC 2181 section 9)."""
    with contextlib.suppress(dns.exception.TooBig):
        return response.to_wire(max_size=limit)
    response.additional = []
    with contextlib.suppress(dns.exception.TooBig):
        return response.to_wire(max_size=limit)
    response.flags |= dns.flags.TC
    response.answer, response.authority = [], []
    return response.to_wire(max_size=limit)


def _format_error(wire: bytes) -> bytes | None:
    """FORMERR for what has a header at least; nothing for the rest, or for what is itself an answer."""
    if len(wire) < 12 or wire[2] & 0x80:
        return None
    return wire[:2] + bytes([0x80 | (wire[2] & 0x79), dns.rcode.FORMERR]) + bytes(8)


def _receive(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        more = connection.recv(length - len(received))
        if not more:
            raise EOFError
        received += more
    return received


def main() -> None:
    """Serve from the command line until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zone", action="append", required=True, metavar="ORIGIN=FILE")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    zones = {origin: Path(path) for origin, _equals, path in (zone.partition("=") for zone in options.zone)}
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before the threads, which inherit it
    with DnsServer(zones, address=options.address, port=options.port) as server:
        print(f"serving {', '.join(zones)} on {server.resolver}", flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
