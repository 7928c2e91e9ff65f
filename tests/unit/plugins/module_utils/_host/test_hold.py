# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Going back to the version before and holding it, on the host: real directories, a real TLS server, real kills."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import typing as t
from itertools import count

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import UserError
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host import transaction
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.hold import read_hold
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.in_use import order_by_use
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.look import look
from ansible_collections.zerotrust.pomerium.plugins.module_utils._host.probe import Target, probe
from ansible_collections.zerotrust.pomerium.plugins.module_utils._versions import Versions

CHANGES = ("os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.chown")


def hold(version: str, left: str | None, since: str = "2026-11-25T03:12:40Z") -> dict[str, t.Any]:
    return {"version": version, "left": left, "since": since, "by": "ann"}


def apply(params: dict[str, t.Any]) -> dict[str, t.Any]:
    return transaction.apply(params, print)


def back(host: t.Any, pair: t.Any, version: str, left: str | None, **changes: t.Any) -> dict[str, t.Any]:
    """The parameters of going back to `version`, which holds `pair`."""
    given = {"step": "apply", "version": version, "leaf_sha256": pair.sha256, "hold": hold(version, left)}
    return t.cast("dict[str, t.Any]", host.params(**{**given, **changes}))


def current(host: t.Any) -> str:
    return os.path.basename(os.readlink(str(host.home / "current")))


def served(host: t.Any) -> str | None:
    return probe(Target("127.0.0.1", host.port, "app.example.com")).sha256


@pytest.fixture
def renewed(host: t.Any, make_pair: t.Any) -> t.Any:
    """A host that has pair `one` as version v1, and serves pair `two` as version v2."""
    host.config_path.write_bytes(host.configured_for_current())
    for number, name in enumerate(("one", "two"), start=1):
        apply(host.install(make_pair(name), f"v{number}"))
    host.start()
    assert served(host) == make_pair("two").sha256
    return host


def test_going_back_serves_the_version_before_and_is_noted(renewed: t.Any, make_pair: t.Any) -> None:
    config = renewed.config_path.read_bytes()
    done = apply(back(renewed, make_pair("one"), "v1", "v2"))
    assert (done["changed"], done["version"], done["previous_version"]) == (True, "v1", "v2")
    assert served(renewed) == make_pair("one").sha256
    assert read_hold(str(renewed.home)) == {"format": 1, **hold("v1", "v2")}
    assert oct((renewed.home / "held.json").stat().st_mode) == oct(0o100600)
    assert renewed.config_path.read_bytes() == config
    assert Versions(str(renewed.home)).names() == ["v1", "v2"]


def test_an_install_that_looked_before_the_hold_was_taken_does_nothing(renewed: t.Any, make_pair: t.Any) -> None:
    late = renewed.install(make_pair("three"), "v3")
    apply(back(renewed, make_pair("one"), "v1", "v2"))
    before = renewed.snapshot()
    assert apply(late) == {"changed": False, "stale": True}
    assert renewed.snapshot() == before


def test_of_two_who_go_back_at_the_same_time_the_second_does_nothing(renewed: t.Any, make_pair: t.Any) -> None:
    apply(back(renewed, make_pair("one"), "v1", "v2"))
    before = renewed.snapshot()
    late = back(renewed, make_pair("one"), "v1", "v2", hold=hold("v1", "v2", since="2026-11-25T03:12:41Z"))
    assert apply(late) == {"changed": False, "stale": True}
    assert renewed.snapshot() == before


def test_what_is_not_served_is_put_back_and_not_held(host: t.Any, make_pair: t.Any) -> None:
    """A Pomerium that reads its files at its start only, and may not be restarted."""
    host.config_path.write_bytes(host.configured_for_current())
    for number, name in enumerate(("one", "two"), start=1):
        apply(host.install(make_pair(name), f"v{number}"))
    host.start("--picks-up", "start")
    before = host.snapshot()
    with pytest.raises(UserError, match="did not serve version v1, and everything was put back") as caught:
        apply(back(host, make_pair("one"), "v1", "v2", reload="none", probe={"timeout": 0.5}))
    assert caught.value.facts["rolled_back"] is True
    assert host.snapshot() == before


def test_a_hold_that_is_lifted_is_gone_and_one_that_could_not_be_is_back(renewed: t.Any, make_pair: t.Any) -> None:
    apply(back(renewed, make_pair("one"), "v1", "v2"))
    before = renewed.snapshot()
    with pytest.raises(UserError, match="everything was put back"):
        apply({**renewed.install(make_pair("three"), "v3"), "lift": True, "leaf_sha256": "0" * 64, "reload": "none"})
    assert renewed.snapshot() == before
    done = apply(renewed.install(make_pair("three"), "v3", lift=True))
    assert (done["changed"], read_hold(str(renewed.home))) == (True, None)
    assert not [path for path in renewed.home.iterdir() if "held" in path.name]
    assert served(renewed) == make_pair("three").sha256


