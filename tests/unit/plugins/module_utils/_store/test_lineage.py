# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lineages: whole or not at all, private at every instant, also when the process is killed."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import chain as chains
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.plugins.module_utils._store import lineage as lineages
from ansible_collections.zerotrust.pomerium.plugins.module_utils._store.lineage import Lineage
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued

TESTS = "ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._store"
COMMITTER = f"{TESTS}.committer"
KILLED_AT_EVERY_STEP = f"{TESTS}.killed_at_every_step"
META = {"directory": "https://ca/dir"}


@pytest.fixture(scope="module")
def issued() -> list[Issued]:
    authority = Authority("Lab CA")
    return [authority.issue("*.corp.example.com", days=days) for days in (30, 31, 32)]


@pytest.fixture(scope="module")
def account_key() -> keys.PrivateKey:
    return keys.generate("ec-256")


def commit(lineage: Lineage, issued: Issued, account_key: keys.PrivateKey) -> str:
    return lineage.commit(chains.parse_chain(issued.fullchain_pem), keys.load(issued.key_pem), META, account_key)


def readable_by_others(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if not path.is_symlink() and stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_a_committed_certificate_is_the_current_one_with_a_signed_note(
    tmp_path: Path, issued: list[Issued], account_key: keys.PrivateKey
) -> None:
    lineage = Lineage(str(tmp_path), "pomerium")
    version = commit(lineage, issued[0], account_key)
    bundle = lineage.current()
    assert bundle is not None
    assert (bundle.version, bundle.meta) == (version, META)
    assert bundle.chain.leaf == issued[0].certificate
    directory = Path(bundle.path)
    assert sorted(path.name for path in directory.iterdir()) == [
        "ca.pem", "cert.pem", "chain.pem", "fullchain.pem", "meta.json", "meta.sig", "privkey.pem",
    ]  # fmt: skip
    signature = (directory / "meta.sig").read_bytes()
    assert keys.is_signed_by(account_key.public_key(), signature, (directory / "meta.json").read_bytes())
    assert readable_by_others(tmp_path) == []
    assert set(lineage.paths()) == {"privkey", "cert", "chain", "fullchain", "ca"}
    assert all(Path(path or "").is_file() for path in lineage.paths().values())


def test_the_newest_versions_are_kept(
    tmp_path: Path, issued: list[Issued], account_key: keys.PrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineages, "KEEP_VERSIONS", 2)
    lineage = Lineage(str(tmp_path), "pomerium")
    versions = [commit(lineage, one, account_key) for one in reversed(issued)]  # a longer life began earlier
    assert lineage.versions.names() == sorted(versions)[-2:]
    assert lineage.versions.current() == versions[-1]


@pytest.mark.parametrize("damage", ["fullchain.pem", "privkey.pem", "meta.json"])
def test_a_damaged_version_is_as_none_and_is_not_touched(
    tmp_path: Path, issued: list[Issued], account_key: keys.PrivateKey, damage: str
) -> None:
    lineage = Lineage(str(tmp_path), "pomerium")
    commit(lineage, issued[0], account_key)
    path = Path(lineage.versions.link) / damage
    path.write_bytes(b"damaged" if damage != "privkey.pem" else issued[1].key_pem)
    assert lineage.current() is None
    again = commit(lineage, issued[0], account_key)
    assert again.endswith(".1")
    assert lineage.current() is not None


def test_a_staged_key_is_kept_until_its_certificate_is_there(
    tmp_path: Path, issued: list[Issued], account_key: keys.PrivateKey
) -> None:
    lineage = Lineage(str(tmp_path), "pomerium")
    key = lineage.stage_key("ec-256")
    again = lineage.stage_key("ec-256")
    assert keys.public_sha256(again.public_key()) == keys.public_sha256(key.public_key())
    assert readable_by_others(tmp_path) == []
    commit(lineage, issued[0], account_key)
    assert lineage.staged_key() is None


@pytest.mark.parametrize("meta", [b"[]", b"null", b'"text"', b"\xff"])
def test_a_note_that_is_none_is_damage(
    tmp_path: Path, issued: list[Issued], account_key: keys.PrivateKey, meta: bytes
) -> None:
    lineage = Lineage(str(tmp_path), "pomerium")
    commit(lineage, issued[0], account_key)
    (Path(lineage.versions.link) / "meta.json").write_bytes(meta)
    assert lineage.current() is None


def test_what_was_learned_is_kept_and_a_damaged_note_of_it_is_empty(tmp_path: Path) -> None:
    lineage = Lineage(str(tmp_path), "pomerium")
    assert lineage.state() == {}
    lineage.learn(account_uri="https://ca/a/1")
    before = os.stat(lineage.state_path).st_ino
    lineage.learn(account_uri="https://ca/a/1")
    assert os.stat(lineage.state_path).st_ino == before, "it was written although nothing differs"
    assert set(lineage.state()) == {"account_uri", "saved_at"} and lineage.state()["account_uri"] == "https://ca/a/1"
    for damaged in (b"", b"[]", b"\xff", b"{"):
        Path(lineage.state_path).write_bytes(damaged)
        assert lineage.state() == {}


def test_a_staged_key_of_another_type_is_replaced(tmp_path: Path) -> None:
    lineage = Lineage(str(tmp_path), "pomerium")
    lineage.stage_key("ec-256")
    assert keys.key_type(lineage.stage_key("ec-384").public_key()) == "ec-384"


@pytest.mark.parametrize("name", ["", "../x", "A", ".hidden", "a/b", "a b"])
def test_a_name_that_is_no_directory_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match=f"name '{name}'"):
        Lineage(str(tmp_path), name)


