# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_certificate: one task, run again and again, from nothing to a certificate that is kept current."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import (
    Controller,
    entries,
    is_pair,
    made,
    resources,
    tree,
)
from ansible_collections.zerotrust.pomerium.tests.lab.certificates import Authority

LIBRARIES = {"acme", "requests", "josepy", "dns", "urllib3"}
NOTE_WHAT_IS_LOADED = """\
import atexit, os, sys

def note():
    with open(os.environ["LOADED_MODULES"], "w") as file:
        file.write("\\n".join(sys.modules))

if any("AnsiballZ_acme_certificate" in argument for argument in sys.orig_argv):
    atexit.register(note)
"""


def issue(controller: Controller, **options: t.Any) -> None:
    """Both runs of the guide, with the records added between."""
    controller.paste(controller.run("acme_certificate", **options).ok)
    assert controller.run("acme_certificate", **options).ok["phase"] == "issued"


def current(controller: Controller) -> dict[str, bytes]:
    return tree(controller.lineage / "current")


def test_by_hand_the_first_run_gives_records_the_next_one_the_certificate(controller: Controller) -> None:
    """R29 among it: in between, the same records again, and nothing is changed."""
    first, again = controller.play_all([("acme_certificate", {})] * 2)
    assert (first.ok["changed"], first["phase"], first["done"]) == (True, "waiting_for_dns", True)
    assert (again.ok["changed"], again["phase"], again["reused"]) == (False, "waiting_for_dns", True)
    assert first["reasons"] == ["missing"] and first["action_required"] and len(entries(first)) == 2
    for key in ("order_uri", "dns_records", "instructions", "expires", "account_uri", "missing_records"):
        assert again[key] == first[key], key
    assert set(first["paths"].values()) == {None}

    controller.paste(first)
    second = controller.play("acme_certificate").ok
    assert (second["changed"], second["renewed"], second["phase"]) == (True, True, "issued")
    assert (second["action_required"], second["instructions"], second["error"]) == (False, [], None)
    assert second["records_to_remove"] == first["dns_records"]
    files = {name: Path(path) for name, path in second["paths"].items()}
    assert sorted(files) == ["ca", "cert", "chain", "fullchain", "privkey"]
    assert {path.stat().st_mode & 0o7777 for path in files.values()} == {0o600}
    assert files["fullchain"].read_text() == second["fullchain"] == second["certificate"] + second["chain"]
    assert files["ca"].read_text() == second["chain"]
    assert is_pair(files["fullchain"], files["privkey"])
    assert sorted(current(controller))[-3:] == ["meta.json", "meta.sig", "privkey.pem"]
    assert not list((controller.lineage / "pending").iterdir())
    assert made(controller.lab) == {"accounts": 1, "orders": 1, "certificates": 1}


def test_r23_with_nothing_due_nobody_is_asked_and_no_library_is_loaded(controller: Controller, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOTE_WHAT_IS_LOADED)
    env = {"PYTHONPATH": str(tmp_path), "LOADED_MODULES": str(tmp_path / "loaded")}

    def loaded() -> set[str]:
        return LIBRARIES & set((tmp_path / "loaded").read_text().splitlines())

    controller.paste(controller.play("acme_certificate", env=env).ok)
    assert loaded() == LIBRARIES, "a run that orders needs them"
    assert controller.run("acme_certificate").ok["renewed"]
    mark, queries = controller.lab.pebble.mark(), controller.lab.dns.mark()
    before = tree(controller.lab.store_path)
    idle, again = controller.play_all([("acme_certificate", {})] * 2, env=env)
    assert (idle.ok["changed"], idle["phase"], idle["reasons"], idle["order_uri"]) == (False, "idle", [], None)
    assert idle.values == again.ok.values
    assert idle["renew_at"] and idle["names"] == ["*.corp.example.com", "corp.example.com"]
    assert loaded() == set()
    assert controller.lab.pebble.requests(mark) == [] and controller.lab.dns.queries(queries) == []
    assert tree(controller.lab.store_path) == before

    controller.lab.pebble.stop()
    assert controller.play("acme_certificate").ok.values == idle.values


