# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An install from the controller's side: round trips, settings, refusals, and what is left alone."""

from __future__ import annotations

import base64
import json
import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.plugins.plugin_utils._config import KEYS
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority


def our_keys(site: t.Any, *, authority: bool = True) -> dict[str, str | None]:
    place = site.pomerium.tls_directory / "pomerium" / "current"
    files = [str(place / name) for name in ("fullchain.pem", "privkey.pem", "ca.pem")]
    return dict(zip(KEYS, [*files[:2], files[2] if authority else None]))


def test_round_trips_are_three_then_one_then_two(site: t.Any, bundle: t.Any) -> None:
    first, second = bundle(), bundle()
    done = site.install(first)
    assert (done["changed"], site.action.steps) == (True, ["look", "read", "apply"])
    again = site.install(first)
    assert (again["changed"], site.action.steps) == (False, ["look"])
    renewed = site.install(second)
    assert (renewed["changed"], site.action.steps) == (True, ["look", "apply"])
    assert renewed["served"]["fingerprint_sha256"] == second.sha256
    assert site.pomerium.served().leaf.serial_number == int(second.facts.serial, 16)


def test_steps_with_secrets_are_not_logged_and_nothing_internal_is_returned(site: t.Any, bundle: t.Any) -> None:
    done = site.install(bundle())
    assert site.action.is_logged == {"look": True, "read": False, "apply": False}
    assert site.action._connection._play_context.no_log is False
    text = json.dumps(done)
    assert "invocation" not in text
    assert "PRIVATE KEY" not in text
    for secret in site.pomerium.secrets().values():
        assert secret not in text
        assert base64.b64encode(secret.encode()).decode()[:-4] not in text


def test_the_three_settings_are_added_and_every_other_byte_stays(site: t.Any, bundle: t.Any) -> None:
    done = site.install(bundle())
    assert done["config_keys"] == {"before": dict.fromkeys(KEYS), "after": our_keys(site)}
    added = "".join(f"{key}: {value}\n" for key, value in our_keys(site).items())
    assert site.pomerium.config_text == site.pomerium.original_config_text + added
    assert done["diff"]["after"].startswith(added)


def test_every_return_is_there_changed_or_not(site: t.Any, bundle: t.Any) -> None:
    one = bundle()
    keys = [set(site.install(one, check=check)) for check in (True, False, False, True)]
    assert keys[0] == keys[1] == keys[2] == keys[3]


def test_check_mode_says_what_would_change_and_changes_nothing(site: t.Any, bundle: t.Any) -> None:
    before = site.snapshot()
    would = site.install(bundle(), check=True)
    assert would["changed"] is True
    assert would["msg"].startswith("would install version")
    assert site.snapshot() == before
    assert site.action.steps == ["look", "read"]


def test_an_unrelated_edit_by_hand_is_read_once_and_left_alone(site: t.Any, bundle: t.Any) -> None:
    one = bundle()
    site.install(one)
    with site.pomerium.config_path.open("a") as file:
        file.write("log_level: debug\n")
    text = site.pomerium.config_text
    assert site.install(one)["changed"] is False
    assert site.action.steps == ["look", "read", "apply"]
    assert site.pomerium.config_text == text
    site.install(one)
    assert site.action.steps == ["look"]


def test_a_setting_that_somebody_changed_is_set_again(site: t.Any, bundle: t.Any) -> None:
    one = bundle()
    site.install(one)
    text = site.pomerium.config_text
    site.pomerium.config_path.write_text(text.replace("current/ca.pem", "current/other.pem"))
    done = site.install(one, authority="always")
    assert done["config_keys"]["before"]["certificate_authority_file"].endswith("other.pem")
    assert site.pomerium.config_text == text


def test_a_configuration_that_changes_meanwhile_is_looked_at_again(site: t.Any, bundle: t.Any) -> None:
    def edit_once() -> None:
        site.action.before_apply = lambda: None
        with site.pomerium.config_path.open("a") as file:
            file.write("log_level: debug\n")

    site.action.before_apply = edit_once
    done = site.install(bundle())
    assert site.action.steps == ["look", "read", "apply"] * 2
    assert done["served"]["is_ours"]
    assert "log_level: debug\n" in site.pomerium.config_text


