# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pomerium_certificate through ansible-playbook, on lab hosts: installed and served, or refused and untouched."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority, Issued
from ansible_collections.zerotrust.pomerium.tests.lab.playbooks import Ansible, PlaybookRun
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_host import COLLECTIONS, PomeriumHost
from ansible_collections.zerotrust.pomerium.tests.lab.secret_forms import key_forms

NAMES = ("*.corp.example.com", "corp.example.com")


class Site:
    """Hosts, and certificates in files on the controller; tasks are run by ansible-playbook."""

    def __init__(self, directory: Path, *hosts: PomeriumHost) -> None:
        self.directory, self.hosts = directory, hosts
        self.authority = Authority("Lab CA")
        self.sources = directory / "sources"
        self.sources.mkdir()
        self.inventory_path, vars_path = directory / "inventory.yml", directory / "vars.yml"
        inventory = {"pomerium": {"hosts": {host.name: host.inventory() for host in hosts}}}
        self.inventory_path.write_text(yaml.safe_dump(inventory))
        vars_path.write_text("{}\n")
        self.ansible = Ansible(
            directory, collections=COLLECTIONS, inventory_path=self.inventory_path, vars_path=vars_path
        )

    @property
    def host(self) -> PomeriumHost:
        return self.hosts[0]

    @property
    def current(self) -> Path:
        return self.host.tls_directory / "pomerium" / "current"

    def issue(self, *names: str, **how: t.Any) -> Issued:
        """Issue a certificate and lay it where the task takes it from."""
        issued = self.authority.issue(*(names or NAMES), **how)
        self.lay(issued)
        return issued

    def lay(self, issued: Issued) -> None:
        issued.write(self.sources / "fullchain.pem", self.sources / "privkey.pem")

    def run(self, *arguments: str, module: str = "pomerium_certificate", **options: t.Any) -> PlaybookRun:
        """Run the module in a play on the hosts; its result is written to a file of each host."""
        own: dict[str, t.Any] = {}
        if module == "pomerium_certificate":
            own = {kind: str(self.sources / file) for kind, file in SOURCES.items()}
            own["probe"] = {"timeout": 2}
        own.update(config_path="{{ pomerium_config_path }}", directory="{{ pomerium_directory }}")
        task = {"name": "Install", f"zerotrust.pomerium.{module}": {**own, **options}, "register": "result"}
        keep = {
            "name": "Keep the result",
            "ansible.builtin.copy": {
                "content": "{{ result | to_json }}",
                "dest": str(self.directory / "result-{{ inventory_hostname }}.json"),
                "mode": "0600",
            },
            "check_mode": False,
            "diff": False,
            "no_log": True,
        }
        task["ignore_errors"] = True
        play = {"name": "Play", "hosts": "pomerium", "gather_facts": False, "tasks": [task, keep]}
        playbook = self.directory / "play.yml"
        playbook.write_text(yaml.safe_dump([play], sort_keys=False))
        run = self.ansible.run(playbook, *arguments)
        assert run.rc == 0, run.output
        return run

    def install(self, *arguments: str, **options: t.Any) -> dict[str, t.Any]:
        """Run it and give the result of the first host."""
        self.run(*arguments, **options)
        return self.result()

    def result(self, host: str | None = None) -> dict[str, t.Any]:
        path = self.directory / f"result-{host or self.host.name}.json"
        return t.cast("dict[str, t.Any]", json.loads(path.read_text()))

    def snapshot(self) -> dict[str, t.Any]:
        """The configuration's directory and the installed files, byte for byte; the lock is no file of the bundle."""
        found: dict[str, t.Any] = {}
        for path in [*self.host.etc.rglob("*"), *self.host.tls_directory.rglob("*")]:
            if path.name != ".lock":
                content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
                found[str(path)] = (path.lstat().st_mode, content)
        return found


SOURCES = {"fullchain_src": "fullchain.pem", "private_key_src": "privkey.pem"}


@pytest.fixture
def make_site(tmp_path: Path) -> t.Iterator[t.Callable[..., Site]]:
    """Make hosts and what is run on them."""
    made: list[PomeriumHost] = []

    def make(*names: str, config: t.Any = "configured", **environment: str) -> Site:
        for name in names or ("pom1",):
            host = PomeriumHost(tmp_path / "hosts" / name, name, config=config, environment=environment)
            made.append(host)
            host.attempt()
        return Site(tmp_path, *made)

    yield make
    for host in made:
        host.close()


