# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""R45 for the ACME modules: no secret is printed, returned, remembered, an argument, or readable by others."""

from __future__ import annotations

import json
import os
import stat
import typing as t
from pathlib import Path

import josepy
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import Controller, made, printed, tree
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import key_pem, new_key
from ansible_collections.zerotrust.pomerium.tests.lab.secret_forms import key_forms
from ansible_collections.zerotrust.pomerium.tests.lab.watcher import ProcessWatcher, Watcher
from cryptography.hazmat.primitives import serialization

LOUD = ("-vvvv", "--diff")
EAB = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
PASSPHRASE = "correct horse battery staple"


class FileWatcher(Watcher):
    """Looks at every file below a directory: its mode, and what is in it where others may read it."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self.modes: set[tuple[str, int]] = set()
        self.open_to_others: dict[str, bytes] = {}

    def _look(self) -> None:
        self._take_files(str(self._directory))

    def _take_files(self, directory: str) -> None:
        """Go down only where others could; what nobody else can enter hides all below it."""
        try:
            entries = list(os.scandir(directory))
        except OSError:  # it is gone
            return
        for entry in entries:
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISREG(mode):
                    self.modes.add((entry.name, stat.S_IMODE(mode)))
                    if mode & 0o044:
                        self.open_to_others[entry.path] = Path(entry.path).read_bytes()
            except OSError:
                continue
            if stat.S_ISDIR(mode):
                self._take_files(entry.path)


def sealed(path: Path) -> None:
    """Write an account key that is encrypted, so that its passphrase is an option."""
    key = new_key("ec-256")
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSPHRASE.encode()),
        )
    )
    path.chmod(0o600)


def secrets(controller: Controller, *key_paths: Path) -> dict[str, str]:
    """What must not be seen: these keys in all their forms, passphrase and MAC key."""
    found = {"the passphrase": PASSPHRASE, "the EAB key": EAB["kid-1"]}
    for path in key_paths:
        found.update({f"{path.parent.name}/{what}": form for what, form in key_forms(path).items()})
    return found


def seen(secret: t.Mapping[str, str], text: str) -> list[str]:
    return [what for what, form in secret.items() if form in text]


def test_r45_keys_given_as_options_are_nowhere_in_what_is_printed_or_returned(
    start: t.Callable[..., Controller],
) -> None:
    """The account key as text, the certificate's key as text, its passphrase, the EAB key; also where a task fails."""
    controller = start(pebble={"eab_keys": EAB, "eab_required": True})
    home = controller.home
    account, certificate = home / "account-text.pem", home / "certificate-text.pem"
    for path in (account, certificate):
        path.write_bytes(key_pem(new_key("ec-256")))
    text = {"account_key_path": None, "account_key_content": account.read_text()}
    binding = {"external_account_binding": {"kid": "kid-1", "key": EAB["kid-1"]}}
    by_text = {**text, "private_key_dest": None, "private_key_content": certificate.read_text()}
    sealed(controller.lab.account_key_path)
    secret = {"account_key_passphrase": PASSPHRASE}

    first = controller.play_all(
        [
            ("acme_account", {**text, **binding}),
            ("acme_account_info", text),
            ("acme_order", text),
            ("acme_finalize", by_text),
            ("acme_certificate", {**secret, **binding, "ca_path": "/nowhere/ca.pem"}),
            ("acme_certificate", {**secret, **binding, "profile": "none such"}),
            ("acme_certificate", {**text, "account_key_passphrase": PASSPHRASE, "name": "by-text"}),
            ("acme_account", {"account_key_path": None, "account_key_content": account.read_text()[:-60]}),
        ],
        *LOUD,
    )
    assert [bool(done.values["failed"]) for done in first] == [False, False, False, True, True, True, False, True]
    controller.paste(first[2])
    second = controller.play_all([("acme_finalize", by_text), ("acme_finalize", {**by_text, "order_uri": "x"})], *LOUD)
    assert second[0].ok["phase"] == "issued"
    hidden = secrets(controller, account, certificate)
    assert len(hidden) == 14
    assert seen(hidden, printed([*first, *second])) == []
    assert seen(hidden, controller.state_path.read_text()) == []