def test_r27_other_names_or_another_key_type_are_a_new_certificate(controller: Controller) -> None:
    """The one in use stays so until the new one is there; the CA decides by names, so a reordering is none."""
    issue(controller)
    before = current(controller)
    names = ["*.corp.example.com", "corp.example.com", "vpn.example.com"]
    turned, more = controller.run_all(
        [
            ("acme_certificate", {"identifiers": ["corp.example.com *.corp.example.com"]}),
            ("acme_certificate", {"identifiers": names, "key_type": "rsa-2048"}),
        ]
    )
    assert not turned.ok["changed"] and turned["reasons"] == []
    assert more.ok["reasons"] == ["names", "key_type"] and more["phase"] == "waiting_for_dns"
    assert current(controller) == before and more["names"] == names[:2]
    controller.paste(more)
    done, idle = controller.run_all([("acme_certificate", {"identifiers": names, "key_type": "rsa-2048"})] * 2)
    assert done.ok["renewed"] and sorted(done["names"]) == names
    assert not idle.ok["changed"] and idle["phase"] == "idle"
    assert len((controller.lineage / "current/privkey.pem").read_bytes()) > 1000
    assert is_pair(controller.lineage / "current/cert.pem", controller.lineage / "current/privkey.pem")
    assert made(controller.lab) == {"accounts": 1, "orders": 2, "certificates": 2}
    assert len(list((controller.lineage / "versions").iterdir())) == 2


def test_another_account_key_is_another_account_and_one_that_was_rolled_over_the_same(controller: Controller) -> None:
    """The lineage remembers its account's URL, which is of no use with the key of another one."""
    controller.paste(controller.run("acme_certificate").ok)
    first = controller.run("acme_certificate").ok
    new, other = str(controller.home / "new.pem"), str(controller.home / "other.pem")
    rolled = {"state": "changed_key", "new_account_key_path": new}
    one, both = {"identifiers": ["*.corp.example.com"]}, {"identifiers": ["*.corp.example.com", "a.example.com"]}
    changed, with_new, opened, with_other = controller.run_all(
        [
            ("acme_account", rolled),
            ("acme_certificate", {**one, "account_key_path": new}),
            ("acme_account", {"account_key_path": other}),
            ("acme_certificate", {**both, "account_key_path": other}),
        ]
    )
    assert changed.ok["account_uri"] == with_new.ok["account_uri"] == first["account_uri"]
    assert with_other.ok["account_uri"] == opened.ok["account_uri"] != first["account_uri"]


def test_another_directory_is_a_reason_so_staging_never_passes_for_production(behind_proxy: Controller) -> None:
    """An order that is pending at one directory is not looked for at the other."""
    lab = behind_proxy.lab
    issue(behind_proxy, acme_directory=lab.pebble.directory_url)
    elsewhere, back, idle = behind_proxy.run_all(
        [("acme_certificate", {}), *[("acme_certificate", {"acme_directory": lab.pebble.directory_url})] * 2]
    )
    assert elsewhere.ok["reasons"] == ["directory"] and elsewhere["action_required"]
    assert elsewhere["order_uri"].startswith(lab.directory_url.rpartition("/")[0])
    assert (back.ok["phase"], back["reasons"]) == ("idle", [])
    assert f"{elsewhere['order_uri']} is of another directory" in back.warnings
    assert not idle.ok["changed"]


def test_r11_names_that_the_ca_knows_already_need_one_run_and_no_record(start: t.Callable[..., Controller]) -> None:
    controller = start(pebble={"authz_reuse": 100})
    issue(controller)
    controller.lab.clear_records()
    other = controller.run("acme_certificate", name="other").ok
    assert (other["phase"], other["dns_records"], other["instructions"]) == ("issued", [], [])
    assert other["records_to_remove"] == []
    assert made(controller.lab) == {"accounts": 1, "orders": 2, "certificates": 2}


def test_order_never_finishes_what_is_pending_and_orders_nothing(controller: Controller) -> None:
    lab = controller.lab
    nothing = controller.run("acme_certificate", order="never").ok
    assert (nothing["phase"], nothing["reasons"], nothing["changed"]) == ("idle", ["missing"], False)
    assert lab.pebble.requests() == []
    first, early, look = controller.run_all(
        [
            ("acme_certificate", {}),
            ("acme_certificate", {"order": "never"}),
            ("acme_certificate", {"order": "never", "stop_after": "order"}),
        ]
    )
    assert early.ok["phase"] == "waiting_for_dns" and entries(early) == entries(first.ok)
    assert (look.ok["done"], look["phase"]) == (False, "idle")
    controller.paste(first)
    assert controller.run("acme_certificate", order="never").ok["phase"] == "issued"
    assert made(lab)["orders"] == 1


