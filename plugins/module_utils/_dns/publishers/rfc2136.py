# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TXT records by DNS UPDATE (RFC 2136), signed by TSIG (RFC 8945), over TCP. Private to this collection."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import socket
import time
import typing as t

from ..._errors import BadInput, UserError
from ..lookup import Server, some
from ..publisher import Publisher
from ..records import zone_text

if t.TYPE_CHECKING:
    import dns.exception
    import dns.message
    import dns.name
    import dns.tsig

    from ..records import DnsRecord

ALGORITHMS = ("hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1", "hmac-md5")

_NAME = re.compile(r"(?=.{1,254}\Z)[\w-]{1,63}(\.[\w-]{1,63})*\.?\Z", re.ASCII)

_REFUSALS = {
    "FORMERR": ("the server cannot read it", "Its log says more; is it a DNS server that knows updates?"),
    "SERVFAIL": (
        "the server failed",
        "Its log says why; often it may not write the folder with the zone's file and journal.",
    ),
    "NOTIMP": ("the server takes no updates", "Give the primary server of the zone in publisher.server."),
    "REFUSED": (
        "the server does not allow it",
        "Allow it there for {who} (BIND: update-policy, TXT at this name); secondaries and frozen zones refuse too.",
    ),
    "NOTAUTH": (
        "the server is not the primary one of the zone {zone}, or does not take {who}",
        "Give that server in publisher.server, or another publisher.zone, and the key just as the server has it.",
    ),
    "NOTZONE": ("the name does not lie in the zone {zone}", "Give the zone that holds it in publisher.zone."),
    "YXRRSET": (
        "a CNAME is there already, and nothing else can be beside it",
        "Write where it leads (option delegation or follow_cname), or remove it.",
    ),
}
"""What a response code of RFC 2136 means for us, and what to do. YXRRSET is the one that we provoke."""


class Rfc2136(Publisher):
    """Sends updates to the zone's primary server: one for each zone, which it takes as a whole or not at all."""

    OPTIONS: t.ClassVar[dict[str, t.Any]] = {
        "server": {"type": "str"},
        "port": {"type": "int", "default": 53},
        "key_name": {"type": "str"},
        "key_secret": {"type": "str", "no_log": True},
        "key_algorithm": {"type": "str", "choices": list(ALGORITHMS), "default": "hmac-sha256"},
    }
    REQUIRED = ("server",)

    def __init__(self, options: t.Mapping[str, t.Any]) -> None:
        super().__init__(options)
        _check_server(options["server"], options["port"])
        self._secret = b""
        if options.get("key_name"):
            self._secret = _check_key(options["key_name"], options["key_secret"])

    def add(self, records: t.Sequence[DnsRecord]) -> None:
        """Without the condition, a server drops what is to be added beside a CNAME, and calls that a success."""
        self._update(records, is_wanted=True)

    def remove(self, records: t.Sequence[DnsRecord]) -> None:
        self._update(records, is_wanted=False)

    def _update(self, records: t.Sequence[DnsRecord], *, is_wanted: bool) -> None:
        from dns.update import UpdateMessage

        primary = _Primary(self.options["server"], self.options["port"], key=self._key(), within=self.timeout)
        zones: dict[str, list[DnsRecord]] = {}
        for record in records:
            zones.setdefault(self._zone(record, primary), []).append(record)
        for zone, found in zones.items():
            update = UpdateMessage(zone)
            for record in found:
                if is_wanted:
                    update.absent(record.name, "CNAME")
                for entry in record.entries:
                    if is_wanted:
                        update.add(record.name, self.ttl, "TXT", zone_text(entry))
                    else:
                        update.delete(record.name, "TXT", zone_text(entry))
            primary.change(update, zone=zone, names=[record.name for record in found])

    def _key(self) -> dns.tsig.Key | None:
        if not self._secret:
            return None
        import dns.tsig

        algorithm = getattr(dns.tsig, self.options["key_algorithm"].upper().replace("-", "_"))
        return dns.tsig.Key(self.options["key_name"], self._secret, algorithm)

    def _zone(self, record: DnsRecord, primary: _Primary) -> str:
        """The zone that is given, else the one that the server itself knows, else what the resolvers said."""
        found = None if self.zone else primary.zone_of(record.name)
        return found or self.zone_of(record)


def _check_server(server: str, port: int) -> None:
    if not _NAME.match(server):
        try:
            ipaddress.ip_address(server)
        except ValueError:
            remedy = "Give 192.0.2.53, 2001:db8::53 or ns1.example.com; the port is publisher.port."
            raise BadInput("publisher.server", server, "neither an address nor a name", remedy=remedy) from None
    if not 0 < port < 65536:
        raise BadInput("publisher.port", port, "no port", remedy="Give a number from 1 to 65535; DNS has 53.")


