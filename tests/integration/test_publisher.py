# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""acme_certificate with a publisher: one task from nothing to the certificate, and nothing of it left in DNS.

The name server is the lab's own, which takes updates; publishers against real servers have tests of their own.
"""

from __future__ import annotations

import json
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.zerotrust.pomerium.tests.integration.acme_tasks import (
    Controller,
    Done,
    entries,
    made,
    printed,
    resources,
    tree,
)
from ansible_collections.zerotrust.pomerium.tests.integration.kill_rules import KillAfter, KillBefore, die
from ansible_collections.zerotrust.pomerium.tests.integration.warm_modules import ModuleDied, WarmModules
from ansible_collections.zerotrust.pomerium.tests.lab.proxy_rules import path_of
from ansible_collections.zerotrust.pomerium.tests.lab.watcher import ProcessWatcher

NAME = "_acme-challenge.corp.example.com"
FOREIGN = f'{NAME}.  300  IN  TXT  "of-somebody-else"'
ONE_OF_EACH = {"accounts": 1, "orders": 1, "certificates": 1}
RETURN = {"on_error": "return"}


def publish(controller: Controller, **options: t.Any) -> Done:
    """Run acme_certificate with the publisher for the lab's zone."""
    return controller.run("acme_certificate", **{"publisher": controller.lab.publisher, **options})


def published(controller: Controller) -> list[str]:
    """The TXT lines of the zone."""
    return [line for line in controller.lab.zone_path.read_text().splitlines() if " TXT " in line]


def test_one_task_does_it_all_and_leaves_nothing_but_what_others_have_there(controller: Controller) -> None:
    """R12 (apex and wildcard), R13, R23."""
    controller.lab.paste(FOREIGN)
    would = publish(controller, check=True).ok
    assert (would["changed"], published(controller)) == (True, [FOREIGN])
    done = publish(controller).ok
    assert (done["phase"], done["renewed"], done["changed"], done["records_to_remove"]) == ("issued", True, True, [])
    assert (done["action_required"], done["instructions"], done["missing_records"]) == (False, [], [])
    assert published(controller) == [FOREIGN]
    mark = controller.lab.ca.mark()
    again = publish(controller).ok
    assert (again["phase"], again["changed"], resources(controller.lab, mark)) == ("idle", False, [])
    assert made(controller.lab) == ONE_OF_EACH


def test_the_publisher_may_come_from_a_file_and_what_the_task_gives_beats_it(controller: Controller) -> None:
    file = controller.home / "publisher.json"
    file.write_text(json.dumps({**controller.lab.publisher, "server": "192.0.2.1", "zone": "", "ttl": ""}))
    given = {"publisher": {"type": "rfc2136", "server": controller.lab.dns.address}}
    assert publish(controller, **given, publisher_file=str(file)).ok["phase"] == "issued"


def test_r11_names_that_the_ca_knows_already_are_not_published(start: t.Callable[..., Controller]) -> None:
    controller = start(pebble={"authz_reuse": 100})
    assert publish(controller).ok["renewed"]
    unreachable = {**controller.lab.publisher, "server": "127.0.0.1", "port": 1}
    again = publish(controller, publisher=unreachable, key_type="ec-384").ok
    assert again["renewed"] and published(controller) == []


def test_r47_a_record_that_is_made_once_stays_and_is_not_made_again(controller: Controller) -> None:
    options = {"challenge": "dns-persist-01"}
    first = publish(controller, **options).ok
    (line,) = published(controller)
    assert first["renewed"] and first["records_to_remove"] == []
    assert line.startswith("_validation-persist.corp.example.com.") and "policy=wildcard" in line
    lab = controller.lab
    lab.zone_path.write_text(lab.zone_path.read_text().replace("accounturi", "AccountURI"))
    second = publish(controller, key_type="ec-384", **options).ok
    assert second["renewed"] and published(controller) == [line.replace("accounturi", "AccountURI")]


def test_stopped_after_the_order_nothing_is_published_and_the_next_run_does_it(controller: Controller) -> None:
    """What a fleet needs: between the two its hosts keep the order. No resolver is asked for what is not there yet."""
    mark = controller.lab.dns.mark()
    stopped = publish(controller, stop_after="order").ok
    assert (stopped["done"], stopped["phase"], stopped["action_required"]) == (False, "waiting_for_dns", False)
    assert len(entries(stopped)) == 2 and published(controller) == []
    assert controller.lab.dns.queries(mark, name=NAME, rdtype="TXT") == []
    done = publish(controller, order="never").ok
    assert (done["renewed"], done["order_uri"]) == (True, stopped["order_uri"])