def test_a_configuration_that_never_rests_is_refused(site: t.Any, bundle: t.Any) -> None:
    def edit() -> None:
        with site.pomerium.config_path.open("a") as file:
            file.write("#\n")

    site.action.before_apply = edit
    with pytest.raises(UserError, match="changes while it is being installed"):
        site.install(bundle())
    assert "certificate_file:" not in site.pomerium.config_text.replace("# certificate_file:", "")


def test_the_packaged_configuration_works_out_of_the_box(make_site: t.Any, bundle: t.Any) -> None:
    site = make_site("packaged")
    assert not site.pomerium.is_running
    one = bundle()
    done = site.install(one)
    assert site.action.steps == ["look", "read", "apply"]
    cert = site.pomerium.etc / "cert.pem"
    assert done["removed_shadowing"] == [f"certificates[0] ({cert}, whose files are absent)"]
    assert (done["changed"], done["served"]["state"]) == (True, "not_listening")
    site.pomerium.start()
    again = site.install(one)
    assert (again["changed"], again["served"]["is_ours"]) == (False, True)


def shadow(site: t.Any, issued: t.Any, *, name: str = "own") -> str:
    """A live entry of `certificates:`, as YAML."""
    cert, key = site.pomerium.etc / f"{name}.pem", site.pomerium.etc / f"{name}.key"
    issued.write(cert, key)
    return f"certificates:\n- cert: {cert}\n  key: {key}\n"


def append(site: t.Any, text: str) -> None:
    with site.pomerium.config_path.open("a") as file:
        file.write(text)


def test_a_live_entry_for_our_names_is_refused_by_name(site: t.Any, bundle: t.Any, authority: Authority) -> None:
    append(site, shadow(site, authority.issue("app.corp.example.com")))
    before = site.snapshot()
    with pytest.raises(UserError, match=r"certificates\[0\] .*own\.pem for app\.corp\.example\.com") as caught:
        site.install(bundle())
    assert len(caught.value.facts["shadowing"]) == 1
    assert site.snapshot() == before


def test_it_is_removed_where_that_is_allowed(site: t.Any, bundle: t.Any, authority: Authority) -> None:
    append(site, shadow(site, authority.issue("app.corp.example.com")))
    done = site.install(bundle(), shadowing="remove")
    assert len(done["removed_shadowing"]) == 1
    assert "certificates:" not in site.pomerium.config_text
    assert done["served"]["is_ours"]


def test_a_live_entry_for_other_names_is_no_shadow(site: t.Any, bundle: t.Any, authority: Authority) -> None:
    append(site, shadow(site, authority.issue("other.example.com")))
    one = bundle()
    done = site.install(one, shadowing="fail")
    assert (done["removed_shadowing"], done["served"]["is_ours"]) == ([], True)
    assert "certificates:" in site.pomerium.config_text
    wider = bundle("*.corp.example.com", "other.example.com")
    with pytest.raises(UserError, match=r"other\.example\.com"):
        site.install(wider)


def test_an_inline_pair_and_autocert_are_named_one_by_one(site: t.Any, bundle: t.Any, authority: Authority) -> None:
    issued = authority.issue("*.corp.example.com")
    pair = [base64.b64encode(pem).decode() for pem in (issued.fullchain_pem, issued.key_pem)]
    append(site, f"certificate: {pair[0]}\ncertificate_key: {pair[1]}\nautocert: true\n")
    with pytest.raises(UserError) as caught:
        site.install(bundle())
    assert caught.value.facts["shadowing"] == ["certificate (inline)", "certificate_key (inline)", "autocert: true"]
    assert pair[1][:20] not in str(caught.value)
    done = site.install(bundle(), shadowing="remove")
    assert done["served"]["is_ours"]
    assert "autocert" not in site.pomerium.config_text


def test_the_environment_of_the_process_wins_and_is_named(make_site: t.Any, bundle: t.Any) -> None:
    site = make_site(AUTOCERT="true")
    before = site.snapshot()
    with pytest.raises(UserError, match="environment of Pomerium wins .* AUTOCERT"):
        site.install(bundle(), shadowing="remove")
    assert site.snapshot() == before