def test_order_force_is_ignored_where_it_would_order_again_and_again(controller: Controller) -> None:
    pending, forced = controller.run_all([("acme_certificate", {}), ("acme_certificate", {"order": "force"})])
    assert entries(forced.ok) == entries(pending.ok)
    controller.paste(pending)
    issued, young = controller.run_all([("acme_certificate", {}), ("acme_certificate", {"order": "force"})])
    assert issued.ok["renewed"] and (young.ok["phase"], young["reasons"]) == ("idle", [])
    assert "order: force is ignored, the certificate is younger than a day" in young.warnings

    meta = controller.lineage / "current/meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "made_at": "2026-01-01T00:00:00Z"}))
    old, again = controller.run_all([("acme_certificate", {"order": "force"})] * 2)
    assert old.ok["reasons"] == ["forced"] and old["action_required"]
    assert entries(again.ok) == entries(old)
    assert "order: force is ignored, an order is pending" in again.warnings
    controller.paste(old)
    assert controller.run("acme_certificate").ok["renewed"]
    assert made(controller.lab)["certificates"] == 2


def test_stop_after_order_leaves_the_rest_to_a_later_task(controller: Controller) -> None:
    """Also where the records are there already: nothing irreversible has happened by then."""
    stop = {"stop_after": "order"}
    first = controller.run("acme_certificate", **stop).ok
    assert (first["done"], first["phase"], first["changed"]) == (False, "waiting_for_dns", True)
    assert sorted(tree(controller.lineage / "pending")) == ["order.json", "privkey.pem"]
    controller.paste(first)
    mark = controller.lab.pebble.mark()
    again, done, idle = controller.run_all(
        [("acme_certificate", stop), ("acme_certificate", {}), ("acme_certificate", stop)]
    )
    assert (again.ok["done"], again["phase"], again["changed"]) == (False, "validating", False)
    assert again["dns_records"] == first["dns_records"] and not again["action_required"]
    served = resources(controller.lab, mark)
    assert "challenge" not in served[: served.index("authorization") + 2]
    assert (done.ok["done"], done["phase"]) == (True, "issued")
    assert (idle.ok["done"], idle["phase"]) == (True, "idle")


def test_records_published_waits_although_no_server_has_any_yet(controller: Controller) -> None:
    first = controller.run("acme_certificate").ok
    controller.paste(first)
    name = first["dns_records"][0]["name"]
    controller.lab.dns.misbehave(name, "nxdomain", rdtype="TXT", queries=2)
    at_once, waited = controller.run_all(
        [
            ("acme_certificate", {"propagation_timeout": 30}),
            ("acme_certificate", {"propagation_timeout": 30, "records_published": True}),
        ]
    )
    assert at_once.ok["phase"] == "waiting_for_dns" and not at_once["changed"]
    assert waited.ok["phase"] == "issued"


@pytest.mark.parametrize(("days", "reason"), [(1.0, "expiring"), (-1.0, "expired")])
def test_an_old_certificate_is_renewed_with_a_new_key(controller: Controller, days: float, reason: str) -> None:
    """Two of three days are over, then all of them; by hand, what is in use stays in use until then."""
    issue(controller)
    version = controller.lineage / "current"
    old = Authority("Pebble, long ago").issue("*.corp.example.com", "corp.example.com", days=days)
    (version / "fullchain.pem").write_bytes(old.fullchain_pem)
    (version / "privkey.pem").write_bytes(old.key_pem)
    due = controller.run("acme_certificate").ok
    assert due["reasons"] == [reason] and due["action_required"]
    assert due["fullchain"].encode() == old.fullchain_pem
    controller.paste(due)
    done = controller.run("acme_certificate").ok
    assert done["renewed"] and (version / "privkey.pem").read_bytes() != old.key_pem
    assert is_pair(version / "fullchain.pem", version / "privkey.pem")


def test_r43_check_mode_asks_for_nothing_and_writes_nothing(controller: Controller) -> None:
    lab = controller.lab
    would = controller.play("acme_certificate", "--check").ok
    assert (would["changed"], would["reasons"], would["dns_records"]) == (True, ["missing"], [])
    assert lab.pebble.requests() == [] and tree(controller.home) == {}
    first = controller.run("acme_certificate").ok
    before = tree(controller.home)
    waiting = controller.run("acme_certificate", check=True).ok
    assert not waiting["changed"] and entries(waiting) == entries(first)
    controller.paste(first)
    mark = lab.pebble.mark()
    ready = controller.run("acme_certificate", check=True).ok
    assert (ready["changed"], ready["renewed"]) == (True, False)
    assert not {"challenge", "finalize", "newOrder", "newAccount"} & set(resources(lab, mark))
    assert tree(controller.home) == before