def test_to_lift_a_hold_is_a_change_also_where_the_certificate_stays(renewed: t.Any, make_pair: t.Any) -> None:
    apply(back(renewed, make_pair("one"), "v1", "v2"))
    assert apply(renewed.install(make_pair("one"), "v1", lift=True))["changed"] is True
    assert apply(renewed.install(make_pair("one"), "v1", lift=True))["changed"] is False


def test_the_version_before_is_the_one_that_was_in_use_before(renewed: t.Any, make_pair: t.Any) -> None:
    """Not the one whose name comes before: after v2 was left for v1, and v1 for v3, it is v1."""

    def order() -> list[str]:
        return order_by_use(str(renewed.home), Versions(str(renewed.home)))

    apply(back(renewed, make_pair("one"), "v1", "v2"))
    assert order() == ["v2", "v1"]
    apply(renewed.install(make_pair("three"), "v3", lift=True))
    assert order() == ["v2", "v1", "v3"]
    apply(renewed.install(make_pair("four"), "v0", keep_versions=2))
    assert order() == ["v3", "v0"], "those that were in use last are kept, whatever their names"


def test_a_version_that_never_came_into_use_is_told_apart(renewed: t.Any, make_pair: t.Any) -> None:
    """What a run leaves that was killed before its switch."""
    shutil.copytree(str(renewed.home / "versions/v2"), str(renewed.home / "versions/v3"))
    seen = look(renewed.params(versions=True))["versions"]
    assert [(one["version"], one["was_used"]) for one in seen] == [("v3", False), ("v1", True), ("v2", True)]
    assert look(renewed.params())["versions"] == []


def test_a_damaged_pair_is_seen_and_refused_before_the_switch(renewed: t.Any, make_pair: t.Any) -> None:
    (renewed.home / "versions/v1/privkey.pem").write_bytes(make_pair("two").key)
    (renewed.home / "versions/README").write_text("by hand\n")
    seen = {one["version"]: one["problem"] for one in look(renewed.params(versions=True))["versions"]}
    assert seen == {"README": "Not a directory", "v1": "KEY_VALUES_MISMATCH", "v2": None}
    before = renewed.snapshot()
    with pytest.raises(UserError, match="OpenSSL refuses the pair"):
        apply(back(renewed, make_pair("one"), "v1", "v2"))
    assert renewed.snapshot() == before


def die_before(step: int) -> None:
    """Kill this process just before it changes the disk for the nth time."""
    left = step

    def see(event: str, args: tuple[t.Any, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_CREAT | os.O_WRONLY)
        if event in CHANGES or writes:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(see)


def killed_at_every_step(host: t.Any, params: dict[str, t.Any]) -> t.Iterator[bool]:
    """Yield after each kill, and True after the run that was not killed any more; each starts from the same tree."""
    kept = host.root / "kept"
    shutil.copytree(str(host.directory), str(kept), symlinks=True)
    for step in count(1):
        shutil.rmtree(str(host.directory))
        shutil.copytree(str(kept), str(host.directory), symlinks=True)
        child = os.fork()
        if child == 0:
            die_before(step)
            apply(params)
            os._exit(0)
        _pid, status = os.waitpid(child, 0)
        assert status in (0, signal.SIGKILL)
        yield status == 0
        if status == 0:
            return


UNPROVEN = {"probe": {"enabled": False}, "reload": "none"}


def test_killed_anywhere_a_host_that_goes_back_is_never_back_without_being_held(host: t.Any, make_pair: t.Any) -> None:
    host.config_path.write_bytes(host.configured_for_current())
    for number, name in enumerate(("one", "two"), start=1):
        apply(host.install(make_pair(name), f"v{number}", **UNPROVEN))
    left = set()
    going_back = back(host, make_pair("one"), "v1", "v2", **UNPROVEN)
    for is_done in killed_at_every_step(host, going_back):
        is_held = read_hold(str(host.home)) is not None
        left.add((is_held, current(host)))
        if is_held:
            assert apply(host.install(make_pair("two"), "v2", **UNPROVEN)) == {"changed": False, "stale": True}
            apply(going_back)
        assert not is_done or is_held
        assert current(host) == ("v1" if is_held else "v2")
    assert left == {(False, "v2"), (True, "v2"), (True, "v1")}


def test_killed_anywhere_a_hold_that_is_lifted_is_never_followed_again(host: t.Any, make_pair: t.Any) -> None:
    host.config_path.write_bytes(host.configured_for_current())
    for number, name in enumerate(("one", "two"), start=1):
        apply(host.install(make_pair(name), f"v{number}", **UNPROVEN))
    apply(back(host, make_pair("one"), "v1", "v2", **UNPROVEN))
    left = set()
    lifting = host.install(make_pair("two"), "v2", lift=True, **UNPROVEN)
    for _is_done in killed_at_every_step(host, lifting):
        left.add((read_hold(str(host.home)) is not None, current(host)))
        apply(lifting)
        assert (read_hold(str(host.home)), current(host)) == (None, "v2")
    assert left == {(True, "v1"), (False, "v1"), (False, "v2")}
