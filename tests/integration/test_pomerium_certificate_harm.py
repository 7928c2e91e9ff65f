# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What pomerium_certificate must never do: install a bad pair (R36), tell a secret (R45), leave a key open to read."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import stat
import threading
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import NAMES, Site
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import PlaybookRun
from ansible_collections.zerotrust.pomerium.tests.lab.secret_forms import key_forms


def mismatched(site: Site) -> Issued:
    return replace(site.authority.issue(*NAMES), key_pem=site.authority.issue(*NAMES).key_pem)


def truncated(site: Site) -> Issued:
    issued = site.authority.issue(*NAMES)
    end = b"-----END CERTIFICATE-----\n"
    return replace(issued, fullchain_pem=issued.fullchain_pem.partition(end)[0] + end)


def wrongly_ordered(site: Site) -> Issued:
    issued = site.authority.issue(*NAMES)
    return replace(issued, fullchain_pem=issued.fullchain_pem + Authority("Another").pem)


def issuer_first(site: Site) -> Issued:
    issued = site.authority.issue(*NAMES)
    return replace(issued, fullchain_pem=site.authority.pem + issued.fullchain_pem)


def expired(site: Site) -> Issued:
    return site.authority.issue(*NAMES, days=-1)


def for_other_names(site: Site) -> Issued:
    return site.authority.issue("other.example.com")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (mismatched, "not for this private key"),
        (truncated, "truncated"),
        (wrongly_ordered, "not in order"),
        (issuer_first, "not for this private key"),
        (expired, "expired at"),
        (for_other_names, "does not cover app.corp.example.com"),
    ],
)
def test_R36_a_bad_pair_is_refused_and_the_old_files_stay_byte_for_byte(  # noqa: N802
    site: Site, make: t.Callable[[Site], Issued], why: str
) -> None:
    good = site.serve()
    before = site.snapshot()
    site.lay(make(site))
    result = site.act(expect_names=["app.corp.example.com"])
    assert result["failed"] is True
    assert why in result["msg"]
    assert site.snapshot() == before
    assert site.host.served().leaf == good.certificate


TALKATIVE = """

def talk(self, cmd, in_data=None, sudoable=True, silently=Connection.exec_command):
    answer = silently(self, cmd, in_data=in_data, sudoable=sudoable)
    if not self._play_context.no_log:
        display.vvv("ANSWERED %r" % (answer[1],))
    return answer


Connection.exec_command = talk
"""
"""What the ssh connection does, on top of the local one: from -vvv on it prints what modules answer."""


def talkative(site: Site) -> list[str]:
    """Write such a connection, and give the arguments that choose it."""
    from ansible.plugins.connection import local

    folder = site.ansible.home / "connections"
    folder.mkdir()
    (folder / "talkative.py").write_text(Path(local.__file__).read_text() + TALKATIVE)
    (site.ansible.home / "ansible.cfg").write_text(f"[defaults]\nconnection_plugins = {folder}\n")
    return ["-vvvv", "-e", "ansible_connection=talkative"]


def test_R45_no_secret_is_printed_or_returned_at_the_highest_verbosity(site: Site) -> None:  # noqa: N802
    issued = site.issue()
    talk = talkative(site)
    runs: list[PlaybookRun] = []
    returned: list[str] = []

    def run(*arguments: str, module: str = "pomerium_certificate") -> None:
        runs.append(site.run(*talk, *arguments, module=module))
        returned.append(json.dumps(site.result()))

    run("--diff")
    run("--diff")
    site.issue()
    run("--diff", "--check")
    run("--diff")
    with site.host.config_path.open("a") as file:
        file.write("x:\n\t- 1\n")
    run("--diff")
    assert site.result()["failed"] is True
    run(module="pomerium_certificate_info")
    assert all("ANSWERED" in one.output for one in runs)
    forms = key_forms(site.sources / "privkey.pem")
    (site.directory / "first.pem").write_bytes(issued.key_pem)
    forms.update({f"first {what}": form for what, form in key_forms(site.directory / "first.pem").items()})
    for what, secret in site.host.secrets().items():
        forms[what] = secret
        for shift in range(3):  # wherever it lies in a text, one of three base64 forms is in that text's base64
            encoded = base64.b64encode(b" " * shift + secret.encode()).decode()
            forms[f"{what} in base64, shifted by {shift}"] = encoded[4:-4]
    for what, key in (("first key", issued.key_pem), ("second key", (site.sources / "privkey.pem").read_bytes())):
        forms[f"{what} in base64"] = base64.b64encode(key).decode()[60:120]
    output = "".join(one.output for one in runs)
    assert not [what for what, form in forms.items() if form in output or form in "".join(returned)]
    assert "shared_secret" not in output


def test_nothing_is_readable_by_others_at_any_time(site: Site) -> None:
    """The key's directory and every file that holds private bytes, looked at again and again while it is written."""
    site.issue()
    open_files: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for folder, _folders, files in os.walk(site.host.directory):  # what vanishes meanwhile is passed over
                for path in (Path(folder) / name for name in files):
                    with contextlib.suppress(OSError):
                        seen = path.lstat()
                        is_secret = stat.S_ISREG(seen.st_mode) and b"PRIVATE KEY" in path.read_bytes()
                        if is_secret and seen.st_mode & 0o007:
                            open_files.append(f"{path} {seen.st_mode:o}")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        site.install()
        site.issue()
        site.install()
    finally:
        done.set()
        watcher.join()
    assert not open_files
    assert oct(site.current.resolve().stat().st_mode) == oct(0o40750)
    assert oct((site.current / "privkey.pem").stat().st_mode) == oct(0o100640)