@pytest.fixture
def site(make_site: t.Callable[..., Site]) -> Site:
    return make_site()


def executions(run: PlaybookRun) -> int:
    """How many modules ran on the host, as -vvv tells (the test's own `copy` is not ours)."""
    return run.output.count("Using module file") - run.output.count("/ansible/modules/")


def test_first_install_sets_three_settings_and_our_leaf_is_served(site: Site) -> None:
    issued = site.issue()
    result = site.install()
    assert result["changed"] is True, result
    added = "".join(
        f"{key}: {site.current / name}\n"
        for key, name in (
            ("certificate_file", "fullchain.pem"),
            ("certificate_key_file", "privkey.pem"),
            ("certificate_authority_file", "ca.pem"),
        )
    )
    assert site.host.config_text == site.host.original_config_text + added
    assert Path(result["backup_file"]).read_text() == site.host.original_config_text
    served = site.host.served()
    assert served.leaf == issued.certificate
    assert served.chain[1:] == [site.authority.certificate]
    assert site.host.visit("app.corp.example.com", root_pem=site.authority.pem)


def test_second_run_changes_nothing_by_one_module_execution(site: Site) -> None:
    site.issue()
    first = site.run("-vvv")
    before = site.snapshot()
    second = site.run("-vvv")
    assert site.result()["changed"] is False
    assert (executions(first), executions(second)) == (3, 1)
    assert site.snapshot() == before


def test_renewal_does_not_touch_the_configuration(site: Site) -> None:
    site.issue()
    site.install()
    before = site.host.config_path.stat()
    renewed = site.issue()
    run = site.run("-vvv")
    result = site.result()
    assert executions(run) == 2
    assert (result["changed"], result["backup_file"], result["served"]["is_ours"]) == (True, None, True)
    assert site.host.served().leaf == renewed.certificate
    assert site.host.config_path.stat() == before


def test_check_mode_changes_nothing_and_says_what_would(site: Site) -> None:
    site.issue()
    before = site.snapshot()
    result = site.install("--check", "--diff")
    assert result["changed"] is True
    assert result["msg"].startswith("would install version")
    assert site.snapshot() == before


def test_check_mode_without_a_certificate_would_install_and_fails_nothing(site: Site) -> None:
    result = site.install("--check")
    assert (result["changed"], result["failed"]) == (True, False)
    assert result["msg"].startswith("would install: ")
    assert "fullchain.pem" in result["msg"]
    failed = site.install()
    assert failed["failed"] is True
    assert "fullchain_src" in failed["msg"]


def test_packaged_configuration_works_out_of_the_box(make_site: t.Callable[..., Site]) -> None:
    site = make_site(config="packaged")
    issued = site.issue()
    result = site.install()
    assert len(result["removed_shadowing"]) == 1
    assert result["served"]["state"] == "not_listening"
    site.host.start()
    assert site.host.served().leaf == issued.certificate
    assert site.install()["changed"] is False


def test_what_pomerium_does_not_serve_is_rolled_back(make_site: t.Callable[..., Site]) -> None:
    """Pomerium before 0.13 watches its configuration only: a renewal goes unnoticed, and a reload is not allowed."""
    site = make_site(POMERIUM_STANDIN_VERSION="0.12")
    if site.host.is_real:
        pytest.skip("the real Pomerium here watches its files; this needs an old one")
    first = site.issue()
    assert site.install()["served"]["is_ours"] is True
    before = site.snapshot()
    site.issue()
    result = site.install(reload="none")
    assert (result["failed"], result["rolled_back"]) == (True, True)
    assert "everything was put back" in result["msg"]
    assert site.snapshot() == before
    assert site.host.served().leaf == first.certificate


def test_a_first_install_that_is_not_served_puts_the_configuration_back(site: Site) -> None:
    """A port that another process serves: the certificate can never be seen there."""
    site.issue()
    before = {path: seen for path, seen in site.snapshot().items() if str(site.host.tls_directory) not in path}
    with Plain() as port:
        result = site.install(probe={"timeout": 1, "port": port})
    assert (result["failed"], result["rolled_back"], result["served"]["state"]) == (True, True, "no_tls")
    assert site.host.config_text == site.host.original_config_text
    assert not os.path.lexists(site.current)
    after = {path: seen for path, seen in site.snapshot().items() if str(site.host.tls_directory) not in path}
    assert after == before


