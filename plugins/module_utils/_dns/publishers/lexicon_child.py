# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lexicon is asked, in a process of its own: this file's source runs there, reads a job and writes an answer.

The job is JSON on standard input, the answer JSON on standard output; neither a file nor an argument holds a secret.
An answer is `{}` where all is done, else what there is to say: `unavailable` (the provider), `unknown` and `known`
(options of the provider), `left` (records that are not as they should be, as lines) and `error`.
Nothing is asked of the network but the provider. Private to this collection.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import signal
import sys
import time
import typing as t

Job = t.Dict[str, t.Any]

ROUNDS = 3
"""How often a value is written: the whole set at a name is replaced by some providers, so another machine that writes
at the same moment may undo what we wrote."""

SHOWN_SECONDS = 2.0
"""How long a provider may take to list what was written to it, before it is written again."""


def main() -> None:
    """Do the job, and end at its deadline whoever is still there to wait for it."""
    job = json.load(sys.stdin)
    signal.alarm(job["seconds"])
    sys.path[:] = job["path"]
    logging.disable(logging.CRITICAL)  # lexicon logs what it sends
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            answer = work(job)
        except Exception as error:
            answer = {"error": describe(error)}
    json.dump(answer, sys.stdout)


def work(job: Job) -> Job:
    """Have the records of the job in its zone, or not; without any, the provider is not asked for anything."""
    stay_offline()
    from lexicon.client import Client
    from lexicon.config import ConfigResolver, DictConfigSource
    from lexicon.exceptions import ProviderNotAvailableError

    provider, zone = job["provider"], {"domain": job["zone"]}
    general = {**zone, "provider_name": provider, "ttl": job["ttl"]}
    try:
        client = Client(ConfigResolver().with_dict({**general, provider: job["options"]}))
    except ProviderNotAvailableError:
        return {"unavailable": True}
    known = list_options(client.provider_class)
    unknown = [name for name in job["options"] if name.replace("-", "_") not in known]
    if unknown:
        return {"unknown": unknown, "known": known}
    client.config.add_config_source(DictConfigSource(zone), 0)  # not what its suffix list makes of it: corp.internal
    if not job["records"]:
        return {}
    with client as operations:
        return settle(operations, job)


def stay_offline() -> None:
    """Have lexicon and its providers cut names by the suffix list that is installed: none is fetched, none kept."""
    import tldextract

    extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    vars(tldextract).update(TLDExtract=lambda **_options: extract, extract=extract)


def list_options(provider: t.Any) -> list[str]:
    """Give the names of a provider's options, as its command line has them."""
    import argparse

    parser = argparse.ArgumentParser(add_help=False)
    provider.configure_parser(parser)
    return sorted(action.dest for action in parser._actions)


def settle(operations: t.Any, job: Job) -> Job:
    """Write until the provider lists what it should. An error only counts where that does not come about.

    Some providers answer False where they have failed, some fail where a value is there already, some where it is not.
    """
    left, error = look(operations, job, within=0), None
    for _round in range(ROUNDS):
        if not left:
            break
        for name, value, shown in left:
            try:
                if job["present"]:
                    operations.create_record("TXT", name, value)
                else:
                    operations.delete_record(None, "TXT", name, shown)
            except Exception as failed:
                error = describe(failed)
        left = look(operations, job, within=SHOWN_SECONDS)
    if not left:
        return {}
    return {"left": [f"{name} TXT {value}" for name, value, _shown in left], "error": error}


def look(operations: t.Any, job: Job, *, within: float) -> list[tuple[str, str, str]]:
    """Give what is not as it should be: name, value, and the value as the provider shows it. Look until all is well."""
    end = time.monotonic() + within
    while True:
        left = []
        for name, values in job["records"]:
            found = {plain(record["content"]): record["content"] for record in operations.list_records("TXT", name)}
            left += [(name, value, found.get(value, "")) for value in values if (value in found) != job["present"]]
        if not left or time.monotonic() >= end:
            return left
        time.sleep(0.5)


def plain(content: str) -> str:
    """Take off what a provider has put around a value: quotes, backslashes, and the gaps of one that is split."""
    joined = re.sub(r'"\s+"', "", content.strip()).strip('"')
    return re.sub(r"\\(\d{3}|.)", lambda match: chr(int(match[1])) if len(match[1]) > 1 else match[1], joined)


def describe(error: Exception) -> str:
    """Tell an error, with what the provider's server has answered where there was an answer."""
    said = getattr(getattr(error, "response", None), "text", None)
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"{words} ({said.strip()})" if isinstance(said, str) and said.strip() else words


if __name__ == "__main__":
    main()