def test_r20_where_the_server_refuses_the_error_names_it_and_the_next_run_goes_on_with_the_order(
    controller: Controller,
) -> None:
    wrong = {**controller.lab.publisher, "key_name": None, "key_secret": None}
    refused = publish(controller, publisher=wrong)
    assert "REFUSED" in refused.error and NAME in refused.error
    done = publish(controller).ok
    assert done["renewed"] and made(controller.lab) == ONE_OF_EACH


def test_r16_what_was_published_and_is_not_seen_burns_no_challenge(controller: Controller) -> None:
    """The error names each value and what the server says; the next run finishes the same order."""
    controller.lab.dns.misbehave(NAME, "stale")
    mark = controller.lab.ca.mark()
    late = publish(controller, propagation_timeout=1)
    assert "They were published, but are not seen there in time" in late.error
    assert late.error.count("no TXT record at") == 2 and controller.lab.dns.resolver in late.error
    assert len(late["missing_records"]) == 2
    assert "challenge" not in resources(controller.lab, mark)
    assert len(published(controller)) == 2, "they stay: the order does"

    controller.lab.dns.behave()
    done = publish(controller).ok
    assert done["renewed"] and made(controller.lab) == ONE_OF_EACH
    assert published(controller) == []


def test_r15_when_the_ca_refuses_the_proof_nothing_is_left_in_the_zone(controller: Controller) -> None:
    controller.lab.paste(FOREIGN)
    controller.lab.dns.misbehave(NAME, "servfail", rdtype="TXT")
    failed = publish(controller, verify_dns="none", **RETURN).ok
    assert "SERVFAIL" in failed["error"] or "The order has failed" in failed["error"]
    assert failed["problems"] and failed["records_to_remove"] == []
    assert published(controller) == [FOREIGN]
    failed = publish(controller, verify_dns="none")
    assert failed.error and published(controller) == [FOREIGN], "also where the task fails"


def test_r14_where_the_clean_up_fails_the_run_does_not_and_a_later_one_repeats_it(controller: Controller) -> None:
    script = write_script(controller, 'test "$1" = present || { echo the API is down; exit 3; }')
    done = publish(controller, publisher={"type": "exec", "command": [str(script)], "environment": zone(controller)}).ok
    assert done["renewed"] and len(done["records_to_remove"]) == 1
    assert "the API is down" in done.warnings and len(published(controller)) == 2
    mark = controller.lab.ca.mark()
    later = publish(controller).ok
    assert (later["changed"], later["phase"], later["records_to_remove"]) == (True, "idle", [])
    assert published(controller) == [] and resources(controller.lab, mark) == []


def test_only_looking_cleans_nothing_up(controller: Controller) -> None:
    script = write_script(controller, 'test "$1" = present || exit 3')
    publish(controller, publisher={"type": "exec", "command": [str(script)], "environment": zone(controller)}).ok  # noqa: B018
    looked = publish(controller, order="never", stop_after="order").ok
    assert (looked["changed"], len(looked["records_to_remove"]), len(published(controller))) == (False, 1, 2)


def test_killed_once_at_every_step_it_ends_with_one_certificate_and_an_empty_zone(
    behind_proxy: Controller, warm_modules: WarmModules
) -> None:
    """R14. Seven sudden deaths, each taken up by the next run."""
    options = {"publisher": behind_proxy.lab.publisher}
    behind_proxy.lab.paste(FOREIGN)
    for rule in (
        KillAfter(warm_modules, path_of("newAccount")),
        KillAfter(warm_modules, path_of("newOrder")),
        KillBefore(warm_modules, path_of("challenge")),
        KillAfter(warm_modules, path_of("challenge")),
        KillBefore(warm_modules, path_of("finalize")),
        KillAfter(warm_modules, path_of("finalize")),
        KillAfter(warm_modules, path_of("certificate")),
    ):
        die(behind_proxy, rule, **options)
    assert len(published(behind_proxy)) >= 3, "it was killed before it cleaned up"
    assert publish(behind_proxy).ok["renewed"]
    assert published(behind_proxy) == [FOREIGN]
    log = behind_proxy.lab.pebble.log
    assert log.count("Issued certificate serial ") == 1


