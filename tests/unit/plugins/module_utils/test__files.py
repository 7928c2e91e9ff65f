# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils import _files
from ansible_collections.zerotrust.pomerium.plugins.module_utils._versions import Content, Versions


def test_a_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        _files.write_file(str(tmp_path / "file"), b"data", mode=0o644)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("untouched")
    (tmp_path / "file").symlink_to("target")
    _files.write_file(str(tmp_path / "file"), b"data")
    assert (tmp_path / "target").read_text() == "untouched"
    assert not (tmp_path / "file").is_symlink()


def test_when_one_of_several_cannot_be_written_all_are_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("old")
    with pytest.raises(FileNotFoundError):
        _files.write_together(
            {str(tmp_path / "one"): (b"new", 0o600), str(tmp_path / "missing" / "two"): (b"new", 0o600)}
        )
    assert (tmp_path / "one").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_when_one_of_several_is_a_directory_all_are_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("old")
    (tmp_path / "two").mkdir()
    with pytest.raises(IsADirectoryError):
        _files.write_together({str(tmp_path / "one"): (b"new", 0o600), str(tmp_path / "two"): (b"new", 0o600)})
    assert (tmp_path / "one").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_link_to_a_directory_is_replaced_too(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").symlink_to("directory")
    _files.write_file(str(tmp_path / "file"), b"data")
    assert (tmp_path / "file").read_bytes() == b"data"


def test_directories_are_made_with_their_mode_and_kept_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir(mode=0o755)
    _files.make_directory(str(tmp_path / "there" / "a" / "b"), mode=0o750)
    assert [stat.S_IMODE((tmp_path / "there" / path).stat().st_mode) for path in ("", "a", "a/b")] == [
        0o755, 0o750, 0o750
    ]  # fmt: skip


def test_removing_a_tree_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "tree" / "dangling").symlink_to("nowhere")
    _files.remove_tree(str(tmp_path / "tree"))
    _files.remove_tree(str(tmp_path / "tree"))
    assert (tmp_path / "kept" / "file").exists()
    assert not (tmp_path / "tree").exists()


def test_on_a_full_disk_all_are_as_they_were(tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk: the write fails in the middle of the second file."""
    (tmp_path / "one").write_text("old")
    code = f"""
import resource, signal
from ansible_collections.zerotrust.pomerium.plugins.module_utils import _files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
files = {{{str(tmp_path / "one")!r}: (b"new", 0o600), {str(tmp_path / "two")!r}: (b"x" * 9000, 0o600)}}
try:
    _files.write_together(files)
except OSError as error:
    print(error.strerror)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, env=environment, text=True).strip() == "File too large"
    assert (tmp_path / "one").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert _files.read_plain(str(tmp_path / "file"))[0] == b"data"
    assert _files.read_plain(str(tmp_path / "link"), follow=True)[0] == b"data"
    for name in ("link", "pipe", "."):
        with pytest.raises(OSError, match="Too many levels" if name == "link" else "no plain file"):
            _files.read_plain(str(tmp_path / name))
    os.truncate(tmp_path / "file", _files.LARGEST + 1)
    with pytest.raises(OSError, match="sensible size"):
        _files.read_plain(str(tmp_path / "file"))


