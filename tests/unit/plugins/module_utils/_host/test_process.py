# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pomerium is found as a unit or as a process, and of its environment only names leave the host."""

from __future__ import annotations

import os
import pwd
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import process


def test_a_plain_process_is_found_by_its_configuration(host: t.Any, make_pair: t.Any) -> None:
    pair = make_pair("one")
    (host.root / "certificate").write_bytes(pair.fullchain + pair.key)
    host.configure(certificate_file=host.root / "certificate", certificate_key_file=host.root / "certificate")
    started = host.start()
    found = process.find_process("no-such-unit", config_path=str(host.config_path))
    assert (found.state, found.pid, found.unit) == ("running", started.pid, None)
    assert (found.uid, found.gid) == (os.getuid(), os.getgid())
    assert found.config_path == str(host.config_path)
    assert found.environment == {"ADDRESS": "x:1"}


def test_several_processes_are_told_apart_by_config_path_only(
    monkeypatch: pytest.MonkeyPatch, host: t.Any, make_pair: t.Any
) -> None:
    pair = make_pair("one")
    (host.root / "certificate").write_bytes(pair.fullchain + pair.key)
    host.configure(certificate_file=host.root / "certificate", certificate_key_file=host.root / "certificate")
    started = host.start()
    host.config_path.rename(host.root / "other.yaml")
    host.port += 1
    own = process._running(started.pid, unit=None)
    monkeypatch.setattr(process, "_pids", lambda: [1, 2])
    both = {1: own, 2: process.Process("running", pid=2, config_path="/other.yaml")}
    monkeypatch.setattr(process, "_running", lambda pid, unit: both[pid])
    with pytest.raises(BadInput, match=r"several Pomerium processes .*/other\.yaml"):
        process.find_process("no-such-unit")
    assert process.find_process("no-such-unit", config_path="/other.yaml").pid == 2


def test_no_pomerium_at_all_is_absent() -> None:
    assert process.find_process("no-such-unit", config_path="/no/such/config.yaml").state in ("absent", "running")


@pytest.mark.parametrize(
    ("argv", "path"),
    [
        (["pomerium", "-config", "/a"], "/a"),
        (["pomerium", "--config", "/a"], "/a"),
        (["pomerium", "--config=/a"], "/a"),
        (["python", "-m", "x", "-config=/a", ""], "/a"),
        (["pomerium", "-config"], None),
        (["pomerium"], None),
    ],
)
def test_the_configuration_is_read_off_the_command_line(argv: list[str], path: str | None) -> None:
    assert process._config_argument(argv) == path


