# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a bundle may lie, and whose it is."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.home import (
    check_directory,
    choose_owner,
    make_home,
)
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.process import Process

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def test_a_directory_of_our_own_below_our_own_is_fine(tmp_path: Path) -> None:
    check_directory(str(tmp_path / "not" / "there" / "yet"))


def test_a_parent_that_everybody_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(BadInput, match="writable by everybody"):
        check_directory(str(tmp_path / "open" / "tls"))


def test_the_sticky_bit_makes_such_a_parent_fine(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o1777)
    check_directory(str(tmp_path / "open" / "tls"))


@is_root
def test_a_parent_of_another_user_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.chown(tmp_path / "etc", 65534, 0)
    with pytest.raises(BadInput, match=r"etc belongs to \w+, who could replace"):
        check_directory(str(tmp_path / "etc" / "tls"))


@is_root
def test_a_link_that_another_user_planted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    os.lchown(tmp_path / "link", 65534, 0)
    with pytest.raises(BadInput, match="link belongs to"):
        check_directory(str(tmp_path / "link" / "tls"))


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "tls").symlink_to("real")
    with pytest.raises(BadInput, match="symbolic link"):
        check_directory(str(tmp_path / "tls"))


@pytest.mark.parametrize("path", ["tls", "/etc/../tmp/tls", "/etc//tls"])
def test_a_path_that_is_not_plain_is_refused(path: str) -> None:
    with pytest.raises(BadInput, match="plain path"):
        check_directory(path)


def test_the_home_is_closed_to_others_and_its_parent_is_open(tmp_path: Path) -> None:
    owner = (os.geteuid(), os.getegid())
    home = Path(make_home(str(tmp_path / "tls"), "pomerium", owner))
    assert oct(home.stat().st_mode) == oct(0o40750)
    assert oct(home.parent.stat().st_mode) == oct(0o40755)


def test_a_home_that_was_opened_is_closed_again(tmp_path: Path) -> None:
    owner = (os.geteuid(), os.getegid())
    home = Path(make_home(str(tmp_path / "tls"), "pomerium", owner))
    home.chmod(0o755)
    make_home(str(tmp_path / "tls"), "pomerium", owner)
    assert oct(home.stat().st_mode) == oct(0o40750)


def test_the_group_is_that_of_the_process_and_the_owner_is_who_installs() -> None:
    assert choose_owner(None, None, Process("running", gid=os.getegid())) == (os.geteuid(), os.getegid())


@pytest.mark.parametrize(("option", "who"), [("owner", ("nobody_of_that_name", None)), ("group", (None, "no_such"))])
def test_an_owner_that_does_not_exist_is_named(option: str, who: t.Any) -> None:
    with pytest.raises(BadInput, match=f"{option} .*does not exist on this host"):
        choose_owner(*who, Process())


def test_numbers_are_taken_as_they_are() -> None:
    assert choose_owner("12", "65532", Process()) == (12, 65532)


@is_root
def test_an_owner_that_is_given_gets_no_directory_in_which_root_writes(tmp_path: Path) -> None:
    home = Path(make_home(str(tmp_path / "tls"), "pomerium", (65534, 65533)))
    os.chown(home / "versions", 65534, 65534)
    make_home(str(tmp_path / "tls"), "pomerium", (65534, 65533))
    for path in (home, home / "versions"):
        assert (path.stat().st_uid, path.stat().st_gid, oct(path.stat().st_mode)) == (0, 65533, oct(0o40750))


@pytest.mark.parametrize("what", ["link", "file", "versions", "current"])
def test_what_stands_where_we_write_and_is_not_ours_is_left_alone_and_named(tmp_path: Path, what: str) -> None:
    """A link to a directory of root's would give that to Pomerium's group, and have root write there."""
    (tmp_path / "tls").mkdir()
    (tmp_path / "roots").mkdir(mode=0o700)
    home = tmp_path / "tls" / "pomerium"
    place = home if what in ("link", "file") else home / what
    place.parent.mkdir(exist_ok=True)
    if what == "current":
        place.mkdir()
    elif what == "file":
        place.touch()
    else:
        place.symlink_to(tmp_path / "roots")
    with pytest.raises(UserError, match=f"in the way for {place}: no .* of ours.*Move it away"):
        make_home(str(tmp_path / "tls"), "pomerium", (os.geteuid(), os.getegid()))
    assert oct((tmp_path / "roots").stat().st_mode) == oct(0o40700)
