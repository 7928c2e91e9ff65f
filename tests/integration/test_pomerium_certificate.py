# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""pomerium_certificate through ansible-playbook, on lab hosts: installed and served, or everything put back."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.pomerium_tasks import (
    NAMES,
    Plain,
    Site,
    executions,
)


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


def test_second_run_changes_nothing_by_one_module_execution(site: Site) -> None:
    site.issue()
    first = site.run("-vvv")
    before = site.snapshot()
    second = site.run("-vvv")
    assert site.result()["changed"] is False
    assert (executions(first), executions(second)) == (3, 1)
    assert site.snapshot() == before


def test_renewal_does_not_touch_the_configuration(site: Site) -> None:
    site.serve()
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
    first = site.serve()
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
    site.issue()
    (site.directory / "password").write_text("open sesame\n")
    vault = str(Path(sys.executable).with_name("ansible-vault"))
    command = [vault, "encrypt", "--vault-password-file", str(site.directory / "password")]
    subprocess.run([*command, str(site.sources / "privkey.pem")], check=True, env=site.ansible.environment)
    result = site.install("--vault-password-file", str(site.directory / "password"))
    assert result["served"]["is_ours"] is True


def test_info_says_what_is_configured_installed_and_served(site: Site) -> None:
    issued = site.serve()
    run = site.run("-vvv", module="pomerium_certificate_info")
    result = site.result()
    assert executions(run) == 1
    assert result["changed"] is False
    assert result["installed"]["serial"] == f"{issued.certificate.serial_number:x}"
    assert result["served"]["is_ours"] is True
    assert result["configured"]["settings"]["certificate_file"] == str(site.current / "fullchain.pem")
    assert result["runtime"]["pid"] == site.host.pid
