# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pomerium_certificate with version: previous: back to the certificate before, and held."""

from __future__ import annotations

import typing as t

from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import SOURCES, Plain, Site
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Issued

NOTHING = dict.fromkeys(SOURCES, "")
"""No sources at all, as `''` counts as not given."""


def issue_in_turn(site: Site, *days: float) -> list[Issued]:
    """Issue and serve one certificate after the other, each of which begins later than the one before."""
    issued = []
    for lifetime in days:
        issued.append(site.serve(days=lifetime))
    return issued


def go_back(site: Site, **options: t.Any) -> dict[str, t.Any]:
    return site.act(version="previous", **{**NOTHING, **options})


def play_back(site: Site, *arguments: str) -> dict[str, t.Any]:
    return site.install(*arguments, version="previous", **NOTHING)


def serial(issued: Issued) -> str:
    return f"{issued.certificate.serial_number:x}"


def test_previous_is_served_and_held_until_it_is_lifted_with_no_source_on_the_controller(site: Site) -> None:
    first, _second = issue_in_turn(site, 30, 20)
    config, sources = site.host.config_text, site.sources.rename(site.directory / "gone")
    done = play_back(site)
    assert (done["changed"], done["held"], done["served"]["is_ours"]) == (True, True, True)
    assert done["version"].endswith(serial(first)) and done["hold"]["version"] == done["version"]
    assert site.host.served().leaf == first.certificate
    assert site.host.config_text == config

    before = site.snapshot()
    again = play_back(site)
    assert (again["changed"], again["hold"]) == (False, done["hold"])
    assert again["msg"].startswith(f"held at version {done['version']}")
    assert site.snapshot() == before

    sources.rename(site.sources)
    third = site.issue(days=10)
    run = site.run()
    skipped = site.result()
    assert (skipped["changed"], skipped["held"], skipped["failed"]) == (False, True, False)
    assert "[WARNING]: pom1: held at version" in " ".join(run.output.split())
    assert site.snapshot() == before, "what is newer is not even written there"

    lifted = site.install(version="current")
    assert (lifted["changed"], lifted["held"], lifted["hold"]) == (True, False, None)
    assert site.host.served().leaf == third.certificate
    assert site.install()["changed"] is False


def test_after_two_renewals_it_is_the_last_but_one(site: Site) -> None:
    _first, second, _third = issue_in_turn(site, 30, 20, 10)
    assert go_back(site)["version"].endswith(serial(second))
    assert site.host.served().leaf == second.certificate


def test_after_the_renewal_that_follows_a_lifted_hold_it_is_what_was_held(site: Site) -> None:
    first, _bad = issue_in_turn(site, 30, 20)
    go_back(site)
    site.issue(days=10)
    site.act(version="current")
    assert go_back(site)["version"].endswith(serial(first))


def test_neither_what_is_held_nor_what_was_left_is_cleared_away(site: Site) -> None:
    issued = issue_in_turn(site, 40, 30, 20)
    go_back(site)
    for days in (10, 9):
        site.issue(days=days)
        site.act(keep_versions=1)
    versions = site.host.tls_directory / "pomerium/versions"
    assert sorted(path.name.rpartition("-")[2] for path in versions.iterdir()) == sorted(map(serial, issued))


def test_without_a_version_before_nothing_is_touched(site: Site) -> None:
    none = go_back(site)
    assert none["failed"] is True and "there are: none at all" in none["msg"]
    assert not site.host.tls_directory.exists()
    issue_in_turn(site, 30)
    before = site.snapshot()
    only = go_back(site)
    assert only["failed"] is True and "none that was in use before" in only["msg"]
    assert site.snapshot() == before


