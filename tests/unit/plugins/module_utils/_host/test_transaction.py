# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The transaction: the new set is served, or the old one is back byte for byte. Real directories, a real TLS server."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import prove, transaction
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.config_file import ConfigFile
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.probe import Target, probe
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.process import Process
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._host.leftovers import leave


def apply(params: dict[str, t.Any]) -> dict[str, t.Any]:
    warnings: list[str] = []
    result = transaction.apply(params, warnings.append)
    assert not warnings
    return result


def served(host: t.Any) -> str | None:
    return probe(Target("127.0.0.1", host.port, "app.example.com")).sha256


@pytest.fixture
def running(host: t.Any, make_pair: t.Any) -> t.Any:
    """A host that serves pair `one` as version v1, installed by us."""
    host.config_path.write_bytes(host.configured_for_current())
    apply(host.install(make_pair("one"), "v1"))
    host.start()
    assert served(host) == make_pair("one").sha256
    return host


def test_a_host_where_nothing_listens_is_installed_and_reported(host: t.Any, make_pair: t.Any) -> None:
    result = apply(host.install(make_pair("one"), "v1"))
    assert (result["changed"], result["version"], result["served"]["state"]) == (True, "v1", "not_listening")
    assert os.readlink(str(host.home / "current")) == "versions/v1"
    assert (host.home / "current" / "privkey.pem").read_bytes() == make_pair("one").key
    assert oct((host.home / "current" / "privkey.pem").stat().st_mode) == oct(0o100640)


def test_the_first_install_sets_the_configuration_and_keeps_a_backup(host: t.Any, make_pair: t.Any) -> None:
    old = make_pair("old")
    (host.root / "old.pem").write_bytes(old.fullchain + old.key)
    host.configure(certificate_file=host.root / "old.pem", certificate_key_file=host.root / "old.pem")
    host.config_path.chmod(0o640)
    host.start()
    before = host.config_path.read_bytes()
    result = apply(host.install(make_pair("one"), "v1", config=host.configured_for_current()))
    assert result["served"]["sha256"] == make_pair("one").sha256
    assert result["reloaded"] == "none"
    assert Path(result["backup_file"]).read_bytes() == before
    assert oct(Path(result["backup_file"]).stat().st_mode) == oct(0o100640)
    assert host.config_path.read_bytes() == host.configured_for_current()
    assert oct(host.config_path.stat().st_mode) == oct(0o100640)
    assert host.record()["probe"]["port"] == host.port


def test_a_renewal_does_not_touch_the_configuration(running: t.Any, make_pair: t.Any) -> None:
    before = running.config_path.stat()
    result = apply(running.install(make_pair("two"), "v2"))
    assert served(running) == make_pair("two").sha256
    assert (result["changed"], result["previous_version"], result["backup_file"]) == (True, "v1", None)
    assert running.config_path.stat() == before


def test_the_same_again_changes_nothing(running: t.Any, make_pair: t.Any) -> None:
    apply(running.install(make_pair("one"), "v1"))
    before = running.snapshot()
    assert apply(running.install(make_pair("one"), "v1"))["changed"] is False
    assert running.snapshot() == before


def test_a_configuration_that_changed_meanwhile_is_left_alone(running: t.Any, make_pair: t.Any) -> None:
    params = running.install(make_pair("two"), "v2", config=b"port: 1\n")
    with running.config_path.open("a") as file:
        file.write("by_hand: true\n")
    before = running.snapshot()
    assert apply(params) == {"changed": False, "stale": True}
    assert running.snapshot() == before


def test_a_key_that_does_not_fit_is_refused_before_the_switch(running: t.Any, make_pair: t.Any) -> None:
    params = running.install(make_pair("two"), "v2")
    params["files"][1]["content"] = base64.b64encode(make_pair("one").key).decode()
    before = running.snapshot()
    with pytest.raises(UserError, match="OpenSSL refuses the pair") as caught:
        apply(params)
    assert "rolled_back" not in caught.value.facts
    assert running.snapshot() == before