def test_insecure_server_is_refused_unless_nobody_wants_a_proof(site: t.Any, bundle: t.Any) -> None:
    append(site, "insecure_server: true\n")
    with pytest.raises(UserError, match="plain HTTP"):
        site.install(bundle())
    assert site.install(bundle(), probe={"enabled": False})["served"] is None


def test_the_proxy_protocol_is_spoken_where_the_configuration_has_it(site: t.Any, bundle: t.Any) -> None:
    append(site, "use_proxy_protocol: true\n")
    one = bundle()
    assert site.install(one)["served"]["is_ours"]
    assert site.install(one)["served"]["is_ours"]
    assert site.action.steps == ["look"]


def test_a_test_ca_is_not_trusted_because_of_us(site: t.Any, bundle: t.Any) -> None:
    pebble = Authority("Pebble Intermediate CA 3a2f")
    done = site.install(bundle(issued=pebble.issue("*.corp.example.com")))
    assert done["config_keys"]["after"] == our_keys(site, authority=False)
    production = site.install(bundle())
    assert production["config_keys"]["after"] == our_keys(site)


def test_staging_does_not_replace_production_unless_asked(site: t.Any, bundle: t.Any) -> None:
    site.install(bundle())
    staging = bundle(issued=Authority("(STAGING) Artificial Apricot R3").issue("*.corp.example.com"))
    before = site.snapshot()
    with pytest.raises(BadInput, match="allow_staging: true"):
        site.install(staging)
    assert site.snapshot() == before
    done = site.install(staging, allow_staging=True)
    assert done["config_keys"]["after"] == our_keys(site, authority=False)


def test_a_foreign_authority_is_kept_and_with_always_carried_over(site: t.Any, bundle: t.Any) -> None:
    upstream = site.pomerium.etc / "upstream.pem"
    upstream.write_bytes(Authority("Upstream CA").pem)
    append(site, f"certificate_authority_file: {upstream}\n")
    one = bundle()
    assert site.install(one)["config_keys"]["after"]["certificate_authority_file"] == str(upstream)
    assert len(site.warnings) == 1
    assert str(upstream) in site.warnings[0]
    assert site.install(one)["changed"] is False
    done = site.install(one, authority="always")
    assert done["config_keys"]["after"] == our_keys(site)
    carried = (site.pomerium.tls_directory / "pomerium/current/ca.pem").read_bytes()
    assert carried.endswith(upstream.read_bytes())
    assert site.install(one, authority="always")["changed"] is False
    assert site.action.steps == ["look"]
    site.install(bundle(), authority="always")
    assert (site.pomerium.tls_directory / "pomerium/current/ca.pem").read_bytes().endswith(upstream.read_bytes())


def test_never_takes_ours_out_and_keeps_what_is_not(site: t.Any, bundle: t.Any) -> None:
    one = bundle()
    site.install(one)
    assert site.install(one, authority="never")["config_keys"]["after"] == our_keys(site, authority=False)


def test_settings_from_elsewhere_must_point_at_us(site: t.Any, bundle: t.Any) -> None:
    with pytest.raises(BadInput, match="certificate_file is not set, not"):
        site.install(bundle(), edit_config=False)
    append(site, "".join(f"{key}: {value}\n" for key, value in our_keys(site).items()))
    text = site.pomerium.config_text
    one = bundle()
    # It may have read the settings before there were files, keeps its old ones then and watches nothing new: SIGHUP.
    assert site.install(one, edit_config=False, reload="signal")["served"]["is_ours"]
    assert site.pomerium.config_text == text
    assert site.install(one, edit_config=False)["changed"] is False
    assert site.action.steps == ["look"]


def test_a_missing_configuration_names_what_was_found_instead(site: t.Any, bundle: t.Any) -> None:
    other = site.pomerium.config_path.rename(site.pomerium.etc / "pomerium.yaml")
    with pytest.raises(BadInput, match=f"does not exist.*Found instead: .*{other}"):
        site.install(bundle())


def test_a_linked_configuration_names_its_target(site: t.Any, bundle: t.Any) -> None:
    real = site.pomerium.config_path.rename(site.pomerium.etc / "real.yaml")
    site.pomerium.config_path.symlink_to(real)
    with pytest.raises(BadInput, match=f"symbolic link.*Set config_path to the file itself.*{real}"):
        site.install(bundle())


