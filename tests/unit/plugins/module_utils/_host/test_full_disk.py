# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""At whatever write the disk is full: the old set or the new one, complete and served. Real, small file systems."""

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.probe import Target, probe
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.steps import take_step

PLENTY = 40
"""Pages, or files, that no install needs."""


@contextlib.contextmanager
def small(directory: Path) -> t.Iterator[None]:
    """Mount a file system of a few pages and inodes at a directory; skip the test where that is not allowed."""
    directory.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=100,mode=755", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.call(command, stderr=subprocess.DEVNULL) != 0:
        pytest.skip("small file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.check_call(["umount", "--lazy", str(directory)])


def leave_free(directory: Path, kind: str, count: int) -> None:
    """Fill a file system so that `count` pages or inodes are free."""
    free = os.statvfs(str(directory))
    if kind == "pages":
        (directory / ".filler").write_bytes(b"x" * (free.f_bfree - count) * free.f_bsize)
        return
    (directory / ".fillers").mkdir()
    for number in range(free.f_ffree - count - 1):
        (directory / ".fillers" / str(number)).touch()


def clear(directory: Path) -> None:
    for path in [directory / ".filler", *(directory / ".fillers").glob("*")]:
        if path.exists():
            path.unlink()
    if (directory / ".fillers").exists():
        (directory / ".fillers").rmdir()


def served(host: t.Any) -> str | None:
    return probe(Target("127.0.0.1", host.port, "app.example.com")).sha256


@pytest.fixture
def first_install(host: t.Any, make_pair: t.Any) -> t.Callable[[], None]:
    """Make the host one that serves a certificate by hand and knows nothing of us."""
    old = make_pair("old")
    (host.root / "old.pem").write_bytes(old.fullchain + old.key)

    def begin() -> None:
        host.configure(certificate_file=host.root / "old.pem", certificate_key_file=host.root / "old.pem")

    return begin


@pytest.mark.parametrize("kind", ["pages", "inodes"])
@pytest.mark.parametrize("where", ["etc", "tls"])
def test_wherever_the_disk_fills_a_first_install_is_whole_or_undone(
    host: t.Any, make_pair: t.Any, first_install: t.Callable[[], None], where: str, kind: str
) -> None:
    place = host.root / where
    with small(place):
        first_install()
        host.start()
        before = host.config_path.read_bytes()
        outcomes = []
        for free in range(PLENTY):
            leave_free(place, kind, free)
            params = host.install(make_pair("one"), "v1", config=host.configured_for_current())
            try:
                take_step(params, check=False, warn=lambda _text: None)
                outcomes.append("new")
            except UserError as error:
                outcomes.append("old")
                assert "No space left on device" in str(error)
            clear(place)
            assert served(host) == make_pair("one" if outcomes[-1] == "new" else "old").sha256
            if outcomes[-1] == "new":
                break
            assert host.config_path.read_bytes() == before
            assert [path.name for path in host.config_path.parent.iterdir()] == ["config.yaml"]
            assert not os.path.lexists(str(host.home / "current"))
            assert not list((host.home / "versions").glob("*"))
        assert outcomes[:2] == ["old", "old"]
        assert outcomes[-1] == "new"


@pytest.mark.parametrize("kind", ["pages", "inodes"])
def test_wherever_the_disk_fills_a_renewal_is_whole_or_undone(host: t.Any, make_pair: t.Any, kind: str) -> None:
    with small(host.directory):
        host.config_path.write_bytes(host.configured_for_current())
        take_step(host.install(make_pair("one"), "v1"), check=False, warn=print)
        host.start()
        before = {key: seen for key, seen in host.snapshot().items() if "proven" not in key}
        for free in range(PLENTY):
            leave_free(host.directory, kind, free)
            warnings: list[str] = []
            try:
                take_step(host.install(make_pair("two"), "v2"), check=False, warn=warnings.append)
            except UserError:
                clear(host.directory)
                assert {key: seen for key, seen in host.snapshot().items() if "proven" not in key} == before
                assert served(host) == make_pair("one").sha256
            else:
                break
        assert free > 1
        assert served(host) == make_pair("two").sha256
        clear(host.directory)
        assert take_step(host.install(make_pair("two"), "v2"), check=False, warn=print)["applied"]["changed"] is False
        assert sorted(path.name for path in (host.home / "versions").iterdir()) == ["v1", "v2"]
