# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The environment of a unit is put together as systemd does it. The expectations are what systemd 252 made of them:
`test_pomerium_certificate_environment.py` compares with the systemd at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import unit_environment as unit


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("# A=1\n ; B=2\n\n  C=3\n", {"C": "3"}),
        ("A = spaced  value \t\n", {"A": "spaced  value"}),
        ('A=\'single $HOME \\n\' "double \\" \\\\ \\$ \\n"\n', {"A": 'single $HOME \\ndouble " \\ $ \\n'}),
        ("A=one \\\n two\nB=3\n", {"A": "one  two", "B": "3"}),
        ("A=\\ lead and trail\\ \n", {"A": " lead and trail "}),
        ('A="two\nlines"\nB=2\n', {"A": "two\nlines", "B": "2"}),
        ("A='x\\\ny'\n", {"A": "x\\\ny"}),
        ('A="x\\\ny"\n', {"A": "xy"}),
        ("A=x\"y\"'z'\n", {"A": "x\"y\"'z'"}),
        ("A=\"q\"   'r'   s  t  \n", {"A": "qrs  t"}),
        ("A=b # no comment\n", {"A": "b # no comment"}),
        ("A=b=c\nno assignment\nD=\n", {"A": "b=c", "D": ""}),
        ("A=x \\\\\n", {"A": "x \\"}),
        ('A="x\r\n y"\r\nB=2\r\n', {"A": "x\r\n y", "B": "2"}),
        ('A="open\nB=2\n', {"A": "open\nB=2\n"}),
        ("A=1\nA=2\\", {"A": "2"}),
    ],
)
def test_a_file_is_read_as_systemd_reads_it(text: str, found: dict[str, str]) -> None:
    assert unit.parse_file(text) == found


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ('A=1 B= "C=a b"', ["A=1", "B=", "C=a b"]),
        ('"A=\\"q\\" \\$HOME \\`x\\` \\\\ e"', ['A="q" $HOME `x` \\ e']),
        ('"A=line\\nbreak\\ttab\\001\\177"', ["A=line\nbreak\ttab\x01\x7f"]),
        ("LANG=C.UTF-8\nA=$'it\\'s\\nx'\nB=ä\n", ["LANG=C.UTF-8", "A=it's\nx", "B=ä"]),
        ("", []),
    ],
)
def test_what_systemctl_prints_is_taken_apart_again(printed: str, found: list[str]) -> None:
    assert unit.words(printed) == found


def test_later_sources_win_and_what_is_unset_is_gone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("B=file\nC=file\nD=x\n")
    shown = {
        "Environment": "A=unit B=unit D=x",
        "EnvironmentFiles": f"{tmp_path}/file (ignore_errors=no)\n{tmp_path}/none (ignore_errors=yes)",
        "UnsetEnvironment": "C D=y M",
    }
    assert unit.unit_environment(shown, "A=manager\nM=1\nN=2\n") == {"A": "unit", "B": "file", "D": "x", "N": "2"}


def test_a_pipe_in_place_of_a_file_does_not_hold_anybody_up(tmp_path: Path) -> None:
    os.mkfifo(str(tmp_path / "pipe"))
    assert unit.unit_environment({"EnvironmentFiles": f"{tmp_path}/pipe (ignore_errors=no)"}, "") == {}