def test_a_configuration_that_is_not_yaml_is_refused_before_anything(site: t.Any, bundle: t.Any) -> None:
    append(site, "\tx: 1\n")
    before = site.snapshot()
    with pytest.raises(BadInput, match=r"line \d+, column 1: not YAML"):
        site.install(bundle())
    assert site.snapshot() == before


def test_a_file_that_lost_its_mode_is_mended(site: t.Any, bundle: t.Any) -> None:
    one = bundle()
    site.install(one)
    (site.pomerium.tls_directory / "pomerium/current/privkey.pem").chmod(0o644)
    done = site.install(one)
    assert (done["changed"], done["version"]) == (True, f"{one.version}.1")
    assert site.install(one)["changed"] is False


def test_what_is_not_served_is_rolled_back_and_told(make_site: t.Any, bundle: t.Any) -> None:
    """Before 0.13 only the configuration is watched: a renewal goes unnoticed, and nothing else is allowed here."""
    site = make_site(POMERIUM_STANDIN_VERSION="0.12")
    first = bundle()
    site.install(first)
    before = site.snapshot()
    with pytest.raises(UserError, match="did not serve the new certificate") as caught:
        site.install(bundle(), reload="none")
    facts = caught.value.facts
    assert (facts["rolled_back"], facts["served"]["is_ours"]) == (True, False)
    assert facts["served"]["fingerprint_sha256"] == first.sha256
    assert site.snapshot() == before


def test_a_record_of_a_killed_or_other_run_only_costs_a_round_trip(site: t.Any, bundle: t.Any) -> None:
    one = bundle()
    site.install(one)
    record = site.pomerium.tls_directory / "pomerium/proven.json"
    for damage in ("", "{}", '{"format": 1}', '{"format": 1, "keys": 5, "probe": 7}'):
        record.write_text(damage)
        assert site.install(one)["changed"] is False
        assert site.action.steps == ["look", "read", "apply"]
    assert site.install(one)["changed"] is False
    assert site.action.steps == ["look"]


@pytest.mark.parametrize("answer", [None, {}, {"look": 5}, {"look": {"process": []}}, {"look": {"process": {}}}])
def test_a_host_that_talks_nonsense_is_an_error_of_that_host(site: t.Any, bundle: t.Any, answer: t.Any) -> None:
    site.action._execute_module = lambda **_call: dict(answer or {})
    with pytest.raises(UserError, match="no sense"):
        site.install(bundle())


def test_a_host_whose_python_is_too_old_is_told_so(site: t.Any, bundle: t.Any) -> None:
    failed = {"failed": True, "msg": "MODULE FAILURE\nSee stdout", "module_stdout": "hunter2", "module_stderr": "x\ny"}
    site.action._execute_module = lambda **_call: failed
    with pytest.raises(
        UserError, match=r"did not run: MODULE FAILURE y\. A Pomerium host needs Python >= 3\.8"
    ) as caught:
        site.install(bundle())
    assert "hunter2" not in str(caught.value)


def test_info_describes_a_host_before_and_after(site: t.Any, bundle: t.Any) -> None:
    before = site.info()
    assert (before["installed"], before["served"]["is_ours"], before["not_after"]) == (None, False, None)
    assert before["configured"]["settings"] == dict.fromkeys(KEYS)
    assert before["runtime"]["state"] == "running"
    one = bundle()
    site.install(one)
    after = site.info()
    assert site.action.steps == ["look"]
    assert after["configured"]["settings"] == our_keys(site)
    assert (after["served"]["is_ours"], after["shadowing"]) == (True, [])
    assert after["installed"]["fingerprint_sha256"] == one.sha256
    assert set(before) == set(after)


def test_info_names_shadows_and_survives_a_broken_configuration(make_site: t.Any) -> None:
    site = make_site("packaged")
    assert len(site.info()["shadowing"]) == 1
    append(site, "\tx\n")
    assert site.info()["configured"]["state"] == "other"
    site.pomerium.config_path.unlink()
    assert site.info()["configured"]["state"] == "missing"
