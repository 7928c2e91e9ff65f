# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host keeps for the fleet: root's alone, whole or not at all, and its keys only for who asks by name."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils import _files
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import pending
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.look import look
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.transaction import apply

ORDER = json.dumps({"order": {"order_uri": "https://ca/order/1", "key_sha256": "ab"}}).encode()
KEY = b"-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\n"
STATE = b'{"account_uri": "https://ca/account/1"}\n'


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def staging(host: t.Any, files: t.Mapping[str, bytes] | None, state: bytes | None = STATE) -> dict[str, t.Any]:
    """Stage these files on the host, and give what it answers."""
    listed = None if files is None else [{"name": name, "content": encoded(data)} for name, data in files.items()]
    return pending.stage(host.params(files=listed, state=None if state is None else encoded(state)))


def install(host: t.Any, pair: t.Any, version: str) -> dict[str, t.Any]:
    """Install on a host where no Pomerium runs."""
    return apply(host.install(pair, version), lambda text: None)


def kept(host: t.Any) -> dict[str, t.Any]:
    return t.cast("t.Dict[str, t.Any]", look(host.params(kept=True))["kept"])


def test_a_new_host_keeps_an_order_with_its_key_for_root_alone(host: t.Any) -> None:
    assert kept(host) == {"bundles": [], "order": None, "has_key": False, "state": None, "is_writable": True}
    assert staging(host, {"order.json": ORDER, "privkey.pem": KEY}) == {"changed": True}
    seen = kept(host)
    assert (seen["order"], seen["has_key"], seen["state"]) == (encoded(ORDER), True, encoded(STATE))
    assert KEY.decode() not in json.dumps(look(host.params(kept=True)))
    made = [host.home / "pending", *(host.home / "pending").iterdir(), host.home / "state.json"]
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in made} == {0}
    assert staging(host, {"order.json": ORDER, "privkey.pem": KEY}) == {"changed": False}


def test_what_is_not_sent_goes_and_what_is_left_out_stays(host: t.Any) -> None:
    staging(host, {"order.json": ORDER, "privkey.pem": KEY})
    (host.home / "pending/.privkey.pem.killed00.zerotrust-new").write_bytes(KEY)
    assert staging(host, None, b"{}\n") == {"changed": True}
    assert kept(host)["order"] == encoded(ORDER) and kept(host)["state"] == encoded(b"{}\n")
    assert staging(host, {"privkey.pem": KEY, "fullchain.pem": b"chain"}) == {"changed": True}
    assert sorted(os.listdir(host.home / "pending")) == ["fullchain.pem", "privkey.pem"]
    assert staging(host, {}, None) == {"changed": True}
    assert not (host.home / "pending").exists() and kept(host)["state"] == encoded(STATE)


def test_the_old_order_is_gone_before_its_key_is_replaced(host: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is killed anywhere has no order without its key."""
    staging(host, {"order.json": ORDER, "privkey.pem": KEY})
    written: list[tuple[str, bool]] = []
    write_file = _files.write_file

    def write(path: str, data: bytes, **how: t.Any) -> None:
        written.append((os.path.basename(path), (host.home / "pending/order.json").exists()))
        write_file(path, data, **how)

    monkeypatch.setattr(_files, "write_file", write)
    staging(host, {"order.json": ORDER.replace(b"/1", b"/2"), "privkey.pem": KEY.replace(b"MIG", b"MIH")})
    assert written == [("privkey.pem", False), ("order.json", False)]


def test_a_key_is_given_for_its_order_or_its_certificate_alone(host: t.Any, make_pair: t.Any) -> None:
    staging(host, {"order.json": ORDER, "privkey.pem": KEY})
    assert pending.fetch(host.params(order_uri="https://ca/order/1")) == {"leaf": None, "order": encoded(KEY)}
    assert pending.fetch(host.params(order_uri="https://ca/order/2")) == {"leaf": None, "order": None}
    assert pending.fetch(host.params(order_uri=None)) == {"leaf": None, "order": None}
    pair = make_pair("one")
    install(host, pair, "v1")
    assert pending.fetch(host.params(order_uri=None, leaf_sha256=pair.sha256)) == {
        "leaf": encoded(pair.key),
        "order": None,
    }
    assert pending.fetch(host.params(order_uri=None, leaf_sha256=hashlib.sha256(b"").hexdigest()))["leaf"] is None


def test_what_is_pending_ends_with_the_install_of_its_key(host: t.Any, make_pair: t.Any) -> None:
    """Also where the install was killed before it could say so: then it is litter, which the next one removes."""
    pair, other = make_pair("one"), make_pair("two")
    staging(host, {"order.json": ORDER, "privkey.pem": pair.key})
    install(host, other, "v0")
    assert (host.home / "pending/order.json").exists(), "another certificate's"
    install(host, pair, "v1")
    assert not (host.home / "pending").exists()
    staging(host, {"order.json": ORDER, "privkey.pem": pair.key})
    assert look(host.params(kept=True))["leftovers"] == [str(host.home / "pending")]
    assert install(host, pair, "v1")["changed"]
    assert not (host.home / "pending").exists()


def test_bundles_are_told_with_what_is_wrong_with_them(host: t.Any, make_pair: t.Any) -> None:
    pair, other = make_pair("one"), make_pair("two")
    install(host, pair, "v1")
    staging(host, {"fullchain.pem": other.fullchain, "privkey.pem": pair.key, "meta.json": b"{}"})
    current, waiting = kept(host)["bundles"]
    assert (current["is_current"], current["chain"], current["problem"]) == (True, encoded(pair.fullchain), None)
    assert (waiting["is_current"], waiting["meta"], waiting["problem"]) == (
        False,
        encoded(b"{}"),
        "KEY_VALUES_MISMATCH",
    )


def test_a_key_that_does_not_travel_is_the_one_of_the_version_in_use(host: t.Any, make_pair: t.Any) -> None:
    pair = make_pair("one")
    install(host, pair, "v1")
    again = host.install(pair, "v1")
    again["files"] = [
        {"name": "privkey.pem", "content": None, "mode": "0640"},
        {"name": "fullchain.pem", "content": encoded(pair.fullchain), "mode": "0600"},
    ]
    assert apply(again, lambda text: None)["version"] == "v1.1"
    assert (host.home / "current/privkey.pem").read_bytes() == pair.key


def test_a_host_that_cannot_be_written_says_so_without_a_try(host: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.statvfs(str(host.root))
    monkeypatch.setattr(
        os, "statvfs", lambda path: type("Full", (), {"f_flag": 0, "f_bavail": 1, "f_frsize": found.f_frsize})
    )
    assert not kept(host)["is_writable"]


def test_a_place_that_somebody_else_could_turn_is_refused(host: t.Any) -> None:
    (host.root / "elsewhere").mkdir()
    host.directory.symlink_to(host.root / "elsewhere")
    with pytest.raises(UserError, match="symbolic link"):
        staging(host, {"privkey.pem": KEY})
    assert not list((host.root / "elsewhere").iterdir())


def test_a_planted_directory_is_not_used(host: t.Any) -> None:
    staging(host, {})
    (host.root / "elsewhere").mkdir()
    (host.home / "pending").symlink_to(host.root / "elsewhere")
    staging(host, {"privkey.pem": KEY})
    assert not (host.home / "pending").is_symlink() and not list(Path(host.root / "elsewhere").iterdir())