class Plain:
    """A server that is no TLS server."""

    def __enter__(self) -> int:
        import socket

        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return int(self._listener.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                connection, _peer = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"220 mail.example.com ready\r\n")

    def __exit__(self, *_exception: object) -> None:
        import socket

        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


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
    good = site.issue()
    site.install()
    before = site.snapshot()
    site.lay(make(site))
    result = site.install(expect_names=["app.corp.example.com"])
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
    runs = [site.run(*talk, "--diff"), site.run(*talk, "--diff")]
    site.issue()
    runs.append(site.run(*talk, "--diff", "--check"))
    runs.append(site.run(*talk, "--diff"))
    with site.host.config_path.open("a") as file:
        file.write("x:\n\t- 1\n")
    runs.append(site.run(*talk, "--diff"))
    assert site.result()["failed"] is True
    runs.append(site.run(*talk, module="pomerium_certificate_info"))
    assert all("ANSWERED" in run.output for run in runs)
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
    output = "".join(run.output for run in runs)
    written = "".join(path.read_text(errors="replace") for path in site.directory.glob("result-*.json"))
    assert not [what for what, form in forms.items() if form in output or form in written]
    assert "shared_secret" not in output


def test_nothing_is_readable_by_others_at_any_time(site: Site) -> None:
    """The key's directory and every file that holds private bytes, looked at again and again while it is written."""
    site.issue()
    open_files: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for path in site.host.directory.rglob("*"):
                try:
                    seen = path.lstat()
                    is_secret = stat.S_ISREG(seen.st_mode) and b"PRIVATE KEY" in path.read_bytes()
                except OSError:
                    continue
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


def test_shadowing_is_refused_by_name_and_removed_where_allowed(site: Site) -> None:
    live = site.authority.issue("app.corp.example.com")
    cert, key = site.host.etc / "own.pem", site.host.etc / "own.key"
    live.write(cert, key)
    with site.host.config_path.open("a") as file:
        file.write(f"certificates: # by hand\n  - cert: {cert}\n    key: {key}\n")
    issued = site.issue()
    before = site.snapshot()
    refused = site.install()
    assert refused["failed"] is True
    assert refused["shadowing"] == [f"certificates[0] ({cert} for app.corp.example.com)"]
    assert site.snapshot() == before
    assert site.install(shadowing="remove")["removed_shadowing"] == refused["shadowing"]
    assert site.host.served().leaf == issued.certificate


def test_environment_that_wins_is_named(make_site: t.Callable[..., Site]) -> None:
    site = make_site(AUTOCERT="true")
    site.issue()
    result = site.install()
    assert result["failed"] is True
    assert "AUTOCERT" in result["msg"]


def test_a_host_that_fails_does_not_keep_another_from_its_certificate(make_site: t.Callable[..., Site]) -> None:
    site = make_site("pom1", "pom2")
    issued = site.issue()
    site.host.config_path.rename(site.host.etc / "pomerium.yaml")
    site.run()
    failed = site.result("pom1")
    assert failed["failed"] is True
    assert str(site.host.etc / "pomerium.yaml") in failed["msg"]
    assert site.hosts[1].served().leaf == issued.certificate


def test_key_and_chain_may_come_as_text_and_empty_options_do_not_count(site: Site) -> None:
    issued = site.authority.issue(*NAMES)
    content = {"fullchain_content": issued.fullchain_pem.decode(), "private_key_content": issued.key_pem.decode()}
    result = site.install(fullchain_src="", private_key_src="", group="", **content)
    assert result["changed"] is True
    assert site.host.served().leaf == issued.certificate


def test_a_key_from_ansible_vault_is_read(site: Site) -> None:
    import subprocess
    import sys

    site.issue()
    (site.directory / "password").write_text("open sesame\n")
    vault = str(Path(sys.executable).with_name("ansible-vault"))
    command = [vault, "encrypt", "--vault-password-file", str(site.directory / "password")]
    subprocess.run([*command, str(site.sources / "privkey.pem")], check=True, env=site.ansible.environment)
    result = site.install("--vault-password-file", str(site.directory / "password"))
    assert result["served"]["is_ours"] is True


def test_info_says_what_is_configured_installed_and_served(site: Site) -> None:
    issued = site.issue()
    site.install()
    run = site.run("-vvv", module="pomerium_certificate_info")
    result = site.result()
    assert executions(run) == 1
    assert result["changed"] is False
    assert result["installed"]["serial"] == f"{issued.certificate.serial_number:x}"
    assert result["served"]["is_ours"] is True
    assert result["configured"]["keys"]["certificate_file"] == str(site.current / "fullchain.pem")
    assert result["runtime"]["pid"] == site.host.pid
