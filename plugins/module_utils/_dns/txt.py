# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one server says about a TXT record; an answer that did not come is an answer too. Never raises.

Private to this collection.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from .lookup import plain, some, why_endless
from .records import absolute, bare

if t.TYPE_CHECKING:
    import dns.message
    import dns.rdatatype

ASK_SECONDS = 3.0
"""For one server: authoritative servers answer within a round trip; a lost datagram costs a third of this."""

EDNS_PAYLOAD = 1232
"""The size that passes every path unfragmented (DNS flag day 2020); a longer answer comes over TCP (R18)."""


Kind = t.Literal["told", "failed", "endless", "silent", "unreachable"]
"""Whether a server told what there is, perhaps nothing; failed (SERVFAIL, rubbish); led into a loop; said nothing; or
could not even be sent to (no IPv6 here)."""


@dataclass(frozen=True)
class Answer:
    """What one server said: its TXT `values` (strings joined), and `said`, the same for people who miss a value there.

    `chain` are the targets of the CNAMEs that led there, one after the other (in the form of `records.absolute`).
    """

    said: str
    values: frozenset[str] = frozenset()
    kind: Kind = "told"
    chain: tuple[str, ...] = ()

    @property
    def answered(self) -> bool:
        """Tell whether anything came back."""
        return self.kind not in ("silent", "unreachable")

    @property
    def text(self) -> str:
        """What was said, after the CNAMEs that led there."""
        return f"a CNAME to {', on to '.join(map(bare, self.chain))}, there {self.said}" if self.chain else self.said


def ask_txt(
    name: str, *, address: str, port: int = 53, recursive: bool = False, timeout: float = ASK_SECONDS
) -> Answer:
    """Ask one server for the TXT values at `name`, over UDP and where truncated over TCP. Never raises.

    `timeout` is in seconds and covers two attempts over UDP; TCP may take as long again. Authoritative servers are
    asked without RD (RFC 1035 section 4.1.1).
    """
    import dns.exception
    import dns.flags
    import dns.message
    import dns.query

    question = dns.message.make_query(
        name, "TXT", use_edns=0, payload=EDNS_PAYLOAD, flags=dns.flags.RD if recursive else 0
    )
    for seconds in (timeout / 3, timeout * 2 / 3):
        try:
            return _read(
                dns.query.udp(
                    question,
                    address,
                    timeout=seconds,
                    port=port,
                    ignore_unexpected=True,
                    ignore_errors=True,
                    raise_on_truncation=True,
                )
            )
        except dns.message.Truncated:
            return _ask_over_tcp(question, address=address, port=port, timeout=timeout)
        except dns.exception.Timeout:
            continue
        except OSError as error:
            return Answer(f"not reachable from here ({plain(error)})", kind="unreachable")
        except dns.exception.DNSException as error:
            return Answer(f"an answer that cannot be read ({plain(error)})", kind="failed")
    return Answer(f"no answer in {timeout:g} s", kind="silent")


def _ask_over_tcp(question: dns.message.Message, *, address: str, port: int, timeout: float) -> Answer:
    import dns.exception
    import dns.query

    try:
        return _read(dns.query.tcp(question, address, timeout=timeout, port=port))
    except dns.exception.Timeout:
        why = f"no answer in {timeout:g} s"
    except EOFError:
        why = "the connection ends before the answer"
    except (OSError, dns.exception.DNSException) as error:
        why = plain(error).lower()
    return Answer(f"truncated over UDP, and over TCP {why}", kind="silent")


def _read(response: dns.message.Message) -> Answer:
    """Follow the CNAMEs that the answer holds; where they leave its zone, more may lie behind (`trail.py`)."""
    import dns.message
    import dns.rcode
    import dns.rdatatype

    rcode = response.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or not isinstance(response, dns.message.QueryMessage):
        return Answer(dns.rcode.to_text(rcode), kind="failed")
    way = [absolute(response.question[0].name.to_text())]
    while not why_endless(way):
        found = _answered(response, way[-1], dns.rdatatype.CNAME)
        if not found:
            break
        way.append(absolute(found[0].target.to_text()))
    else:
        return Answer(why_endless(way), kind="endless")
    found = _answered(response, way[-1], dns.rdatatype.TXT)
    values = frozenset(b"".join(rdata.strings).decode("utf-8", "backslashreplace") for rdata in found)
    said = "NXDOMAIN" if rcode == dns.rcode.NXDOMAIN else _referral(response) or "no TXT record"
    if values:
        said = "other values: " + some([f'"{value}"' for value in sorted(values)])
    return Answer(said, values, chain=tuple(way[1:]))


def _answered(response: dns.message.Message, name: str, rdtype: dns.rdatatype.RdataType) -> t.Sequence[t.Any]:
    import dns.name
    import dns.rdataclass

    return list(response.get_rrset(response.answer, dns.name.from_text(name), dns.rdataclass.IN, rdtype) or ())


def _referral(response: dns.message.Message) -> str:
    """Name the zone whose servers are to be asked in the place of this one, which then does not hold the name."""
    import dns.flags
    import dns.rdatatype

    zones = [bare(rrset.name.to_text()) for rrset in response.authority if rrset.rdtype == dns.rdatatype.NS]
    if response.answer or response.flags & dns.flags.AA or not zones:
        return ""
    return f"a referral to the name servers of {zones[0]}"
