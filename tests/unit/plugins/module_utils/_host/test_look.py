# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One look tells all that the controller needs, changes nothing, and carries no secret."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import typing as t

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.look import look, read
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.record import read_record, write_record
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.steps import take_step
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._host.leftovers import leave


def warn(_text: str) -> None:
    raise AssertionError("nothing to warn of")


def test_a_host_without_anything_of_ours_is_described(host: t.Any) -> None:
    before = host.snapshot()
    seen = look(host.params())
    assert seen["config"]["sha256"] == hashlib.sha256(host.config_path.read_bytes()).hexdigest()
    assert seen["installed"] == {"version": None, "files": {}, "sha256": None, "der": None, "problem": None}
    assert (seen["record"], seen["problem"]) == (None, None)
    assert seen["served"]["state"] == "not_listening"
    assert host.snapshot() == before


def test_nothing_is_probed_before_an_address_is_known(host: t.Any) -> None:
    assert look(host.params(probe={"port": None}))["served"] is None
    assert look(host.params(probe={"enabled": False}))["served"] is None


def test_an_installed_bundle_is_told_by_digests_and_its_leaf_is_sent_once(host: t.Any, make_pair: t.Any) -> None:
    pair = make_pair("one")
    take_step(host.install(pair, "v1"), check=False, warn=warn)
    seen = look(host.params())["installed"]
    assert seen["version"] == "v1"
    key = seen["files"]["privkey.pem"]
    assert key["sha256"] == hashlib.sha256(pair.key).hexdigest()
    assert (oct(key["mode"]), key["owner"][0]) == ("0o640", os.geteuid())
    assert base64.b64decode(seen["der"]) == pair.der
    assert look(host.params(leaf_sha256=pair.sha256))["installed"]["der"] is None
    assert pair.key.decode().splitlines()[1] not in json.dumps(look(host.params()))


def test_a_missing_configuration_comes_with_what_was_found_instead(host: t.Any) -> None:
    host.config_path.rename(host.config_path.with_name("pomerium.yaml"))
    config = look(host.params())["config"]
    assert config["state"] == "missing"
    assert str(host.config_path.with_name("pomerium.yaml")) in config["others"]


def test_a_linked_configuration_is_not_followed(host: t.Any) -> None:
    host.config_path.rename(host.root / "real.yaml")
    host.config_path.symlink_to(host.root / "real.yaml")
    config = look(host.params())["config"]
    assert (config["state"], config["sha256"]) == ("link", None)
    assert config["others"] == [str(host.root / "real.yaml")]
    with pytest.raises(UserError, match="cannot be read"):
        read(host.params())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_second_name_of_a_file_of_somebody_else_is_not_read(host: t.Any) -> None:
    """Where the kernel lets the user pomerium link files that are not his, its name may be one of root's secrets."""
    os.link(str(host.config_path), str(host.root / "own"))
    assert look(host.params())["config"]["state"] == "file"
    os.chown(str(host.config_path.parent), 65534, 65534)
    config = look(host.params())["config"]
    assert (config["state"], config["sha256"]) == ("hard_link", None)
    with pytest.raises(UserError, match="second name"):
        read(host.params())


def test_a_pipe_that_the_configuration_names_does_not_hold_anybody_up(host: t.Any) -> None:
    os.mkfifo(str(host.root / "pipe"))
    host.config_path.write_text(f"certificates: [{{cert: {host.root}/pipe}}]\n")
    assert read(host.params())["paths"][f"{host.root}/pipe"] == ""


def test_what_killed_runs_left_is_counted_and_nothing_else_is(host: t.Any) -> None:
    left = leave(host)
    for name in (".config.yaml.swp", ".config.yaml.abcd1234", "config.yaml~", ".other.abcd1234.zerotrust-new"):
        (host.config_path.parent / name).touch()
    (host.config_path.parent / ".config.yaml.abcd5678.zerotrust-new").mkdir()
    before = host.snapshot()
    seen = look(host.params())
    assert set(seen["leftovers"]) == set(map(str, left))
    assert host.snapshot() == before


def test_a_configuration_that_is_no_file_is_said(host: t.Any) -> None:
    host.config_path.unlink()
    os.mkfifo(str(host.config_path))
    assert look(host.params())["config"]["state"] == "other"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_configuration_is_said(host: t.Any) -> None:
    host.config_path.chmod(0)
    assert look(host.params())["config"]["state"] == "unreadable"


def test_a_bad_place_is_a_finding_of_the_look(host: t.Any) -> None:
    host.directory.symlink_to(host.root)
    assert "symbolic link" in look(host.params())["problem"]


def test_reading_gives_text_and_certificates_of_the_files_it_names_but_no_key(host: t.Any, make_pair: t.Any) -> None:
    pair = make_pair("one")
    both = host.root / "both.pem"
    both.write_bytes(pair.fullchain + pair.key)
    text = f"certificates:\n- cert: {both}\n  key: '{host.root}/absent.pem'\nnote: (/nowhere)\n"
    host.config_path.write_text(text)
    answer = read(host.params(paths=[str(host.root / "with blank")]))
    assert base64.b64decode(answer["config_text"]).decode() == text
    assert answer["paths"][str(both)].strip() == pair.fullchain.decode().strip()
    assert answer["paths"][f"{host.root}/absent.pem"] is None
    assert answer["paths"][str(host.root / "with blank")] is None
    assert "PRIVATE" not in json.dumps(answer["paths"])


def test_a_record_of_another_format_counts_as_none(host: t.Any) -> None:
    host.home.mkdir(parents=True)
    write_record(str(host.home), {"keys": {}})
    assert read_record(str(host.home)) == {"format": 1, "keys": {}}
    (host.home / "proven.json").write_text('{"format": 2}')
    assert read_record(str(host.home)) is None
    (host.home / "proven.json").write_text("[]")
    assert read_record(str(host.home)) is None


def test_a_record_that_says_the_same_is_not_written_again(host: t.Any) -> None:
    host.home.mkdir(parents=True)
    write_record(str(host.home), {"keys": {}})
    before = (host.home / "proven.json").stat().st_ino
    write_record(str(host.home), {"keys": {}})
    assert (host.home / "proven.json").stat().st_ino == before


def test_check_mode_has_no_apply(host: t.Any, make_pair: t.Any) -> None:
    before = host.snapshot()
    with pytest.raises(UserError, match="Check mode"):
        take_step(host.install(make_pair("one"), "v1"), check=True, warn=warn)
    assert host.snapshot() == before
