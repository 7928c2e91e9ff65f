# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back and holding from the controller's side: which version, what is refused, what a held host is told."""

from __future__ import annotations

import json
import typing as t
from datetime import datetime, timezone

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils import _back
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._bundle import Sources, make_bundle
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority


@pytest.fixture
def renewed(site: t.Any, bundle: t.Any) -> t.Any:
    """A host with two versions, and `first` and `second`, the bundles that they were."""
    site.first, site.second = bundle(days=30), bundle(days=20)
    for one in (site.first, site.second):
        site.install(one)
    return site


def served(site: t.Any) -> int:
    return int(site.pomerium.served().leaf.serial_number)


def serial(bundle: t.Any) -> int:
    return int(bundle.facts.serial, 16)


def test_going_back_takes_two_round_trips_and_no_source(renewed: t.Any) -> None:
    done = renewed.go_back()
    assert renewed.action.steps == ["look", "apply"]
    assert (done["changed"], done["held"], done["version"]) == (True, True, renewed.first.version)
    assert (done["served"]["is_ours"], served(renewed)) == (True, serial(renewed.first))
    assert done["not_after"] == done["served"]["not_after"]
    assert done["hold"]["left"] == renewed.second.version
    assert done["hold"]["by"] == "ann"
    assert f"done: go back to version {renewed.first.version} and hold it; served" in done["msg"]
    assert "version: current" in done["msg"]
    assert any(done["msg"] in warning for warning in renewed.warnings)


def test_asked_for_once_more_it_says_that_it_is_held_and_goes_no_further_back(renewed: t.Any, bundle: t.Any) -> None:
    renewed.install(bundle())
    renewed.go_back()
    before = renewed.snapshot()
    again = renewed.go_back(by="bob")
    assert renewed.action.steps == ["look"]
    assert (again["changed"], again["version"]) == (False, renewed.second.version)
    assert f"held at version {renewed.second.version} instead of " in again["msg"]
    assert f"since {again['hold']['since']} by ann" in again["msg"]
    assert renewed.snapshot() == before


def test_later_installs_do_nothing_by_one_round_trip_until_the_hold_is_lifted(renewed: t.Any, bundle: t.Any) -> None:
    renewed.go_back()
    before = renewed.snapshot()
    third = bundle()
    for one in (renewed.second, third):
        held = renewed.install(one)
        assert renewed.action.steps == ["look"]
        assert (held["changed"], held["held"], held["served"]["is_ours"]) == (False, True, True)
        assert held["names"] == held["served"]["names"] == list(renewed.first.facts.names)
        assert "so nothing was installed" in held["msg"] and "pomerium_version=current" in held["msg"]
    assert renewed.snapshot() == before
    lifted = renewed.install(third, version="current")
    assert (lifted["changed"], lifted["held"], lifted["hold"]) == (True, False, None)
    assert lifted["msg"].endswith(f" (lift the hold; install version {third.version})")
    assert served(renewed) == serial(third)
    assert renewed.install(third, version="current")["changed"] is False
    assert renewed.install(third)["changed"] is False


def test_a_held_host_that_serves_something_else_says_so(renewed: t.Any) -> None:
    renewed.go_back()
    renewed.pomerium.stop()
    held = renewed.install(renewed.second)
    assert (held["changed"], held["served"]["is_ours"], held["served"]["state"]) == (False, False, "not_listening")
    assert f"127.0.0.1:{renewed.pomerium.port} not listening" in held["msg"]


def test_the_bundle_that_is_held_does_not_lift_the_hold_by_itself(renewed: t.Any) -> None:
    renewed.go_back()
    held = renewed.install(renewed.first)
    assert (held["changed"], held["held"]) == (False, True)
    lifted = renewed.install(renewed.first, version="current")
    assert (lifted["changed"], lifted["held"]) == (True, False)
    assert lifted["msg"].startswith("installed, served: ") and lifted["msg"].endswith(" (lift the hold)")