def _check_key(name: str, secret: str) -> bytes:
    """Give the octets of the secret."""
    if not _NAME.match(name):
        raise BadInput("publisher.key_name", name, "no name of a key", remedy="Give it as the server's key has it.")
    try:
        octets = base64.b64decode(secret.strip(), validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if not octets:
        remedy = "Give what stands after secret in the key's file (tsig-keygen prints it), without quotes."
        raise BadInput("publisher.key_secret", None, "is not base64", remedy=remedy)
    return octets


class _Primary:
    """One name server, asked over TCP and signed: each address in turn until one answers, all within a deadline."""

    def __init__(self, server: str, port: int, *, key: dns.tsig.Key | None, within: float) -> None:
        self._name, self._port, self._key = server, port, key
        self._within, self._end = within, time.monotonic() + within
        self._addresses: list[str] = []

    def zone_of(self, name: str) -> str | None:
        """Tell which zone it serves that holds `name`, by its SOA, without final dot; None where it serves none.

        A CNAME at the name hides the zone, so the next label is asked for then. The question is signed, since the key
        may choose the view.
        """
        import dns.flags
        import dns.message
        import dns.name
        import dns.rcode
        import dns.rdatatype

        asked = dns.name.from_text(name)
        while asked != dns.name.root:
            response = self._ask(dns.message.make_query(asked, "SOA", flags=0), names=[name])
            if not response.flags & dns.flags.AA or response.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return None
            for rrset in response.answer or response.authority:
                if rrset.rdtype == dns.rdatatype.SOA and (rrset.name == asked or not response.answer):
                    return rrset.name.to_text(omit_final_dot=True).lower()
            asked = asked.parent()
        return None

    def change(self, update: dns.message.Message, *, zone: str, names: t.Sequence[str]) -> None:
        """Send an update; raises UserError unless the server says that it is done, and signs that."""
        import dns.rcode

        response = self._ask(update, names=names)
        rcode = dns.rcode.to_text(response.rcode())
        who = self._signer if self._key else "this machine without publisher.key_name"
        if rcode != "NOERROR":
            answer, remedy = _REFUSALS.get(rcode, ("the server did not do it", "Its log says more."))
            raise self._failure(names, f"{rcode}, {answer.format(zone=zone, who=who)}", remedy.format(who=who))
        if self._key and not response.had_tsig:
            raise self._failure(names, *self._not_signed)

    def _ask(self, message: dns.message.Message, *, names: t.Sequence[str]) -> dns.message.Message:
        """Give the answer of the first address that has one; that one is asked alone from then on."""
        import dns.exception

        self._addresses = self._addresses or self._resolve(names)
        if self._key:
            message.use_tsig(self._key)
        silent = []
        for place, address in enumerate(self._addresses):
            left = (self._end - time.monotonic()) / (len(self._addresses) - place)
            try:
                response = self._exchange(message, address, within=max(left, 0.001))
            except (dns.exception.Timeout, TimeoutError):
                silent.append(f"no answer within {self._within:g} s from {Server(address, self._port)}")
            except (OSError, EOFError) as error:
                why = getattr(error, "strerror", None) or "it closed the connection"
                silent.append(f"{why.lower()} at {Server(address, self._port)}")
            except dns.exception.DNSException as error:
                raise self._failure(names, *self._why_unread(error)) from None
            else:
                self._addresses = [address]
                return response
        remedy = "Is publisher.server (and port) right, and is TCP open on the way? Updates need it."
        raise self._failure(names, ", ".join(silent), remedy)

    def _exchange(self, message: dns.message.Message, address: str, *, within: float) -> dns.message.Message:
        """Send a message and give the answer, with its signature verified where it has one.

        Servers do not sign a refusal where they do not know the key or the zone. dnspython's own `tcp` gives such an
        answer out or not, by its version; its code is wanted here.
        """
        import dns.message
        import dns.query

        end = time.monotonic() + within
        with socket.create_connection((address, self._port), timeout=within) as connection:
            connection.sendall(message.to_wire(prepend_length=True))
            wire = _receive(connection, int.from_bytes(_receive(connection, 2, end=end), "big"), end=end)
        response = dns.message.from_wire(wire, keyring=False)
        if not message.is_response(response):
            raise dns.query.BadResponse
        if response.had_tsig:
            dns.message.from_wire(wire, keyring=self._key, request_mac=message.mac)
        return response

    def _resolve(self, names: t.Sequence[str]) -> list[str]:
        try:
            found = socket.getaddrinfo(self._name, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            remedy = "Give an address in publisher.server, or a name that this machine can resolve."
            raise self._failure(names, f"it has no address here ({error.strerror})", remedy) from None
        return list(dict.fromkeys(str(place[0]) for *_kind, place in found))

    def _why_unread(self, error: dns.exception.DNSException) -> tuple[str, str]:
        """Say what it means that the other side did not take the signature, or we not its answer; and what to do."""
        import dns.tsig

        key = self._signer
        if isinstance(error, dns.tsig.PeerBadKey):
            return f"BADKEY, the server does not know {key}", "Give its name and algorithm as the server has them."
        if isinstance(error, dns.tsig.PeerBadSignature):
            return f"BADSIG, the server has another secret for {key}", "Give that one in publisher.key_secret."
        if isinstance(error, dns.tsig.PeerBadTime):
            return "BADTIME, the server's clock and that of this machine are minutes apart", "Set them, best by NTP."
        if isinstance(error, dns.tsig.PeerBadTruncation):
            return f"BADTRUNC, the server wants longer signatures of {key}", "Give another publisher.key_algorithm."
        if "TSIG" in str(error):  # all that is wrong with the signature of an answer
            return self._not_signed
        return f"an answer that cannot be read ({type(error).__name__})", "Is publisher.port that of a DNS server?"

    @property
    def _not_signed(self) -> tuple[str, str]:
        return f"the answer is not signed by {self._signer}", "Is it another server, or one without TSIG, that answers?"

    @property
    def _signer(self) -> str:
        return f"the key {self._key.name.to_text(omit_final_dot=True)}" if self._key else "a key"

    def _failure(self, names: t.Sequence[str], answer: str, remedy: str) -> UserError:
        return UserError(f"The DNS update at {self._name} failed", name=some(names), answer=answer, remedy=remedy)


def _receive(connection: socket.socket, octets: int, *, end: float) -> bytes:
    """Read so much by `end`, a moment of the monotonic clock; raises TimeoutError, or EOFError where there is less."""
    received = b""
    while len(received) < octets:
        connection.settimeout(max(end - time.monotonic(), 0.001))
        more = connection.recv(octets - len(received))
        if not more:
            raise EOFError
        received += more
    return received
