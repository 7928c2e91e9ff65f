# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in of Pomerium: `pomerium -config FILE` as a host sees it, with certificates, hot reload and refusals.

Not Pomerium: no routes, no identity, no policy, and its first log line says so. What it does with certificates
follows Pomerium 0.33: it polls the stat of the configuration and of the referenced files every 200 ms and reads them
only when size or mtime changed (a change of neither, and a chmod, go unnoticed), keeps the old pair while the new one
is not whole, reloads on SIGHUP, and is fatal at start where it would keep the old pair while running.

POMERIUM_STANDIN_VERSION (default 0.33) makes it an older one: before 0.29 SIGHUP kills it, before 0.13 only the
configuration is watched. Run it with `python -m ansible_collections.zerotrust.pomerium.tests.lab.pomerium_standin`.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import hashlib
import json
import os
import signal
import socket
import ssl
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_listener import Listener, Serving
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_options import ConfigError, Options
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_tls import Certificates, self_signed

POLL_SECONDS = 0.2
PR_SET_NAME = 15
STAPLE = "certificate requires OCSP stapling but has no OCSP staple response"


def log(level: str, message: str, **fields: t.Any) -> None:
    """One line of JSON, as Pomerium's zerolog writes it."""
    now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    print(json.dumps({"level": level, **fields, "time": now, "message": message}), flush=True)


@dataclass
class Seen:
    """What the watcher knows of one file: its stat, and the digest that was taken when the stat last changed."""

    stamp: tuple[int, int] | None
    digest: bytes | None


class Watcher:
    """Notices changed contents by looking at size and mtime; nothing else makes it read a file again."""

    def __init__(self) -> None:
        self._seen: dict[Path, Seen] = {}

    def watch(self, paths: t.Iterable[Path]) -> None:
        """Watch these and no others; those that are new are taken as they are now."""
        self._seen = {path: self._seen.get(path) or Seen(_stamp(path), _digest(path)) for path in paths}

    def changed(self) -> list[Path]:
        """The files whose contents changed since the last look, gone and unreadable ones included."""
        found = []
        for path, seen in self._seen.items():
            stamp = _stamp(path)
            if stamp != seen.stamp:
                seen.stamp, before = stamp, seen.digest
                seen.digest = _digest(path)
                if seen.digest != before:
                    found.append(path)
        return found


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _digest(path: Path) -> bytes | None:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None


class Standin:
    """The process: its configuration, what it serves, and what makes it look again."""

    def __init__(self, config_path: Path, environment: t.Mapping[str, str]) -> None:
        self._config_path, self._environment = config_path, environment
        major, minor = environment.get("POMERIUM_STANDIN_VERSION", "0.33").split(".")[:2]
        self._version = int(major), int(minor)
        self._signals = {signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if self._version >= (0, 29) else [])}
        self._watcher = Watcher()
        self._options = Options(config_path, environment)
        self._listener = Listener(self._options.address)

    def start(self) -> None:
        """Serve, and tell systemd; raises ConfigError for what is fatal at start."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)  # before there are threads: they inherit it
        self._watch(self._options)
        self._report_unknown_keys(self._options)
        try:
            self._listener.serving = _serving(self._options)
        except ssl.SSLError as error:  # Envoy refuses the pair: up, but without a listener and never ready
            log("error", "xds.listener", error=str(error))
            return
        self._listener.start()
        notify("READY=1")
        log("info", "listening", address=self._options.text("address") or ":443")

    def run(self) -> None:
        """Poll and obey signals until SIGTERM or SIGINT."""
        while True:
            received = signal.sigtimedwait(self._signals, POLL_SECONDS)
            if received is not None and received.si_signo != signal.SIGHUP:
                self._listener.close()
                return
            changed = self._watcher.changed()
            if changed:
                log("debug", "fileutil/watcher: file change event", paths=[str(path) for path in changed])
            if received is not None or self._config_path in changed:
                self._reload_config()
            elif changed:
                self._reload_files()
            notify("WATCHDOG=1")

    def _reload_config(self) -> None:
        """Take the configuration as it is now, or keep the old one; the last two lines come in either case."""
        log("info", "config: file updated, reconfiguring...")
        before = self._options
        try:
            self._options = Options(self._config_path, self._environment)
            self._watch(before, self._options)
            self._report_unknown_keys(self._options)
            self._listener.serving = _serving(self._options)
        except (ConfigError, ssl.SSLError) as error:
            self._options = before
            log("error", "config: error updating config", error=str(error))
        self._watch(self._options)
        log("info", "config: updated config")
        log("info", "config: loaded configuration")

    def _reload_files(self) -> None:
        """Take the referenced files as they are now, or keep the old pairs."""
        log("info", "config/filewatchersource: change detected, triggering update")
        try:
            self._listener.serving = _serving(self._options)
        except (ConfigError, ssl.SSLError) as error:
            log("error", "controlplane: error updating server with new config", error=str(error))

    def _watch(self, *options: Options) -> None:
        """Watch what these name. Called before files are read: a change meanwhile is seen at the next look."""
        referenced = [path for one in options for path in one.files] if self._version >= (0, 13) else []
        self._watcher.watch([self._config_path, *referenced])

    def _report_unknown_keys(self, options: Options) -> None:
        for key in options.unknown:
            log("error", "unknown config option", config_file=str(self._config_path), key=key)


def _serving(options: Options) -> Serving:
    """All that is served under `options`; raises ConfigError in Pomerium's words, ssl.SSLError where Envoy would."""
    pairs = options.pairs()
    if any(pair.is_must_staple for pair in pairs):
        raise ConfigError(STAPLE)
    if not pairs and not options.flag("insecure_server"):
        log("info", "server will be using a self-signed certificate")
    return Serving(
        certificates=Certificates(pairs or [self_signed()]),
        is_insecure=options.flag("insecure_server"),
        uses_proxy_protocol=options.flag("use_proxy_protocol"),
        has_hsts=bool(pairs) and "set_response_headers" not in options.values,
        hosts=options.hosts,
    )


def notify(state: str) -> None:
    """Tell systemd, where it asks to be told (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)


def config_path_of(arguments: t.Sequence[str]) -> Path:
    """The FILE of `-config FILE`, `--config FILE` or either with an equals sign."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "config":
            return Path(value if equals else arguments[position + 1])
    sys.exit("usage: pomerium_standin -config FILE")


def main() -> None:
    config_path = config_path_of(sys.argv[1:])
    ctypes.CDLL(None).prctl(PR_SET_NAME, b"pomerium", 0, 0, 0)  # what /proc/PID/comm says, as for the real one
    log("warn", "this is a stand-in of Pomerium for tests, not Pomerium itself", pid=os.getpid())
    try:
        standin = Standin(config_path, os.environ)
        standin.start()
    except (ConfigError, OSError) as error:
        log("fatal", "cmd/pomerium", error=str(error))
        sys.exit(1)
    standin.run()


if __name__ == "__main__":
    main()