def test_the_version_before_is_that_which_was_in_use_whatever_its_name(site: t.Any, bundle: t.Any) -> None:
    """A renewal that begins earlier than what it replaces, as after another CA's certificate with a longer life."""
    late, early = bundle(days=1), bundle(days=20)
    assert early.version < late.version
    site.install(late)
    site.install(early)
    assert site.go_back()["version"] == late.version


def test_after_a_bad_one_was_left_it_is_never_gone_back_to(renewed: t.Any, bundle: t.Any) -> None:
    renewed.go_back()
    renewed.install(bundle(), version="current")
    assert renewed.go_back()["version"] == renewed.first.version


def test_the_same_certificate_in_mended_files_is_not_the_one_before(renewed: t.Any) -> None:
    place = renewed.pomerium.tls_directory / "pomerium"
    (place / "current/privkey.pem").chmod(0o600)
    assert renewed.install(renewed.second)["version"] == f"{renewed.second.version}.1"
    assert renewed.go_back()["version"] == renewed.first.version


def test_one_that_never_came_into_use_is_not_the_one_before(site: t.Any, bundle: t.Any) -> None:
    """What an install leaves that is killed before its switch."""
    only, new = bundle(days=30), bundle(days=20)
    site.install(only)
    place = site.pomerium.tls_directory / "pomerium/versions" / new.version
    place.mkdir()
    for name, file in new.files.items():
        (place / name).write_bytes(file.data)
    with pytest.raises(BadInput, match=f"none that was in use before {only.version}"):
        site.go_back()


def test_without_a_version_before_it_is_refused_and_says_which_there_are(site: t.Any, bundle: t.Any) -> None:
    with pytest.raises(BadInput, match=r"version 'previous': .*there are: none at all"):
        site.go_back()
    only = bundle()
    site.install(only)
    before = site.snapshot()
    with pytest.raises(BadInput, match=f"none that was in use before {only.version} .*there are: {only.version}"):
        site.go_back()
    assert site.action.steps == ["look"]
    assert site.snapshot() == before


def old_bundle(authority: Authority, *, days: float, now: datetime | None = None) -> t.Any:
    issued = authority.issue("*.corp.example.com", days=days)
    sources = Sources(issued.fullchain_pem, issued.key_pem)
    moment = now or issued.certificate.not_valid_before_utc
    return make_bundle(sources, expect_names=[], now=moment)


def test_one_that_has_expired_is_refused_by_name(site: t.Any, authority: Authority, bundle: t.Any) -> None:
    old = old_bundle(authority, days=-0.5)
    site.install(old)
    site.install(bundle())
    before = site.snapshot()
    with pytest.raises(BadInput, match=f"certificate of version {old.version} expired at .*Mend what is in use"):
        site.go_back()
    assert site.snapshot() == before


def test_a_damaged_one_is_refused_in_check_mode_too(renewed: t.Any) -> None:
    place = renewed.pomerium.tls_directory / "pomerium/versions" / renewed.first.version
    (place / "privkey.pem").unlink()
    before = renewed.snapshot()
    for check in (True, False):
        with pytest.raises(BadInput, match=f"version {renewed.first.version} is damaged: No such file"):
            renewed.go_back(check=check)
    assert renewed.action.steps == ["look"]
    assert renewed.snapshot() == before


def test_one_of_a_staging_ca_is_refused_unless_that_is_allowed(site: t.Any, bundle: t.Any) -> None:
    site.install(old_bundle(Authority("(STAGING) Let's Encrypt"), days=30))
    site.install(bundle())
    with pytest.raises(BadInput, match="allow_staging"):
        site.go_back()
    assert site.go_back(allow_staging=True)["held"] is True


def test_names_that_it_does_not_cover_are_warned_of(renewed: t.Any) -> None:
    renewed.go_back(expect_names=["app.corp.example.com other.example.com"])
    assert [warning for warning in renewed.warnings if "does not cover other.example.com" in warning]


