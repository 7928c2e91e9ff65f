# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root writes in a directory of the user pomerium, who may rename, link and replace there at any moment.

Each test says what somebody with that uid would gain, were it done otherwise.
"""

from __future__ import annotations

import hashlib
import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import backups, config_file
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.config_file import ConfigFile

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

OLD, NEW = b"address: :8443\n", b"address: :8443\ncertificate_file: /x\n"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "config.yaml").write_bytes(OLD)
    (tmp_path / "etc" / "config.yaml").chmod(0o640)
    (tmp_path / "secret").write_bytes(b"secret: root's own\n")
    (tmp_path / "secret").chmod(0o600)
    return tmp_path / "etc"


@pytest.fixture
def config(etc: Path) -> t.Iterator[ConfigFile]:
    """The configuration as it is after it was read."""
    with ConfigFile(str(etc / "config.yaml")) as file:
        assert file.is_still(hashlib.sha256(OLD).hexdigest())
        yield file


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_it_is_replaced_with_its_mode_and_the_backup_has_the_same(etc: Path, config: ConfigFile) -> None:
    config.replace(NEW)
    assert (etc / "config.yaml").read_bytes() == NEW
    assert config.backup is not None
    assert Path(config.backup).read_bytes() == OLD
    assert [stat.S_IMODE(path.stat().st_mode) for path in etc.iterdir()] == [0o640, 0o640]


def test_put_back_it_is_as_before_and_no_backup_is_left(etc: Path, config: ConfigFile) -> None:
    config.replace(NEW)
    config.put_back()
    assert ((etc / "config.yaml").read_bytes(), names(etc)) == (OLD, ["config.yaml"])


def test_where_only_the_backup_could_be_written_that_goes(etc: Path, config: ConfigFile) -> None:
    write = config_file._files.write_file
    calls: list[str] = []

    def fail_at_second(path: str, data: bytes, **how: t.Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise PermissionError(1, "Operation not permitted", path)
        write(path, data, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_file._files, "write_file", fail_at_second)
        with pytest.raises(PermissionError) as caught:
            config.replace(NEW)
    assert caught.value.filename == str(etc / "config.yaml")
    before = (etc / "config.yaml").stat().st_ino
    config.put_back()
    assert ((etc / "config.yaml").stat().st_ino, names(etc)) == (before, ["config.yaml"])


def test_two_backups_in_a_second_are_two_files(etc: Path, config: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups.time, "gmtime", lambda: (2026, 11, 24, 10, 15, 12, 0, 0, 0))
    config.replace(NEW)
    assert config.is_still(hashlib.sha256(NEW).hexdigest())
    config.replace(OLD)
    assert names(etc)[1:] == ["config.yaml.2026-11-24T101512Z.1~", "config.yaml.2026-11-24T101512Z~"]
    assert [(etc / name).read_bytes() for name in names(etc)[1:]] == [NEW, OLD]
    assert sorted(names(etc)[1:], key=backups._age) == names(etc)[:0:-1]


def test_the_three_newest_backups_stay_and_what_is_not_ours_is_never_touched(etc: Path, config: ConfigFile) -> None:
    ours = [f"config.yaml.2026-11-2{day}T101512Z~" for day in range(5)] + ["config.yaml.2026-11-24T101512Z.1~"]
    others = [
        "config.yaml~", "config.yaml.bak", "config.yaml.123.2020-01-01@10:15:12~", "config.yaml.2020-01-01T101512Z",
        "config.yaml.2020-01-01T101512Z~~", "config.yaml.2020-01-01T101512Z.x~", "other.yaml.2020-01-01T101512Z~",
    ]  # fmt: skip
    for name in (*ours, *others):
        (etc / name).touch()
    (etc / "config.yaml.2020-01-01T101512Z~").mkdir()
    config.prune()
    assert len(names(etc)) == 1 + len(ours) + len(others) + 1  # without a new one there is nothing to do
    config.replace(NEW)
    config.prune()
    assert config.backup is not None
    new = os.path.basename(config.backup)
    assert set(names(etc)) == {"config.yaml", "config.yaml.2020-01-01T101512Z~", *others, *ours[4:], new}


def test_a_link_at_the_name_of_the_backup_is_not_followed(
    etc: Path, config: ConfigFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name can be guessed: root would write the configuration, his words, into a file of his choice."""
    monkeypatch.setattr(backups.time, "gmtime", lambda: (2026, 11, 24, 10, 15, 12, 0, 0, 0))
    (etc / "config.yaml.2026-11-24T101512Z~").symlink_to(etc.parent / "secret")
    config.replace(NEW)
    assert (etc.parent / "secret").read_bytes() == b"secret: root's own\n"
    assert config.backup == str(etc / "config.yaml.2026-11-24T101512Z.1~")


