# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publisher `lexicon` through the API of a real PowerDNS: values come and go one by one, whatever happens there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers.lexicon import Lexicon
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.records import DnsRecord
from ansible_collections.zerotrust.pomerium.plugins.module_utils._errors import BadInput, UserError
from ansible_collections.zerotrust.pomerium.tests.lab.connect_proxy import ConnectProxy
from ansible_collections.zerotrust.pomerium.tests.lab.needed import need
from ansible_collections.zerotrust.pomerium.tests.lab.powerdns import PowerDns, what_is_missing
from ansible_collections.zerotrust.pomerium.tests.lab.process import descendants
from ansible_collections.zerotrust.pomerium.tests.lab.waiting import until
from ansible_collections.zerotrust.pomerium.tests.lab.watcher import ProcessWatcher

NAME = "_acme-challenge.corp.example.com"
FIRST, SECOND, FOREIGN = "A" * 43, "b" * 43, "somebody-elses"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[PowerDns]:
    need(what_is_missing())
    with PowerDns(tmp_path_factory.mktemp("powerdns"), "example.com", "corp.internal") as started:
        yield started


@pytest.fixture
def powerdns(server: PowerDns) -> PowerDns:
    """With a value of somebody else's at the challenge name, and no other."""
    server.put("example.com", NAME, FOREIGN)
    return server


def publisher(powerdns: PowerDns, **given: t.Any) -> Lexicon:
    access = {"options": {"pdns_server": powerdns.url}, "secrets": {"auth_token": powerdns.key}}
    return Lexicon({"provider": "powerdns", "zone": None, "ttl": 60, "timeout": 30, **access, **given})


def record(*entries: str, name: str = NAME, zone: str | None = "example.com") -> DnsRecord:
    return DnsRecord(f"{name}.", entries, ("corp.example.com",), zone=zone)


def children() -> list[int]:
    """Processes of this one that run lexicon."""
    commands = {pid: Path(f"/proc/{pid}/cmdline") for pid in descendants(os.getpid())}
    return [pid for pid, path in commands.items() if path.exists() and b"lexicon" in path.read_bytes()]


def test_values_are_added_beside_a_foreign_one_and_removed_one_by_one(powerdns: PowerDns) -> None:
    both = record(FIRST, SECOND)
    publisher(powerdns).add([both])
    assert powerdns.entries(NAME) == [FIRST, SECOND, FOREIGN]
    publisher(powerdns).add([both])
    assert powerdns.entries(NAME) == [FIRST, SECOND, FOREIGN], "each is there once"
    publisher(powerdns).remove([record(FIRST)])
    assert powerdns.entries(NAME) == [SECOND, FOREIGN]
    publisher(powerdns).remove([both])
    publisher(powerdns).remove([both])
    assert powerdns.entries(NAME) == [FOREIGN]


def test_a_zone_below_a_private_suffix_is_written_as_it_is_in_one_call_with_another(powerdns: PowerDns) -> None:
    inside = "_acme-challenge.sub.corp.internal"
    records = [record(FIRST), record(SECOND, name=inside, zone="corp.internal")]
    publisher(powerdns).add(records)
    assert (powerdns.entries(NAME), powerdns.entries(inside)) == ([FIRST, FOREIGN], [SECOND])
    publisher(powerdns).remove(records)
    assert (powerdns.entries(NAME), powerdns.entries(inside)) == ([FOREIGN], [])


def test_a_long_value_with_blanks_and_semicolons_comes_and_goes_whole(powerdns: PowerDns) -> None:
    value = f"ca.example; accounturi=https://ca.example/{'1' * 260}; policy=wildcard"
    name = "_validation-persist.example.com"
    publisher(powerdns).add([record(value, name=name)])
    assert powerdns.entries(name) == [value]
    publisher(powerdns).remove([record(value, name=name)])
    assert powerdns.entries(name) == []


WRITER = """\
import sys
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.publishers.lexicon import Lexicon
from ansible_collections.zerotrust.pomerium.plugins.module_utils._dns.records import DnsRecord

url, key, name, value = sys.argv[1:]
options = {"zone": "example.com", "ttl": 60, "timeout": 60, "options": {"pdns_server": url}}
Lexicon({"provider": "powerdns", "secrets": {"auth_token": key}, **options}).add([DnsRecord(name, (value,), ())])
"""


def test_writers_of_several_processes_keep_each_others_values(powerdns: PowerDns) -> None:
    values = [letter * 43 for letter in "ABCDEF"]
    arguments = [[powerdns.url, powerdns.key, f"{NAME}.", value] for value in values]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, *one]) for one in arguments]
    assert [writer.wait(timeout=60) for writer in writers] == [0] * 6
    assert powerdns.entries(NAME) == [*values, FOREIGN]