def test_a_killed_write_leaves_a_file_that_is_found_by_its_name(tmp_path: Path) -> None:
    code = f"""
import os
from ansible_collections.zerotrust.pomerium.plugins.module_utils import _files
os.fsync = lambda descriptor: os.kill(os.getpid(), 9)
_files.write_file({str(tmp_path / "file.yaml")!r}, b"secret")
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.call([sys.executable, "-c", code], env=environment) == -9
    left = [str(path) for path in tmp_path.iterdir()]
    assert len(left) == 1
    (tmp_path / ".file.yaml.swp").touch()
    (tmp_path / ".file.yaml.abcd1234").touch()
    (tmp_path / ".file.yaml.abcd1234.zerotrust-new").mkdir()
    assert _files.find_leftovers(str(tmp_path / "file.yaml")) == left
    assert _files.find_leftovers(str(tmp_path / "file")) == []
    assert _files.find_leftovers(str(tmp_path / "missing" / "file.yaml")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_had_its_owner_already_when_the_run_was_killed_is_found_too(tmp_path: Path) -> None:
    names = [".file.abcd1234.zerotrust-new", ".file.abcd5678.zerotrust-new", ".file.abcd9012.zerotrust-new"]
    for owner, name in zip((0, 65534, 65533), names):
        (tmp_path / name).touch()
        os.chown(tmp_path / name, owner, 0)
    assert _files.find_leftovers(str(tmp_path / "file")) == [str(tmp_path / names[0])]
    (tmp_path / "file").touch()
    os.chown(tmp_path / "file", 65534, 0)
    assert _files.find_leftovers(str(tmp_path / "file")) == [str(tmp_path / name) for name in names[:2]]


def test_a_version_with_the_same_content_is_used_again(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path))
    files = {"a.pem": Content(b"a", 0o640)}
    assert [versions.add("v1", files) for _time in range(2)] == ["v1", "v1"]
    versions.switch("v1")
    assert os.readlink(versions.link) == "versions/v1"
    assert versions.add("v1", {"a.pem": Content(b"b")}) == "v1.1"
    assert versions.current() == "v1"


def test_a_version_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import resource, signal
from ansible_collections.zerotrust.pomerium.plugins.module_utils._versions import Content, Versions
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    Versions({str(tmp_path)!r}).add("v1", {{"a": Content(b"a"), "b": Content(b"x" * 9000)}})
except OSError as error:
    print(error.strerror)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert "File too large" in subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert list((tmp_path / "versions").iterdir()) == []


def test_what_killed_runs_left_is_removed_with_the_old_versions(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path))
    versions.add("v1", {"a": Content(b"")})
    versions.switch("v1")
    (tmp_path / ".current.12345").symlink_to("versions/v0")
    (tmp_path / "versions" / ".new-abc").mkdir()
    (tmp_path / "versions" / ".new-abc" / "privkey.pem").write_text("secret")
    assert versions.prune(3) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "versions"]
    assert versions.names() == ["v1"]
    assert len(list((tmp_path / "versions").iterdir())) == 1


def test_the_way_back_is_one_rename_to_what_was_there(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path))
    for name in ("v1", "v2"):
        versions.add(name, {"a": Content(b"")})
    versions.keep_way_back()
    versions.switch("v1")
    versions.switch_back()
    assert not os.path.lexists(versions.link)
    versions.switch("v1")
    versions.keep_way_back()
    before = os.lstat(f"{versions.root}/.current.back").st_ino
    versions.switch("v2")
    versions.switch_back()
    assert (versions.current(), os.lstat(versions.link).st_ino) == ("v1", before)
    versions.keep_way_back()
    versions.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "versions"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_of_the_files_owns_no_directory_of_ours(tmp_path: Path) -> None:
    """Who owns it may put a link where root writes next."""
    versions = Versions(str(tmp_path), owner=(65534, 65533), directory_mode=0o750)
    versions.add("v1", {"a": Content(b"", 0o640)})
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in tmp_path.rglob("*")}
    assert owners == {"versions": (0, 65533), "v1": (0, 65533), "a": (65534, 65533)}


def test_a_version_counts_only_with_just_its_files_modes_and_owner(tmp_path: Path) -> None:
    versions, files = Versions(str(tmp_path)), {"a": Content(b"a", 0o640)}
    versions.add("v1", files)
    assert versions.holds("v1", files)
    assert not versions.holds("v1", {"a": Content(b"a", 0o600)})
    assert not versions.holds("v1", {"a": Content(b"a", 0o640), "b": Content(b"")})
    assert not versions.holds("v2", files)
    assert not Versions(str(tmp_path), owner=(os.getuid() + 1, -1)).holds("v1", files)


def test_the_current_version_is_never_pruned(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path))
    for name in ("v1", "v2", "v3"):
        versions.add(name, {"a": Content(b"")})
    versions.switch("v1")
    assert versions.prune(1) == ["v2"]
    assert versions.names() == ["v1", "v3"]


def test_a_current_link_to_nothing_is_none(tmp_path: Path) -> None:
    versions = Versions(str(tmp_path))
    versions.add("v1", {"a": Content(b"")})
    versions.switch("v9")
    assert versions.current() is None
