# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a CA that misbehaves answers, for the rules of the fault proxy: whole replies, and changes to good ones.

Each is something that a CA, or what stands before it, was seen to do. `when` is a value of Retry-After: `3600`, or
`date+3600` for the same as an HTTP date, reckoned when the answer is sent.
"""

from __future__ import annotations

import email.utils
import json
import time
import typing as t
from dataclasses import replace

from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import CUT, HOLD, Change, Reply
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

Document = t.Dict[str, t.Any]
Chain = t.List[x509.Certificate]
URN = "urn:ietf:params:acme:error:"
PAUSED_URL = "https://portal.lab.example/unpause?jwt=eyJhbGciOiJIUzI1NiJ9.e30.abc"
PAGE = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def moment(when: str) -> str:
    """The value of Retry-After that `when` stands for."""
    kind, _plus, seconds = when.partition("+")
    return email.utils.formatdate(time.time() + float(seconds), usegmt=True) if kind == "date" else when


def problem(kind: str, status: int, detail: str, when: str | None = None) -> Reply:
    """A problem document, with Retry-After where `when` is given."""
    body = json.dumps({"type": URN + kind, "detail": detail, "status": status}).encode()
    headers = {"Content-Type": "application/problem+json"}
    return Reply(status, {**headers, "Retry-After": moment(when)} if when else headers, body)


def rate_limited(when: str | None = None) -> Reply:
    """429: too many of something."""
    return problem("rateLimited", 429, "too many certificates already issued, see https://ca.lab.example/limits", when)


def paused() -> Reply:
    """Let's Encrypt's 429 for a name that failed too often: no Retry-After, and an address where a person lifts it."""
    detail = f"Your account is temporarily prevented from requesting certificates for these names: visit {PAUSED_URL}"
    return problem("rateLimited", 429, detail)


def busy(status: int, when: str | None = None) -> Reply:
    """500 or 503, with or without Retry-After."""
    return problem("serverInternal", status, "the CA is busy", when)


def page(status: int = 502) -> Reply:
    """A gateway's page in HTML."""
    return Reply(status, {"Content-Type": "text/html"}, PAGE)


def editing(edit: t.Callable[[Document], Document | None]) -> Change:
    """Change the JSON document of an answer; one of which `edit` makes None stays, and does not count."""

    def change(reply: Reply) -> Reply | None:
        edited = edit(json.loads(reply.body))
        return None if edited is None else replace(reply, body=json.dumps(edited).encode())

    return change


def shown_as(status: str, instead_of: str | None = None) -> Change:
    """Show an order or an authorization with another status: always, or only where it has the status `instead_of`."""

    def edit(document: Document) -> Document | None:
        if instead_of not in (None, document["status"]):
            return None
        return {name: value for name, value in document.items() if name != "certificate"} | {"status": status}

    return editing(edit)


def starless() -> Change:
    """Strip `*.` from the identifiers of an order (Posh-ACME #567, lego #2519)."""

    def edit(document: Document) -> Document:
        identifiers = [{**one, "value": one["value"].replace("*.", "", 1)} for one in document["identifiers"]]
        return {**document, "identifiers": identifiers}

    return editing(edit)


def with_members(**members: t.Any) -> Change:
    """Put members into the document of an answer: `error={}` (acme.sh #4933), `authorizations=[]`."""
    return editing(lambda document: {**document, **members})


def with_challenges(*kinds: str) -> Change:
    """Offer challenges of these types, and no others."""

    def edit(document: Document) -> Document:
        first = document["challenges"][0]
        return {**document, "challenges": [{**first, "type": kind} for kind in kinds]}

    return editing(edit)


def with_token(token: str) -> Change:
    """Give every challenge this token."""
    return editing(lambda document: {**document, "challenges": [{**c, "token": token} for c in document["challenges"]]})


def retry_after(when: str | None) -> Change:
    """Ask to come again at another time than the CA did; None: at none."""
    return lambda reply: reply.with_header("Retry-After", moment(when) if when else None)


def with_header(name: str, value: str | None) -> Change:
    """Give a header another value; None: leave it out."""
    return lambda reply: reply.with_header(name, value)


def dripping(seconds: float) -> Change:
    """Send a byte of the body every so many seconds: no wait for the next byte ever takes long."""
    return lambda reply: replace(reply, drip=seconds)


def stalling() -> Change:
    """Send the head and half of the body, then nothing for as long as the client waits."""
    return lambda reply: replace(reply, stops_at=len(reply.body) // 2, then=HOLD)


def breaking_off() -> Change:
    """Send the head and half of the body, then reset the connection."""
    return lambda reply: replace(reply, stops_at=len(reply.body) // 2, then=CUT)


def rechained(forge: t.Callable[[Chain], Chain]) -> Change:
    """Hand out another chain than the CA made."""

    def change(reply: Reply) -> Reply:
        chain = forge(x509.load_pem_x509_certificates(reply.body))
        return replace(reply, body=b"".join(one.public_bytes(Encoding.PEM) for one in chain))

    return change


def _foreign(chain: Chain) -> Chain:
    """For the same names, consistent, and of another CA for another key."""
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    issued = Authority("Another CA").issue(*names.get_values_for_type(x509.DNSName))
    return x509.load_pem_x509_certificates(issued.fullchain_pem)


CHAINS: dict[str, t.Callable[[Chain], Chain]] = {
    "truncated": lambda chain: chain[:1],
    "reordered": lambda chain: chain[::-1],
    "foreign-leaf": lambda chain: [_foreign(chain)[0], *chain[1:]],
    "other-key": _foreign,
}
"""What `rechained` may be given by name: foreign-leaf is somebody else's before the CA's own issuers."""