def test_the_last_fifth_of_the_life_of_what_is_held_is_warned_of(
    site: t.Any, authority: Authority, bundle: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warned(day: float) -> list[str]:
        moment = datetime.fromtimestamp(old.facts.not_after.timestamp() + day * 86400, timezone.utc)
        monkeypatch.setattr(_back, "datetime", type("Clock", (), {"now": staticmethod(lambda _zone: moment)}))
        site.install(new)
        return [warning for warning in site.warnings if "the certificate that is held" in warning]

    old, new = old_bundle(authority, days=10), bundle()
    site.install(old)
    site.install(new)
    site.go_back()
    assert old.facts.lifetime.days == 21
    assert warned(-4.3) == []
    assert "expires at" in warned(-4.1)[0]
    assert "expired at" in warned(1)[0]


def test_check_mode_says_where_it_would_go_and_changes_nothing(renewed: t.Any) -> None:
    before = renewed.snapshot()
    would = renewed.go_back(check=True)
    assert would["msg"] == f"would go back to version {renewed.first.version} and hold it"
    assert (would["changed"], renewed.action.steps, renewed.snapshot()) == (True, ["look"], before)
    assert f"# version {renewed.second.version}\n" in would["diff"]["before"]
    assert f"# version {renewed.first.version}, held since " in would["diff"]["after"]


def test_every_return_is_there_as_after_an_install(renewed: t.Any) -> None:
    returned = [set(renewed.install(renewed.second)), set(renewed.go_back(check=True)), set(renewed.go_back())]
    returned += [set(renewed.go_back()), set(renewed.install(renewed.second))]
    assert all(keys == returned[0] for keys in returned)


def kill_after_the_hold(site: t.Any) -> None:
    """Leave what a run leaves that is killed between the hold and the switch."""
    hold = {"version": site.first.version, "left": site.second.version, "since": "2026-11-25T03:12:40Z", "by": "ann"}
    path = site.pomerium.tls_directory / "pomerium/held.json"
    path.write_text(json.dumps({"format": 1, **hold}))


def test_a_hold_that_was_not_followed_yet_is_followed_by_the_next_run_whichever(renewed: t.Any) -> None:
    kill_after_the_hold(renewed)
    would = renewed.install(renewed.second, check=True)
    assert would["msg"] == f"would go back to version {renewed.first.version} and hold it"
    done = renewed.install(renewed.second)
    assert renewed.action.steps == ["look", "apply"]
    assert (done["changed"], done["held"], served(renewed)) == (True, True, serial(renewed.first))
    assert done["hold"]["since"] == "2026-11-25T03:12:40Z"


def test_it_is_followed_and_no_further_where_it_is_asked_for_again_or_lifted(renewed: t.Any) -> None:
    kill_after_the_hold(renewed)
    assert renewed.go_back(by="bob")["hold"]["by"] == "ann"
    assert served(renewed) == serial(renewed.first)
    kill_after_the_hold(renewed)
    renewed.install(renewed.second, version="current")
    assert served(renewed) == serial(renewed.second)


def test_a_hold_whose_version_was_removed_by_hand_fails_and_says_what_to_do(renewed: t.Any) -> None:
    kill_after_the_hold(renewed)
    path = renewed.pomerium.tls_directory / "pomerium/held.json"
    path.write_text(path.read_text().replace(renewed.first.version, "20200101T000000Z-1"))
    with pytest.raises(BadInput, match=r"held at version 20200101T000000Z-1, which is not there .*version: current"):
        renewed.install(renewed.second)
    assert renewed.install(renewed.second, version="current")["held"] is False


def test_of_two_who_ask_at_the_same_time_one_goes_back_and_the_other_finds_it_done(renewed: t.Any) -> None:
    def somebody_else() -> None:
        renewed.action.before_apply = lambda: None
        steps = list(renewed.action.steps)
        renewed.go_back(by="bob")
        renewed.action.steps[:] = steps

    renewed.action.before_apply = somebody_else
    done = renewed.go_back()
    assert renewed.action.steps == ["look", "apply", "look"]
    assert (done["changed"], done["hold"]["by"]) == (False, "bob")


def test_an_install_that_looked_before_somebody_went_back_respects_the_hold(renewed: t.Any, bundle: t.Any) -> None:
    def somebody_else() -> None:
        renewed.action.before_apply = lambda: None
        steps = list(renewed.action.steps)
        renewed.go_back(by="bob")
        renewed.action.steps[:] = steps

    renewed.action.before_apply = somebody_else
    held = renewed.install(bundle())
    assert (held["changed"], held["held"], served(renewed)) == (False, True, serial(renewed.first))


def test_a_host_whose_record_is_of_another_form_is_asked_where_it_listens(renewed: t.Any) -> None:
    record = renewed.pomerium.tls_directory / "pomerium/proven.json"
    record.write_text('{"format": 0}')
    done = renewed.go_back()
    assert renewed.action.steps == ["look", "read", "apply"]
    assert (done["version"], done["served"]["is_ours"]) == (renewed.first.version, True)


def test_garbage_in_the_configuration_is_not_even_read(renewed: t.Any) -> None:
    renewed.pomerium.config_path.write_text("certificates: [\n\t{{")
    text = renewed.pomerium.config_text
    done = renewed.go_back(probe={"enabled": False})
    assert (renewed.action.steps, done["version"]) == (["look", "apply"], renewed.first.version)
    assert renewed.pomerium.config_text == text


def test_a_file_that_the_version_in_use_lost_is_no_hindrance(renewed: t.Any) -> None:
    (renewed.pomerium.tls_directory / "pomerium/current/fullchain.pem").write_bytes(b"garbage")
    assert renewed.go_back()["served"]["is_ours"] is True


@pytest.fixture
def blind(make_site: t.Any, bundle: t.Any) -> t.Any:
    """As `renewed`, with a Pomerium before 0.13, which watches its configuration only."""
    site = make_site(POMERIUM_STANDIN_VERSION="0.12")
    if site.pomerium.is_real:
        pytest.skip("the real Pomerium here watches its files; this needs an old one")
    site.first, site.second = bundle(days=30), bundle(days=20)
    site.install(site.first)
    site.install(site.second, probe={"enabled": False})
    site.pomerium.restart()
    return site


def test_asked_for_again_a_held_host_has_to_serve_it_and_stays_held_where_it_does_not(blind: t.Any) -> None:
    blind.go_back(probe={"enabled": False})
    before = blind.snapshot()
    assert blind.go_back(check=True)["msg"] == "would make Pomerium serve it"
    with pytest.raises(UserError, match=f"did not serve version {blind.first.version}"):
        blind.go_back(reload="none")
    held = blind.install(blind.second, probe={"port": blind.pomerium.port})
    assert (held["changed"], held["served"]["is_ours"]) == (False, False), "an install leaves a held host alone"
    assert blind.snapshot() == before
    blind.pomerium.restart()
    again = blind.go_back()
    assert (again["changed"], again["held"], again["served"]["is_ours"]) == (False, True, True)


def test_what_is_not_served_is_put_back(blind: t.Any) -> None:
    site, before = blind, blind.snapshot()
    with pytest.raises(UserError, match=f"did not serve version {blind.first.version}") as caught:
        site.go_back(reload="none")
    assert (caught.value.facts["rolled_back"], caught.value.facts["served"]["is_ours"]) == (True, False)
    assert site.snapshot() == before


def test_info_shows_the_hold_and_all_versions_the_one_in_use_first(renewed: t.Any) -> None:
    info = renewed.info()["installed"]
    assert info["hold"] is None
    assert [one["version"] for one in info["versions"]] == [renewed.second.version, renewed.first.version]
    renewed.go_back()
    info = renewed.info()["installed"]
    assert renewed.action.steps == ["look"]
    assert info["hold"]["left"] == renewed.second.version
    assert [one["version"] for one in info["versions"]] == [renewed.first.version, renewed.second.version]
    assert [one["problem"] for one in info["versions"]] == [None, None]
    assert info["versions"][0]["not_after"] == renewed.info()["not_after"]


def test_who_asked_is_the_user_of_awx_or_of_the_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    assert _back.whoever_runs({}) == "ann"
    assert _back.whoever_runs({"awx_user_name": "bob", "tower_user_name": "old"}) == "bob"