@pytest.mark.parametrize("moment", ["present", "cleanup"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_it_publishes_or_cleans_up_the_next_run_repeats_it(
    controller: Controller, moment: str, when: str
) -> None:
    """R14. At the second of two values, before or after it is written."""
    once = controller.home / "once"
    kill = f'if [ "$1" = {moment} ]; then test ! -e {once} || kill -9 $PPID; touch {once}; fi'
    script = write_script(controller, *((kill, None) if when == "before" else (None, kill)))
    options = {"type": "exec", "command": [str(script)], "environment": zone(controller)}
    controller.lab.paste(FOREIGN)
    with pytest.raises(ModuleDied):
        publish(controller, publisher=options)
    publish(controller).ok  # noqa: B018
    assert published(controller) == [FOREIGN]
    assert made(controller.lab) == ONE_OF_EACH


def test_r22_two_at_once_on_one_store_make_one_order(controller: Controller) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [done.ok for done in pool.map(lambda _: publish(controller), range(2))]
    assert sorted(done["renewed"] for done in both) == [False, True]
    assert made(controller.lab) == ONE_OF_EACH


def test_r21_two_orders_at_once_in_one_zone_keep_both_values(controller: Controller) -> None:
    """Two certificates for the same names, of two accounts, as two teams may have them."""
    lab = controller.lab

    def one(number: int) -> Done:
        own = {"name": f"team{number}", "account_key_path": str(controller.home / f"account{number}.pem")}
        return publish(controller, store_path=str(controller.home / f"store{number}"), **own)

    with ThreadPoolExecutor(3) as pool:
        done = [found.ok for found in pool.map(one, range(3))]
    assert [found["phase"] for found in done] == ["issued"] * 3
    assert published(controller) == [] and made(lab)["certificates"] == 3


def write_script(controller: Controller, first: str | None, last: str | None = None) -> Path:
    """A command for publisher exec that writes into the zone file, does `first` before and `last` after."""
    path = controller.home / "publish.sh"
    path.write_text(
        f"""#!/bin/sh
{first or ":"}
line="$2  60  IN  TXT  $3"
case $1 in
present) grep -qxF "$line" "$ZONE_FILE" || echo "$line" >> "$ZONE_FILE" ;;
cleanup) grep -vxF "$line" "$ZONE_FILE" > "$ZONE_FILE.new"; cat "$ZONE_FILE.new" > "$ZONE_FILE" ;;
esac
{last or ":"}
"""
    )
    path.chmod(0o755)
    return path


def zone(controller: Controller) -> dict[str, str]:
    return {"ZONE_FILE": str(controller.lab.zone_path)}


def test_r45_the_tsig_secret_is_nowhere(controller: Controller) -> None:
    """Not in what is printed at -vvvv, also where it fails, in what is remembered, in arguments or environments."""
    lab = controller.lab
    file = controller.home / "publisher.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(lab.publisher))
    tasks = [
        ("acme_certificate", {"publisher": {**lab.publisher, "key_name": "other.example.com"}}),
        ("acme_certificate", {"publisher": {**lab.publisher, "key_secret": lab.tsig_secret[:-1]}}),
        ("acme_certificate", {"publisher": {**lab.publisher, "secret": lab.tsig_secret}}),
        ("acme_certificate", {"publisher": None, "publisher_file": str(file)}),
    ]
    with ProcessWatcher() as watcher:
        runs = controller.play_all(tasks, "-vvvv", "--diff")
    assert any(b"AnsiballZ_acme_certificate" in seen for seen in watcher.seen)
    assert not any(lab.tsig_secret[:20].encode() in seen for seen in watcher.seen)
    assert [bool(run.values["failed"]) for run in runs] == [True, True, True, False]
    assert lab.tsig_secret[:20] not in printed(runs)
    kept = {name: data for name, data in tree(controller.home).items() if name != "publisher.json"}
    assert [name for name, data in kept.items() if lab.tsig_secret[:20].encode() in data] == []


ACCOUNT = {"domain": "other.example.com", "subdomain": "a", "fulldomain": "a.example.net", "username": "u"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"publisher": {"type": "lexicon", "provider": "powerdns", "options": {"pdns_url": "x"}}}, "pdns_server"),
        ({"publisher": {"type": "lexicon", "provider": "ddns"}}, "Use publisher.type rfc2136"),
        ({"publisher": {"type": "lexicon", "provider": "cloudflair"}}, "cloudflare"),
        (
            {
                "publisher": {
                    "type": "acme_dns",
                    "url": "https://a",
                    "accounts": [{**ACCOUNT, "password": "a-password"}],
                }
            },
            NAME,
        ),
        ({"publisher": {"type": "exec", "command": []}}, "publisher.command"),
        ({"publisher": {"type": "rfc2136"}}, "server"),
        ({"publisher": {"type": "rfc2136", "server": "127.0.0.1", "key_name": "a"}}, "key_secret"),
        ({"publisher": {"type": "rfc2136", "server": "127.0.0.1", "ttl": -1}}, "publisher.ttl '-1'"),
        ({"publisher": {"server": "127.0.0.1"}}, "type"),
        ({"publisher": None, "publisher_file": "/nowhere/publisher.json"}, "publisher_file '/nowhere/publisher.json'"),
        ({"delegation": {NAME: "not a name"}}, "delegation 'not a name'"),
    ],
)
def test_what_is_wrong_with_a_publisher_is_said_before_an_order_is_placed(
    controller: Controller, options: dict[str, t.Any], error: str
) -> None:
    assert error in publish(controller, **options).error
    assert made(controller.lab)["orders"] == 0