def test_a_pair_that_is_not_served_is_rolled_back(host: t.Any, make_pair: t.Any) -> None:
    """A Pomerium that reads its files at its start only, and may not be restarted."""
    host.config_path.write_bytes(host.configured_for_current())
    apply(host.install(make_pair("one"), "v1"))
    host.start("--picks-up", "start")
    before = host.snapshot()
    with pytest.raises(UserError, match="everything was put back") as caught:
        apply(host.install(make_pair("two"), "v2", config=host.configured_for_current(x=1), reload="none"))
    assert caught.value.facts["rolled_back"] is True
    assert caught.value.facts["served"]["sha256"] == make_pair("one").sha256
    assert served(host) == make_pair("one").sha256
    assert host.snapshot() == before


def test_a_first_install_that_is_not_served_leaves_no_link(host: t.Any, make_pair: t.Any) -> None:
    old = make_pair("old")
    (host.root / "old.pem").write_bytes(old.fullchain + old.key)
    host.configure(certificate_file=host.root / "old.pem", certificate_key_file=host.root / "old.pem")
    host.start("--picks-up", "start")
    before = host.config_path.read_bytes()
    with pytest.raises(UserError, match="put back"):
        apply(host.install(make_pair("one"), "v1", config=host.configured_for_current(), reload="none"))
    assert host.config_path.read_bytes() == before
    assert not os.path.lexists(str(host.home / "current"))
    assert [path.name for path in host.config_path.parent.iterdir()] == ["config.yaml"]
    assert list((host.home / "versions").iterdir()) == []


def test_a_signal_is_sent_where_files_are_not_picked_up(
    host: t.Any, make_pair: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prove, "WATCH_SECONDS", 0.3)
    host.config_path.write_bytes(host.configured_for_current())
    apply(host.install(make_pair("one"), "v1"))
    host.start("--picks-up", "signal")
    result = apply(host.install(make_pair("two"), "v2", reload="signal"))
    assert (result["reloaded"], served(host)) == ("signal", make_pair("two").sha256)