def test_a_link_put_in_its_place_after_it_was_read_is_replaced_and_not_followed(etc: Path, config: ConfigFile) -> None:
    """Root would overwrite a file of his choice, and give it to him."""
    (etc / "config.yaml").unlink()
    (etc / "config.yaml").symlink_to(etc.parent / "secret")
    config.replace(NEW)
    assert (etc.parent / "secret").read_bytes() == b"secret: root's own\n"
    assert stat.S_IMODE((etc.parent / "secret").stat().st_mode) == 0o600
    assert not (etc / "config.yaml").is_symlink()


def test_a_directory_put_in_its_place_after_it_was_read_gets_nothing(etc: Path, config: ConfigFile) -> None:
    """Root would write a configuration of his into a directory that only root may write, like that of netplan."""
    elsewhere = etc.parent / "netplan"
    elsewhere.mkdir()
    etc.rename(etc.parent / "moved")
    etc.symlink_to(elsewhere)
    config.replace(NEW)
    config.prune()
    assert names(elsewhere) == []
    assert (etc.parent / "moved" / "config.yaml").read_bytes() == NEW
    config.put_back()
    assert (etc.parent / "moved" / "config.yaml").read_bytes() == OLD


def link(etc: Path) -> None:
    (etc / "config.yaml").symlink_to(etc.parent / "secret")


def second_name(etc: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(etc, 65534, 65534)
    os.link(str(etc.parent / "secret"), str(etc / "config.yaml"))


def pipe(etc: Path) -> None:
    os.mkfifo(str(etc / "config.yaml"))


def directory(etc: Path) -> None:
    (etc / "config.yaml").mkdir()


@pytest.mark.parametrize("put", [link, second_name, pipe, directory])
def test_what_is_no_file_of_one_name_is_not_read_and_so_never_copied(etc: Path, put: t.Callable[[Path], None]) -> None:
    """The backup has owner and mode of the configuration: he could read a copy of what only root may read. A pipe
    would stop root until somebody writes."""
    (etc / "config.yaml").unlink()
    put(etc)
    with ConfigFile(str(etc / "config.yaml")) as file:
        assert not file.is_still(hashlib.sha256((etc.parent / "secret").read_bytes()).hexdigest())
        file.replace(NEW)
        assert file.backup is None
    assert names(etc) == ["config.yaml"]


@is_root
def test_the_backup_belongs_to_whom_the_file_belonged_that_was_read(etc: Path) -> None:
    """Read while it is root's, then replaced by one of his: a backup with his ownership would be his to read."""
    (etc / "config.yaml").chmod(0o600)
    with ConfigFile(str(etc / "config.yaml")) as file:
        assert file.is_still(hashlib.sha256(OLD).hexdigest())
        (etc / "mine").write_bytes(b"x: 1\n")
        (etc / "mine").chmod(0o666)
        os.chown(etc / "mine", 65534, 65534)
        (etc / "mine").rename(etc / "config.yaml")
        file.replace(NEW)
        assert file.backup is not None
        found = os.stat(file.backup)
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)


@is_root
def test_owner_and_group_are_kept_and_no_further_bits_are_taken_over(etc: Path) -> None:
    os.chown(etc / "config.yaml", 65534, 65533)
    (etc / "config.yaml").chmod(0o6640)
    with ConfigFile(str(etc / "config.yaml")) as file:
        assert file.is_still(hashlib.sha256(OLD).hexdigest())
        file.replace(NEW)
    for path in etc.iterdir():
        found = path.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 65533, 0o640)