def test_only_names_and_harmless_values_of_the_environment_are_kept() -> None:
    environ = (
        "PATH=/bin CERTIFICATE=c2VjcmV0 CERTIFICATE_KEY=s CERTIFICATE_FILE=/x AUTOCERT=false INSECURE_SERVER=True "
        "USE_PROXY_PROTOCOL=maybe SHARED_SECRET=s3cret CERTIFICATE_KEY_FILE= ADDRESS=:8443"
    )
    assert process._winning(entry.partition("=")[::2] for entry in environ.split()) == {
        "CERTIFICATE": None,
        "CERTIFICATE_KEY": None,
        "CERTIFICATE_FILE": "/x",
        "AUTOCERT": "false",
        "INSECURE_SERVER": "true",
        "ADDRESS": ":8443",
    }


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., None]:
    """A `systemctl` that answers what the test says."""
    monkeypatch.setattr(process, "SYSTEMD", str(tmp_path))
    monkeypatch.setattr(process, "_pids", lambda: iter(()))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def say(**properties: object) -> None:
        known = {"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "MainPID": 0, "User": "nobody"}
        argv = "{ path=/usr/sbin/pomerium ; argv[]=/usr/sbin/pomerium -config /etc/pomerium/config.yaml ; ignore=no }"
        text = "\n".join(f"{key}={value}" for key, value in {**known, "ExecStart": argv, **properties}.items())
        script = tmp_path / "systemctl"
        script.write_text(f"#!/bin/sh\ncat <<'EOF'\n{text}\nEOF\n")
        script.chmod(0o755)

    return say


@pytest.mark.parametrize(
    ("properties", "state"),
    [
        ({"ActiveState": "failed", "SubState": "failed", "ExecMainStartTimestampMonotonic": 5}, "failed"),
        ({"ActiveState": "activating", "SubState": "auto-restart", "MainPID": 0}, "failed"),
        ({"ExecMainStartTimestampMonotonic": 0}, "never_started"),
        ({"ExecMainStartTimestampMonotonic": 5}, "stopped"),
        ({"LoadState": "not-found"}, "absent"),
        ({"LoadState": "masked"}, "absent"),
    ],
)
def test_a_unit_that_is_down_says_why(systemd: t.Any, properties: dict[str, object], state: str) -> None:
    systemd(**properties)
    found = process.find_process("pomerium")
    assert found.state == state
    assert found.is_startable is (state in ("failed", "never_started"))
    if state != "absent":
        assert (found.unit, found.config_path) == ("pomerium", "/etc/pomerium/config.yaml")
        assert found.uid is not None
        assert found.gid is not None


def test_of_a_unit_that_is_down_the_environment_is_what_systemd_would_give_it(systemd: t.Any, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("# by hand\nCERTIFICATE_KEY='hunter2'\nADDRESS=:1\n")
    (tmp_path / "two").write_text('ADDRESS=":2"\nSHARED_SECRET=hunter2\nCERTIFICATE_KEY_FILE=/gone\n')
    files = f"{tmp_path}/one (ignore_errors=no)\nEnvironmentFiles={tmp_path}/tw* (ignore_errors=yes)"
    systemd(
        ActiveState="failed",
        Environment='AUTOCERT=true "CERTIFICATE_FILE=/with a blank" ADDRESS=:0',
        EnvironmentFiles=f"{files}\nEnvironmentFiles={tmp_path}/missing (ignore_errors=yes)",
        UnsetEnvironment="CERTIFICATE_KEY_FILE AUTOCERT=false",
    )
    found = process.find_process("pomerium")
    assert found.environment == {
        "AUTOCERT": "true",
        "CERTIFICATE_FILE": "/with a blank",
        "CERTIFICATE_KEY": None,
        "ADDRESS": ":2",
    }
    assert "hunter2" not in repr(found)


@pytest.mark.parametrize(("directory", "path"), [("", "/c.yaml"), ("!/srv/x", "/srv/x/c.yaml"), ("~", "HOME/c.yaml")])
def test_a_relative_configuration_is_looked_for_where_the_unit_would_be_started(
    systemd: t.Any, directory: str, path: str
) -> None:
    argv = "{ path=/usr/sbin/pomerium ; argv[]=/usr/sbin/pomerium -config c.yaml ; ignore_errors=no }"
    systemd(ActiveState="failed", ExecStart=argv, WorkingDirectory=directory)
    home = pwd.getpwnam("nobody").pw_dir.rstrip("/")
    assert process.find_process("pomerium").config_path == path.replace("HOME", home)


@pytest.mark.parametrize("is_running", [True, False])
def test_a_unit_whose_files_changed_since_systemd_read_them_is_known(systemd: t.Any, is_running: bool) -> None:
    for says in ("no", "yes"):
        systemd(MainPID=os.getpid() if is_running else 0, NeedDaemonReload=says)
        assert process.find_process("pomerium").needs_daemon_reload is (says == "yes")


def test_a_running_unit_is_its_main_process(systemd: t.Any) -> None:
    systemd(ActiveState="active", SubState="running", MainPID=os.getpid())
    found = process.find_process("pomerium")
    assert (found.state, found.pid, found.unit, found.uid) == ("running", os.getpid(), "pomerium", os.getuid())


def test_the_configuration_is_the_given_one_then_the_process_s_then_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = process.Process("running", config_path="/own.yaml")
    assert process.choose_config_path("/given.yaml", running) == "/given.yaml"
    assert process.choose_config_path(None, running) == "/own.yaml"
    second = tmp_path / "pomerium.yaml"
    monkeypatch.setattr(process, "DEFAULT_CONFIG_PATHS", (str(tmp_path / "config.yaml"), str(second)))
    assert process.choose_config_path(None, process.Process()) == str(tmp_path / "config.yaml")
    second.touch()
    assert process.choose_config_path(None, process.Process()) == str(second)