def test_what_another_machine_overwrites_at_that_moment_is_written_again(powerdns: PowerDns) -> None:
    """Its write follows ours, made of what it has read before: a lock of this machine does not keep it away."""
    with powerdns.losing_writes(1) as url:
        publisher(powerdns, options={"pdns_server": url}).add([record(FIRST)])
    assert powerdns.entries(NAME) == [FIRST, FOREIGN]


def test_what_is_never_there_after_writing_is_an_error_that_names_it(powerdns: PowerDns) -> None:
    with powerdns.losing_writes(9) as url, pytest.raises(UserError) as raised:
        publisher(powerdns, options={"pdns_server": url}).add([record(FIRST)])
    assert f"does not list what was added for example.com: it says that all went well ({NAME} TXT {FIRST})" in str(
        raised.value
    )


def test_a_wrong_key_is_told_in_the_servers_words_and_not_shown(powerdns: PowerDns) -> None:
    with pytest.raises(UserError) as raised:
        publisher(powerdns, secrets={"auth_token": "not-the-key-at-all"}).add([record(FIRST)])
    assert "401 Client Error: Unauthorized" in str(raised.value)
    assert "not-the-key-at-all" not in str(raised.value)
    assert powerdns.entries(NAME) == [FOREIGN]


def test_a_zone_that_the_server_has_not_is_named(powerdns: PowerDns) -> None:
    with pytest.raises(UserError, match="failed for corp.example.com: .*404 Client Error: Not Found"):
        publisher(powerdns, zone="corp.example.com").add([record(FIRST)])


def test_without_a_zone_nothing_is_asked(powerdns: PowerDns) -> None:
    with pytest.raises(UserError, match=f"The zone to write in is not known for {NAME}"):
        publisher(powerdns).add([record(FIRST, zone=None)])


def test_an_option_that_the_provider_has_not_is_named_with_those_that_it_has(powerdns: PowerDns) -> None:
    with pytest.raises(BadInput, match="powerdns has no option pdns_serve.*: auth_token, pdns_disable_notify, pdns_se"):
        publisher(powerdns, options={"pdns_serve": powerdns.url}).add([record(FIRST)])


def test_a_library_that_a_provider_lacks_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(BadInput) as raised:
        Lexicon({"provider": "route53", "ttl": 60, "timeout": 30}).add([record(FIRST)])
    assert f"{sys.executable} -m pip install 'dns-lexicon[route53]'" in str(raised.value)


@pytest.fixture
def silence() -> t.Iterator[str]:
    """URL of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_hangs_is_left_at_the_time_out_and_no_process_stays(powerdns: PowerDns, silence: str) -> None:
    before, began = children(), time.monotonic()  # other tests' parts may run
    with pytest.raises(UserError, match="powerdns did not answer within 1 s for example.com"):
        publisher(powerdns, options={"pdns_server": silence}, timeout=1).add([record(FIRST)])
    assert time.monotonic() - began < 5
    assert children() == before
    publisher(powerdns).add([record(FIRST)])
    assert powerdns.entries(NAME) == [FIRST, FOREIGN], "the lock is free again"


def test_a_child_whose_parent_was_killed_ends_by_itself(powerdns: PowerDns, silence: str) -> None:
    command = [sys.executable, "-c", WRITER.replace('"timeout": 60', '"timeout": 2')]
    writer = subprocess.Popen([*command, silence, powerdns.key, f"{NAME}.", FIRST])
    child = until(lambda: descendants(writer.pid), what="the writer to have a child", within=20)[0]
    writer.kill()
    writer.wait()
    assert Path(f"/proc/{child}").exists()
    until(lambda: not Path(f"/proc/{child}").exists(), what="the child to end", within=10)


def test_secrets_are_in_no_argument_environment_or_file_and_nobody_else_is_asked(
    powerdns: PowerDns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of public suffixes would be fetched over HTTPS, and kept at home."""
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    for name, path in (("HOME", home), ("TMPDIR", temporary)):
        path.mkdir()
        monkeypatch.setenv(name, str(path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with ConnectProxy() as proxy, ProcessWatcher() as watcher:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        publisher(powerdns).add([record(FIRST)])
    assert powerdns.entries(NAME) == [FIRST, FOREIGN]
    assert any(b"lexicon" in seen for seen in watcher.seen), "the child was seen at work"
    assert not [seen for seen in watcher.seen if powerdns.key.encode() in seen]
    assert proxy.tunnels == []
    assert not [*home.iterdir()]
    files = [path for path in temporary.rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["lock"]
    assert powerdns.key not in files[0].read_text()


def test_a_directory_for_locks_that_is_not_ours_alone_is_refused(
    powerdns: PowerDns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = tmp_path / f"zerotrust-pomerium-{os.geteuid()}"
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"The directory for locks is not ours alone for {place}"):
        publisher(powerdns).add([record(FIRST)])
    place.unlink()
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(UserError, match="The directory for locks is not ours alone"):
        publisher(powerdns).add([record(FIRST)])
    assert powerdns.entries(NAME) == [FOREIGN]
