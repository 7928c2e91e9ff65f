# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which name is really written: by the user's map, else where CNAMEs lead."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.delegation import written_names
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError

NAMES = ["_acme-challenge.corp.example.com", "_acme-challenge.app.example.com."]
CORP, APP = "_acme-challenge.corp.example.com.", "_acme-challenge.app.example.com."


def write(
    dns_lab: t.Any, *, follow: bool = False, verify: str = "authoritative", **delegation: t.Any
) -> tuple[dict[str, str], tuple[str, ...]]:
    return written_names(NAMES, delegation=delegation, resolvers=dns_lab.resolvers, follow=follow, verify=verify)


def test_without_a_map_each_name_is_written_itself_and_nobody_is_asked(dns_lab: t.Any) -> None:
    mark = dns_lab.server.mark()
    assert write(dns_lab) == ({CORP: CORP, APP: APP}, ())
    assert dns_lab.server.mark() == mark


@pytest.mark.parametrize("name", ["_acme-challenge.corp.example.com", "_ACME-Challenge.corp.example.com."])
@pytest.mark.parametrize("target", ["x.acme.example.net", " X.acme.example.net. ", "x.acme.example.net."])
def test_the_map_may_be_written_in_any_case_with_or_without_the_final_dot(
    dns_lab: t.Any, name: str, target: str
) -> None:
    written, warnings = write(dns_lab, **{name: target})
    assert written == {CORP: "x.acme.example.net.", APP: APP}
    assert not warnings


def test_a_name_in_the_map_that_is_no_challenge_name_is_warned_of(dns_lab: t.Any) -> None:
    written, warnings = write(dns_lab, **{"corp.example.com": "x.acme.example.net"})
    assert written == {CORP: CORP, APP: APP}
    assert warnings == (
        "delegation names corp.example.com, where no record is needed: the challenge names are "
        "_acme-challenge.app.example.com, _acme-challenge.corp.example.com.",
    )


@pytest.mark.parametrize(
    "target",
    ["", "acme", "*.example.net", "https://acme.example.net", "a..example.net", "-a.example.net", "a" * 64 + ".net", 5]
    + [".".join(["a" * 63] * 4), "ä.example.net", None],
)
def test_a_target_that_is_no_dns_name_is_refused(dns_lab: t.Any, target: t.Any) -> None:
    with pytest.raises(BadInput, match=rf"^delegation.*: no DNS name .* of {CORP[:-1]}\. Write the whole name"):
        write(dns_lab, **{CORP: target})


@pytest.mark.parametrize("verify", ["authoritative", "recursive"])
def test_r19_live_cnames_are_followed_for_names_that_the_map_does_not_have(dns_lab: t.Any, verify: str) -> None:
    dns_lab.start_name_servers()
    dns_lab.add_zone("acme.example.net")
    dns_lab.add(f"{CORP} IN CNAME y.acme.example.net.", f"{APP} IN CNAME hop", "hop IN CNAME z.acme.example.net.")
    written, warnings = write(dns_lab, follow=True, verify=verify, **{CORP: "x.acme.example.net"})
    assert written == {CORP: "x.acme.example.net.", APP: "z.acme.example.net."}
    assert not warnings


def test_without_a_cname_a_name_is_its_own_end(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(f"{APP} IN A 192.0.2.1")
    assert write(dns_lab, follow=True) == ({CORP: CORP, APP: APP}, ())


def test_to_follow_no_resolver_is_asked_for_what_is_not_there_yet(dns_lab: t.Any) -> None:
    """It would remember for a while that there is none, and may be the CA's too."""
    dns_lab.start_name_servers()
    dns_lab.add_zone("acme.example.net")
    dns_lab.add(f"{CORP} IN CNAME x.acme.example.net.")
    assert write(dns_lab, follow=True)[0][CORP] == "x.acme.example.net."
    assert not [query for name in (CORP, APP, "x.acme.example.net") for query in dns_lab.server.queries(name=name)]


def test_where_one_name_server_lacks_the_cname_the_others_say_where_it_leads(dns_lab: t.Any) -> None:
    _ns1, ns2 = dns_lab.start_name_servers()
    ns2.misbehave(CORP, "stale")
    dns_lab.add_zone("acme.example.net")
    dns_lab.add(f"{CORP} IN CNAME x.acme.example.net.")
    assert write(dns_lab, follow=True)[0][CORP] == "x.acme.example.net."


def test_r19_a_loop_is_an_error_with_its_chain_and_what_to_do(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(f"{CORP} IN CNAME a", f"a IN CNAME {CORP}")
    with pytest.raises(UserError) as raised:
        write(dns_lab, follow=True)
    assert str(raised.value) == (
        f"The CNAMEs lead nowhere for {CORP[:-1]}: a loop of CNAMEs, {CORP[:-1]} to a.example.com to {CORP[:-1]}. Mend "
        "them in DNS, or say in delegation which name is to be written."
    )
    assert write(dns_lab, follow=True, **{CORP: "x.acme.example.net"})[0][CORP] == "x.acme.example.net."


def test_r19_as_many_cnames_as_are_followed_have_an_end_and_one_more_has_none(dns_lab: t.Any) -> None:
    dns_lab.start_name_servers()
    dns_lab.add(*(f"n{number} 60 IN CNAME n{number + 1}" for number in range(1, 17)), f"{CORP} IN CNAME n2")
    assert write(dns_lab, follow=True)[0][CORP] == "n17.example.com."
    dns_lab.remove(f"{CORP} IN CNAME n2")
    dns_lab.add(f"{CORP} IN CNAME n1")
    with pytest.raises(UserError, match=rf"more than 16 CNAMEs in a row, {CORP[:-1]} to n1.example.com to "):
        write(dns_lab, follow=True)


def test_where_dns_does_not_tell_the_end_it_is_warned_of(dns_lab: t.Any) -> None:
    dns_lab.add(f"{CORP} IN CNAME x.acme.example.net.", f"{APP} IN A 192.0.2.1")
    dns_lab.server.misbehave("x.acme.example.net", "servfail")
    dns_lab.start_name_servers()
    written, warnings = write(dns_lab, follow=True)
    assert written == {CORP: "x.acme.example.net.", APP: APP}
    assert warnings == (
        f"Whether a CNAME leads on from x.acme.example.net is not known: SERVFAIL from {dns_lab.server.resolver}. The "
        f"record of {CORP[:-1]} is meant to be written there.",
    )