def test_one_that_has_expired_meanwhile_is_refused_by_name(site: Site) -> None:
    """Its certificate is replaced by an expired one where it lies: waiting would take a day."""
    first, _second = issue_in_turn(site, 30, 20)
    (place,) = (site.host.tls_directory / "pomerium/versions").glob(f"*-{serial(first)}")
    site.authority.issue("*.corp.example.com", days=-1).write(place / "fullchain.pem", place / "privkey.pem")
    before = site.snapshot()
    refused = go_back(site)
    assert refused["failed"] is True
    assert f"version 'previous': the certificate of version {place.name} expired at" in refused["msg"]
    assert site.snapshot() == before


def test_a_damaged_one_is_refused_by_name(site: Site) -> None:
    first, second = issue_in_turn(site, 30, 20)
    (place,) = (site.host.tls_directory / "pomerium/versions").glob(f"*-{serial(first)}")
    (place / "privkey.pem").write_bytes(second.key_pem)
    before = site.snapshot()
    refused = go_back(site)
    assert refused["failed"] is True and f"version {place.name} is damaged" in refused["msg"]
    assert site.snapshot() == before


def test_one_that_is_not_served_either_is_put_back_and_not_held(site: Site) -> None:
    """A port that another process serves: no certificate can be seen there."""
    issue_in_turn(site, 30, 20)
    before = site.snapshot()
    with Plain() as port:
        failed = go_back(site, probe={"timeout": 1, "port": port})
    assert (failed["failed"], failed["rolled_back"], failed["served"]["state"]) == (True, True, "no_tls")
    assert "did not serve version" in failed["msg"]
    assert site.snapshot() == before


def test_check_mode_says_where_it_would_go_and_changes_nothing(site: Site) -> None:
    first, _second = issue_in_turn(site, 30, 20)
    before = site.snapshot()
    would = play_back(site, "--check", "--diff")
    assert would["changed"] is True
    assert would["msg"].startswith("would go back to version ") and serial(first) in would["msg"]
    assert f"{serial(first)}, held since" in would["diff"]["after"]
    assert site.snapshot() == before
    go_back(site)
    before = site.snapshot()
    assert site.act(check=True)["held"] is True
    assert site.act(check=True, version="current")["msg"].startswith("would lift the hold; install version")
    assert site.snapshot() == before


def test_when_pomerium_cannot_even_start_with_what_is_in_use_it_can_again(site: Site) -> None:
    """The files in use are garbage, and somebody has restarted Pomerium already."""
    first, _second = issue_in_turn(site, 30, 20)
    (site.current / "fullchain.pem").write_text("garbage\n")
    site.host.stop()
    assert site.host.attempt() is False
    done = go_back(site)
    assert (done["held"], done["served"]["state"]) == (True, "not_listening")
    site.host.start()
    assert site.host.served().leaf == first.certificate
    assert go_back(site)["served"]["is_ours"] is True


def test_info_shows_what_is_held_and_what_lies_there(site: Site) -> None:
    first, second = issue_in_turn(site, 30, 20)
    go_back(site)
    site.run(module="pomerium_certificate_info")
    installed = site.result()["installed"]
    assert installed["hold"]["version"] == installed["version"]
    assert [one["version"].rpartition("-")[2] for one in installed["versions"]] == [serial(first), serial(second)]


def test_without_previous_both_sources_are_asked_for(site: Site) -> None:
    for kind, file in SOURCES.items():
        refused = site.act(**{**NOTHING, kind: str(site.sources / file)})
        (other,) = set(SOURCES) - {kind}
        assert refused["failed"] is True
        assert f"{other}: is missing" in refused["msg"] and "version: previous" in refused["msg"]


def test_the_hold_is_root_only_and_tells_who_and_when(site: Site) -> None:
    issue_in_turn(site, 30, 20)
    play_back(site, "-e", "awx_user_name=ann")
    path = site.host.tls_directory / "pomerium/held.json"
    assert oct(path.stat().st_mode) == oct(0o100600)
    assert site.result()["hold"]["by"] == "ann"
    assert site.result()["hold"]["since"].endswith("Z")