def account_files(home: Path, account: str, other: str, jwk: dict[str, str]) -> dict[str, dict[str, t.Any]]:
    """Options that name a file with these keys in it, by what it is: the first two are good, the others are not."""
    binding = {"kid": "kid-1", "key": EAB["kid-1"]}
    common = {"external_account_binding": binding, "account_key_passphrase": PASSPHRASE}
    by_key, by_jwk = {**common, "account_key_content": account}, {**common, "account_key_content": jwk}
    contents: dict[str, t.Any] = {
        "good": by_key,
        "jwk": by_jwk,
        "symmetric": {**by_jwk, "account_key_content": {**jwk, "kty": "oct"}},
        "damaged": {**by_jwk, "account_key_content": {**jwk, "x": jwk["d"]}},
        "unknown": {**common, "account_key": account},
        "hmac": {**by_key, "external_account_binding": {"kid": "kid-1", "hmac": EAB["kid-1"]}},
        "mistyped": {**by_key, "external_account_binding": EAB["kid-1"]},
        "half": {**common, "account_key_content": other, "external_account_binding": {"key": EAB["kid-1"]}},
        "cut": json.dumps(by_key)[:-1],
    }
    named: dict[str, dict[str, t.Any]] = {}
    for name, content in contents.items():
        path = home / f"{name}.json"
        path.touch(mode=0o600)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        named[name] = {"account_key_path": None, "account_file": str(path)}
    return named


def test_r45_what_stands_in_an_account_file_is_nowhere_in_what_is_printed_or_returned(
    start: t.Callable[..., Controller],
) -> None:
    """Keys as PEM and JWK, passphrase, EAB key; also where a task fails, and where its file is broken or mistyped."""
    controller = start(pebble={"eab_keys": EAB, "eab_required": True})
    home = controller.home
    account, new, jwk = home / "account-text.pem", home / "new-text.pem", home / "jwk-text.pem"
    for path in (account, new, jwk):
        path.write_bytes(key_pem(new_key("ec-256")))
    by = account_files(home, account.read_text(), new.read_text(), josepy.JWK.load(jwk.read_bytes()).to_json())
    roll = {**by["good"], "state": "changed_key", "new_account_key_passphrase": PASSPHRASE}
    done = controller.play_all(
        [
            ("acme_account", by["good"]),
            ("acme_account", {**by["jwk"], "check": True}),
            ("acme_account", by["jwk"]),
            ("acme_order", by["good"]),
            ("acme_account", {**roll, "new_account_key_content": new.read_text(), "check": True}),
            ("acme_account", {**roll, "new_account_key_content": new.read_text()}),
            ("acme_account", {**by["jwk"], "state": "absent"}),
            ("acme_account", {**roll, "new_account_key_content": jwk.read_text()}),
            *(("acme_account", options) for options in list(by.values())[2:]),
        ],
        *LOUD,
    )
    assert [bool(one.values["failed"]) for one in done] == [False] * 7 + [True] * 8
    assert all(one.error for one in done[7:]), "no traceback"
    hidden = secrets(controller, account, new, jwk)
    assert len(hidden) == 20
    assert seen(hidden, printed(done)) == []


def test_r45_keys_that_we_make_are_never_printed_an_argument_or_readable_by_others(controller: Controller) -> None:
    """Over the whole way, while it is watched; with the umask of somebody careless, by files and in the store."""
    lab = controller.lab
    temporary = lab.directory / "remote-tmp"
    env = {"ANSIBLE_REMOTE_TEMP": str(temporary)}
    umask = os.umask(0)
    try:
        with FileWatcher(lab.directory) as files, ProcessWatcher() as processes:
            first = controller.play_all([("acme_certificate", {}), ("acme_order", {})], *LOUD, env=env)
            for done in first:
                controller.paste(done.ok)
            staged = controller.lineage / "pending/privkey.pem"
            assert staged.stat().st_mode & 0o7777 == 0o600
            tasks: list[tuple[str, dict[str, t.Any]]] = [("acme_certificate", {}), ("acme_finalize", {})]
            second = controller.play_all([*tasks, *tasks], *LOUD, env=env)
    finally:
        os.umask(umask)
    assert [done.ok["phase"] for done in second] == ["issued", "issued", "idle", "issued"]
    assert made(lab)["certificates"] == 2

    hidden = secrets(controller, lab.account_key_path, controller.key_path, controller.lineage / "current/privkey.pem")
    assert len(hidden) == 20
    assert any(b"AnsiballZ_acme_finalize" in one for one in processes.seen), "the modules were seen at work"
    assert {mode for name, mode in files.modes if "privkey.pem" in name or "account.pem" in name} == {0o600}
    assert {"privkey.pem", "account.pem"} <= {name for name, _mode in files.modes}
    assert str(controller.fullchain_path) in files.open_to_others

    assert seen(hidden, printed([*first, *second])) == []
    assert seen(hidden, b"\n".join(processes.seen).decode(errors="replace")) == []
    assert {path for path, data in files.open_to_others.items() if seen(hidden, data.decode(errors="replace"))} == set()
    kept = {name: data for name, data in tree(controller.home).items() if not name.endswith((".pem", ".sig"))}
    assert {"order.json", "store/lineages/pomerium/state.json"} <= set(kept)
    assert {name for name, data in kept.items() if seen(hidden, data.decode())} == set()