def test_auto_sends_no_signal_to_one_that_may_not_know_it(
    host: t.Any, make_pair: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before 0.29 SIGHUP ends Pomerium; this process is a Python that names no version of Pomerium at all."""
    monkeypatch.setattr(prove, "WATCH_SECONDS", 0.2)
    host.config_path.write_bytes(host.configured_for_current())
    apply(host.install(make_pair("one"), "v1"))
    started = host.start("--picks-up", "start")
    with pytest.raises(UserError, match="put back"):
        apply(host.install(make_pair("two"), "v2", reload="auto", probe={"timeout": 0.5}))
    assert started.poll() is None


@pytest.mark.parametrize("is_proven", [True, False])
def test_no_signal_is_sent_to_one_that_says_it_is_too_old_and_that_is_said(
    host: t.Any, make_pair: t.Any, monkeypatch: pytest.MonkeyPatch, is_proven: bool
) -> None:
    monkeypatch.setattr(prove, "WATCH_SECONDS", 0.2)
    monkeypatch.setattr(prove.Prover, "_version", lambda self, pid: (0, 28))
    host.config_path.write_bytes(host.configured_for_current())
    apply(host.install(make_pair("one"), "v1"))
    started = host.start("--picks-up", "start")
    params = host.install(make_pair("two"), "v2", reload="signal", probe={"timeout": 0.5, "enabled": is_proven})
    warnings: list[str] = []
    if is_proven:
        with pytest.raises(UserError, match="not tried: restart: reload is signal, signal: Pomerium 0.28 would end"):
            transaction.apply(params, warnings.append)
    else:
        assert transaction.apply(params, warnings.append)["reloaded"] == "none"
        assert "signal: Pomerium 0.28 would end by it" in warnings[0]
    assert started.poll() is None


def test_what_killed_runs_left_is_removed_by_the_next_install_and_counts_as_a_change(
    running: t.Any, make_pair: t.Any
) -> None:
    before = running.snapshot()
    left = leave(running)
    assert apply(running.install(make_pair("one"), "v1"))["changed"] is True
    assert not [path for path in left if os.path.lexists(str(path))]
    assert running.snapshot() == before


def test_a_configuration_that_changes_while_the_old_one_is_looked_at_is_left_alone(
    running: t.Any, make_pair: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look may take seconds, and an editor's save in these seconds would be lost."""
    look = prove.Prover.look
    edited: list[dict[str, t.Any]] = []

    def edit(self: prove.Prover) -> t.Any:
        if not edited:
            with running.config_path.open("a") as file:
                file.write("by_hand: true\n")
            versions = running.home / "versions"
            edited.append({key: seen for key, seen in running.snapshot().items() if f"{versions.name}/v2" not in key})
        return look(self)

    monkeypatch.setattr(prove.Prover, "look", edit)
    params = running.install(make_pair("two"), "v2", config=running.configured_for_current(x=1))
    assert apply(params) == {"changed": False, "stale": True}
    after = running.snapshot()
    assert {key: after.get(key) for key in edited[0] if ".current" not in key} == {
        key: seen for key, seen in edited[0].items() if ".current" not in key
    }
    assert sorted(path.name for path in running.home.iterdir()) == [".lock", "current", "proven.json", "versions"]
    assert [path.name for path in (running.home / "versions").iterdir()] == ["v1"]


KILL_BEFORE_THE_LINK_GOES_BACK = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.zerotrust.pomerium.plugins.module_utils import _versions
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import transaction
_versions.Versions.switch_back = lambda self: os.kill(os.getpid(), signal.SIGKILL)
transaction.apply(json.load(sys.stdin), print)
"""


def test_killed_while_it_rolls_back_the_configuration_never_points_at_nothing(host: t.Any, make_pair: t.Any) -> None:
    """A first install: while the configuration names `current`, that has to be there, or a restart is fatal."""
    old = make_pair("old")
    (host.root / "old.pem").write_bytes(old.fullchain + old.key)
    host.configure(certificate_file=host.root / "old.pem", certificate_key_file=host.root / "old.pem")
    host.start("--picks-up", "start")
    before = host.config_path.read_bytes()
    params = host.install(make_pair("one"), "v1", config=host.configured_for_current(), reload="none")
    command = [sys.executable, "-c", KILL_BEFORE_THE_LINK_GOES_BACK, str(Path(transaction.__file__).parents[6])]
    done = subprocess.run(command, input=json.dumps(params).encode(), check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert host.config_path.read_bytes() == before
    assert (host.home / "current" / "fullchain.pem").exists()


def test_where_the_configuration_cannot_be_put_back_the_new_set_stays_whole(
    host: t.Any, make_pair: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_pair("old")
    (host.root / "old.pem").write_bytes(old.fullchain + old.key)
    host.configure(certificate_file=host.root / "old.pem", certificate_key_file=host.root / "old.pem")
    host.start("--picks-up", "start")

    def refuse(self: ConfigFile) -> None:
        raise OSError(30, "Read-only file system", self.path)

    monkeypatch.setattr(ConfigFile, "put_back", refuse)
    with pytest.raises(
        UserError, match="leaf .* is served.*not all could be put back.*Read-only file system"
    ) as caught:
        apply(host.install(make_pair("one"), "v1", config=host.configured_for_current(), reload="none"))
    assert caught.value.facts["rolled_back"] is False
    assert host.config_path.read_bytes() == host.configured_for_current()
    assert (host.home / "current" / "fullchain.pem").read_bytes() == make_pair("one").fullchain


def test_old_versions_go_and_the_last_ones_stay(running: t.Any, make_pair: t.Any) -> None:
    for number, name in enumerate(("two", "three", "four"), start=2):
        apply(running.install(make_pair(name), f"v{number}", keep_versions=2))
    assert sorted(path.name for path in (running.home / "versions").iterdir()) == ["v3", "v4"]


def test_a_damaged_version_is_replaced_beside_it(running: t.Any, make_pair: t.Any) -> None:
    (running.home / "versions" / "v1" / "privkey.pem").chmod(0o644)
    result = apply(running.install(make_pair("one"), "v1"))
    assert (result["changed"], result["version"]) == (True, "v1.1")
    assert oct((running.home / "current" / "privkey.pem").stat().st_mode) == oct(0o100640)


def test_without_a_proof_the_measure_that_was_asked_for_is_taken(running: t.Any, make_pair: t.Any) -> None:
    result = apply(running.install(make_pair("two"), "v2", reload="signal", probe={"enabled": False}))
    assert (result["served"], result["reloaded"]) == (None, "signal")


KILL_ME = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import transaction
original = transaction._Transaction._prove
def prove(self, before):
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    return original(self, before)
transaction._Transaction._prove = prove
print(json.dumps(transaction.apply(json.load(sys.stdin), print)))
"""


def test_signals_of_a_closing_connection_are_ignored_from_the_switch_on(running: t.Any, make_pair: t.Any) -> None:
    collections = str(Path(transaction.__file__).parents[6])
    command = [sys.executable, "-c", KILL_ME, collections]
    done = subprocess.run(
        command,
        input=json.dumps(running.install(make_pair("two"), "v2")).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=30,
    )
    assert json.loads(done.stdout)["changed"] is True
    assert served(running) == make_pair("two").sha256


def test_signals_mean_what_they_meant_afterwards(running: t.Any, make_pair: t.Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    apply(running.install(make_pair("two"), "v2"))
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str], Path]:
    """A `systemctl` and a `journalctl` of our own; the log of their calls is returned."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(prove, "RESTART_SECONDS", 2.0)
    monkeypatch.setattr(prove, "WATCH_SECONDS", 0.2)

    def says(show: str) -> Path:
        log = tmp_path / "calls"
        for name, answer in (("systemctl", show), ("journalctl", "bad cert file: permission denied")):
            script = tmp_path / "bin" / name
            script.write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\ncat <<EOF\n{answer}\nEOF\n')
            script.chmod(0o755)
        return log

    return says


def unit(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    found = Process(state=state, unit="pomerium", gid=os.getegid())
    monkeypatch.setattr(transaction, "find_process", lambda service, config_path: found)


def test_a_unit_that_failed_is_started_and_its_journal_is_quoted_when_it_dies(
    host: t.Any, make_pair: t.Any, systemd: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = systemd("ActiveState=failed")
    unit(monkeypatch, "failed")
    with pytest.raises(UserError, match="bad cert file: permission denied") as caught:
        apply(host.install(make_pair("one"), "v1"))
    assert (caught.value.facts["rolled_back"], caught.value.facts["reloaded"]) == (True, "start")
    assert "systemctl start --no-block -- pomerium" in log.read_text()
    assert not os.path.lexists(str(host.home / "current"))


def test_where_systemd_would_start_an_old_definition_that_is_said(
    host: t.Any, make_pair: t.Any, systemd: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd("ActiveState=inactive")
    found = Process(state="stopped", unit="pomerium", gid=os.getegid(), needs_daemon_reload=True)
    monkeypatch.setattr(transaction, "find_process", lambda service, config_path: found)
    warnings: list[str] = []
    transaction.apply(host.install(make_pair("one"), "v1"), warnings.append)
    assert len(warnings) == 1
    assert "systemctl daemon-reload" in warnings[0]
    transaction.apply(host.install(make_pair("two"), "v2", reload="signal"), warnings.append)
    assert len(warnings) == 1


@pytest.mark.parametrize(("state", "reload"), [("stopped", "auto"), ("failed", "none"), ("never_started", "signal")])
def test_a_unit_that_may_not_be_started_is_not(
    host: t.Any, make_pair: t.Any, systemd: t.Any, monkeypatch: pytest.MonkeyPatch, state: str, reload: str
) -> None:
    log = systemd("ActiveState=inactive")
    unit(monkeypatch, state)
    result = apply(host.install(make_pair("one"), "v1", reload=reload))
    assert result["served"]["state"] == "not_listening"
    assert not log.exists()


def test_a_unit_that_failed_is_served_after_its_start(
    host: t.Any, make_pair: t.Any, systemd: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd("ActiveState=active")
    unit(monkeypatch, "never_started")
    host.config_path.write_bytes(host.configured_for_current())
    start = prove.Prover._start

    def really(self: prove.Prover) -> str:
        host.start()
        return start(self)

    monkeypatch.setattr(prove.Prover, "_start", really)
    result = apply(host.install(make_pair("one"), "v1"))
    assert (result["reloaded"], result["served"]["sha256"]) == ("start", make_pair("one").sha256)
