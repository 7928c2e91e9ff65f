# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Traps of the `acme` library (notes: T1 to T18): what of it is used at all, and with what is on top of it."""

from __future__ import annotations

import ast
import inspect
import resource
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils import _wait
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme import finalize, resources, transport
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.session import Session
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.step_order import place_order
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput
from ansible_collections.zerotrust.pomerium.tests.unit.plugins.module_utils._acme.scripted_ca import Answer, ScriptedCa

PLUGINS = Path(inspect.getfile(_wait)).parents[1]
USED = {
    "challenges": {"DNS01Response"},
    "client": {"ClientNetwork"},
    "errors": {"ClientError", "Error", "NonceError"},
    "jws": {"JWS"},
    "messages": {
        *("CertificateRequest", "Directory", "Error", "ExternalAccountBinding", "IDENTIFIER_FQDN", "Identifier"),
        *("NewOrder", "NewRegistration", "Registration", "RegistrationResource", "Revocation", "UpdateAuthorization"),
        "UpdateRegistration",
    },
}
"""What of the library is used, by its modules: no ClientV2, and no class that reads an order or an authorization."""


def trees() -> t.Iterator[tuple[str, ast.Module]]:
    for path in sorted(PLUGINS.rglob("*.py")):
        yield str(path.relative_to(PLUGINS)), ast.parse(path.read_text())


def test_only_what_signs_and_sends_is_used_of_the_library() -> None:
    """T5, T6, T7, T11, T12, T13, T14, T15, T16: not its client, which polls, answers and downloads; nor what reads."""
    used: dict[str, set[str]] = {}
    for _name, tree in trees():
        nodes = list(ast.walk(tree))
        imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
        ours = {alias.name for node in imports if node.module == "acme" for alias in node.names}
        assert not [node.module for node in imports if (node.module or "").startswith("acme.")]
        assert not [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names if "acme" in a.name]
        for node in nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours:
                used.setdefault(node.value.id, set()).add(node.attr)
    assert used == USED


def test_t15_no_wait_asks_the_clock_on_the_wall() -> None:
    """A step of the clock, or the end of summer time, makes no wait longer or shorter."""
    for wait in (_wait.until, transport.Network):
        assert inspect.signature(wait).parameters["clock"].default is time.monotonic
    calls = [
        (name, ast.unparse(node))
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    naive = ("datetime.now()", "datetime.utcnow()", "datetime.today()")
    assert not [call for call in calls if call[1].endswith(naive)]
    assert [name for name, call in calls if call == "time.time()"] == ["module_utils/_host/prove.py"]


@pytest.mark.parametrize("kind", ["dns-01", "dns-account-01", "dns-persist-01"])
def test_t1_t7_a_challenge_is_answered_with_an_empty_object_and_needs_no_link_back(
    tls_ca: ScriptedCa, session: Session, kind: str
) -> None:
    """Not with an empty text, which only reads: the challenge would never start. `up` is not needed either."""
    challenge = resources.Challenge(kind, f"{tls_ca.url}challenge/1", "pending", "abc", None)
    asked = resources.Authorization(f"{tls_ca.url}authz/1", "a.example", False, "pending", None, (challenge,))
    tls_ca.script = [Answer(200, {"type": kind, "status": "processing"})]
    finalize._answer(session, asked, kind)
    assert tls_ca.payloads == [b"{}"]


def test_r39_acme_order_on_a_full_disk_sends_nothing(
    tls_ca: ScriptedCa, options: dict[str, t.Any], tmp_path: Path
) -> None:
    state = {"identifiers": ["a.example"], "challenge": "dns-01", "state_path": str(tmp_path / "state.json")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(BadInput, match=r"state_path .*cannot be written \(File too large\)"):
            place_order({**options, **state}, check=False, warn=pytest.fail)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert tls_ca.requests == [] and not (tmp_path / "state.json").exists()