def test_a_store_that_cannot_be_written_is_found_out_before_an_order(tmp_path: Path) -> None:
    """R39."""
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="store_path .*cannot be written"):
        Lineage(str(tmp_path / "file"), "pomerium").check_writable()


WRITING: dict[str, t.Callable[[Lineage, Issued], object]] = {
    "stage_key": lambda lineage, issued: lineage.stage_key("ec-256"),
    "learn": lambda lineage, issued: lineage.learn(a=1),
    "commit": lambda lineage, issued: commit(lineage, issued, keys.generate("ec-256")),
}


@pytest.mark.parametrize("write", list(WRITING.values()), ids=list(WRITING))
def test_a_store_that_can_no_longer_be_written_is_named(
    tmp_path: Path, issued: list[Issued], write: t.Callable[[Lineage, Issued], object]
) -> None:
    """It may fill up after the check: an error for the user, not a traceback."""
    (tmp_path / "lineages").write_text("")
    with pytest.raises(BadInput, match=f"store_path '{tmp_path}': cannot be written .*Free space"):
        write(Lineage(str(tmp_path), "pomerium"), issued[0])


def start(store: Path, bundles: list[Path]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", COMMITTER, str(store), *map(str, bundles)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    if process.stdout is None or process.stdout.readline() != "ready\n":
        raise RuntimeError("the committer did not start")
    return process


@pytest.fixture
def bundles(tmp_path: Path, issued: list[Issued]) -> list[Path]:
    paths = [tmp_path / f"bundle{number}" for number in range(len(issued))]
    for path, one in zip(paths, issued):
        path.write_bytes(one.fullchain_pem + one.key_pem)
    return paths


def test_a_killed_run_leaves_a_whole_certificate_and_the_next_one_goes_on(
    tmp_path: Path, bundles: list[Path], issued: list[Issued], account_key: keys.PrivateKey
) -> None:
    store, moments = tmp_path / "store", random.Random(20261124)
    lineage = Lineage(str(store), "pomerium")
    for _round in range(12):
        process = start(store, bundles)
        time.sleep(moments.uniform(0.01, 0.12))  # the moment is the point: anywhere in a commit
        process.kill()
        process.communicate()
        if lineage.versions.current() is None:
            continue  # killed before its very first commit
        bundle = lineage.current()
        assert bundle is not None, os.listdir(lineage.versions.link)
        assert bundle.chain.leaf in [one.certificate for one in issued]
        assert readable_by_others(store) == []
        with lineage.lock():
            commit(lineage, issued[0], account_key)
        assert t.cast("lineages.Bundle", lineage.current()).chain.leaf == issued[0].certificate
        assert not [name for name in os.listdir(lineage.versions.folder) if name.startswith(".new-")]


def test_a_renewal_killed_at_any_step_leaves_a_whole_certificate_and_no_litter(
    tmp_path: Path, bundles: list[Path]
) -> None:
    command = [sys.executable, "-m", KILLED_AT_EVERY_STEP, str(tmp_path), *map(str, bundles[:2])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
