# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a look at the host decides: what is refused, and what there is to do."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import process


def test_the_environment_that_a_unit_would_be_started_with_wins_as_well(
    make_site: t.Any, bundle: t.Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packaged Pomerium is down, so there is no process to ask: systemd tells what it would get."""
    site = make_site("packaged")
    (tmp_path / "file").write_text("CERTIFICATE_KEY=hunter2\n")
    argv = f"{{ path=/x ; argv[]=/usr/sbin/pomerium -config {site.pomerium.config_path} ; x }}"
    answer = "LoadState=loaded\nActiveState=failed\nSubState=failed\nMainPID=0\nUser=root\nEnvironment=AUTOCERT=true\n"
    answer += f"EnvironmentFiles={tmp_path}/file (ignore_errors=no)\nExecStart={argv}"
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\ncat <<'EOF'\n{answer}\nEOF\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(process, "SYSTEMD", str(tmp_path))
    before = site.snapshot()
    with pytest.raises(
        UserError, match="environment of Pomerium wins .* AUTOCERT, CERTIFICATE_KEY. .* of pomerium "
    ) as caught:
        site.install(bundle())
    assert "hunter2" not in str(caught.value) + repr(caught.value.facts)
    assert site.snapshot() == before


def test_what_a_killed_run_left_is_removed_by_a_run_that_has_nothing_else_to_do(site: t.Any, bundle: t.Any) -> None:
    one = bundle()
    site.install(one)
    before = site.snapshot()
    left = site.pomerium.etc / ".config.yaml.abcd1234.zerotrust-new"
    left.write_text("hunter2")
    would = site.install(one, check=True)
    assert (would["changed"], would["msg"]) == (True, "would remove what a killed run left")
    assert left.exists()
    done = site.install(one)
    assert (done["changed"], site.action.steps) == (True, ["look", "apply"])
    assert site.snapshot() == before
    assert site.install(one)["changed"] is False
