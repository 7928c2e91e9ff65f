# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A stand-in of Pomerium: `pomerium -config FILE` as a host sees it, with certificates, hot reload and refusals.

Not Pomerium: no routes, no identity, no policy, and its first log line says so. What it does with certificates
follows Pomerium 0.33: it polls the stat of the configuration and of the referenced files every 200 ms and reads them
only when size or mtime changed (a change of neither, and a chmod, go unnoticed), keeps the old pair while the new one
is not whole, reloads on SIGHUP, and is fatal at start where it would keep the old pair while running. What it says of
itself (pomerium_health.py) lies where Pomerium's own words do.

POMERIUM_STANDIN_VERSION (default 0.33) makes it an older one: before 0.31 it has no health endpoint and tells systemd
nothing, before 0.29 SIGHUP kills it, before 0.13 only the configuration is watched. `--version` names that version;
asked of /proc/PID/exe it is the interpreter that answers. Run it with
`python -m ansible_collections.zerotrust.pomerium.tests.lab.pomerium_standin`.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import hashlib
import json
import os
import signal
import sys
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_health import Health, Reloads, answer_health, serve
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_listener import Listener, Serving
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_options import ConfigError, Options, socket_address
from ansible_collections.zerotrust.pomerium.tests.lab.pomerium_tls import Certificates, self_signed

POLL_SECONDS = 0.2
PR_SET_NAME = 15
FIRST_WITH_HEALTH = (0, 31)
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
        self._version = version_of(environment)
        self._signals = {signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if self._version >= (0, 29) else [])}
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests by nohup has it ignored
        self._watcher = Watcher()
        self._options = Options(config_path, environment)
        self._listener = Listener()
        self._health = Health(has_systemd=self._version >= FIRST_WITH_HEALTH)
        self._reloads = Reloads()

    def start(self) -> None:
        """Serve, and tell systemd; raises ConfigError for what is fatal at start."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)  # before there are threads: they inherit it
        self._watch(self._options)
        self._report_unknown_keys(self._options)
        self._options.validate()
        self._reloads.checksum = self._options.checksum
        self._serve_endpoints()
        self._health.watch_over()
        self._health.report("config.databroker.build")
        self._apply()  # what Envoy refuses is not fatal: up, but without a listener and never ready

    def run(self) -> None:
        """Poll and obey signals until SIGTERM or SIGINT."""
        while True:
            received = signal.sigtimedwait(self._signals, POLL_SECONDS)
            if received is not None and received.si_signo != signal.SIGHUP:
                self._health.stop()
                self._listener.close()
                return
            changed = self._watcher.changed()
            if changed:
                log("debug", "fileutil/watcher: file change event", paths=[str(path) for path in changed])
            if received is not None or self._config_path in changed:
                self._reload_config()
            elif changed:
                log("info", "config/filewatchersource: change detected, triggering update")
                self._update()

    def _reload_config(self) -> None:
        """Take the configuration as it is now, or keep the old one; the two last words come in either case."""
        log("info", "config: file updated, reconfiguring...")
        before = self._options
        try:
            options = Options(self._config_path, self._environment)
            self._watch(before, options)
            options.validate()
            self._options = options
            self._report_unknown_keys(options)
            self._reloads.checksum = options.checksum
        except ConfigError as error:
            self._reloads.has_failed = True
            log("error", "config: error updating config", error=str(error))
        self._watch(self._options)
        log("info", "config: updated config")
        log("info", "config: loaded configuration")
        self._rebuild()
        self._update()

    def _rebuild(self) -> None:
        """Let the databroker's source build the options in force once more: only this reports a broken pair to the
        health endpoints, and only the next of these takes that back."""
        try:
            self._options.validate()
        except ConfigError as error:
            self._health.report("config.databroker.build", error)
        else:
            self._health.report("config.databroker.build")

    def _update(self) -> None:
        """Take the referenced files as they are now, or keep what was in force, which is no error of health."""
        try:
            self._apply()
        except ConfigError as error:
            self._reloads.has_failed = True
            log("error", "controlplane: error updating server with new config", error=str(error))

    def _apply(self) -> None:
        """Give Envoy what the options say now. It refuses what TLS refuses and a new address that is taken (the notes
        are silent on that: a rejected update like any other), and keeps what it had."""
        serving = _serving(self._options)
        if self._options.has_unusable_authority:
            log("error", "config: error getting cert pool")
        self._report("xds.cluster", self._options.authority_problem)
        try:
            self._listener.take(self._options.address, serving())
        except OSError as error:  # ssl.SSLError is one too
            self._report("xds.listener", error)
        else:
            self._report("xds.listener", None)

    def _report(self, check: str, error: object) -> None:
        if error is not None:
            log("error", check, error=str(error))
        self._health.report(check, error)

    def _serve_endpoints(self) -> None:
        """The address of neither moves while it runs. One that is taken is logged: two on one host need two."""
        health = self._options.text("health_check_addr") or "127.0.0.1:28080"
        wanted = {health: answer_health(self._health)} if self._version >= FIRST_WITH_HEALTH else {}
        if self._options.text("metrics_address"):
            wanted[self._options.text("metrics_address")] = {"/metrics": lambda: (200, self._reloads.text)}
        for address, pages in wanted.items():
            try:
                serve(socket_address(address), pages)
            except OSError as error:
                log("error", "failed to listen", address=address, error=str(error))

    def _watch(self, *options: Options) -> None:
        """Watch what these name. Called before files are read: a change meanwhile is seen at the next look."""
        referenced = [path for one in options for path in one.files] if self._version >= (0, 13) else []
        is_hot = self._version < (0, 27) or all(one.is_hot for one in options)
        self._watcher.watch([self._config_path, *referenced] if is_hot else [])

    def _report_unknown_keys(self, options: Options) -> None:
        for key in options.unknown:
            log("error", "unknown config option", config_file=str(self._config_path), key=key)


def _serving(options: Options) -> t.Callable[[], Serving]:
    """What makes all that is served under `options`; raises ConfigError in Pomerium's words, and what is given back
    raises ssl.SSLError where Envoy would refuse."""
    pairs, clients = options.pairs(), options.clients()
    if any(pair.is_must_staple for pair in pairs):
        raise ConfigError(STAPLE)
    if not pairs and not options.flag("insecure_server"):
        log("info", "server will be using a self-signed certificate")
    return lambda: Serving(
        certificates=Certificates(pairs or [self_signed()], clients),
        is_insecure=options.flag("insecure_server"),
        uses_proxy_protocol=options.flag("use_proxy_protocol"),
        has_hsts=bool(pairs) and "set_response_headers" not in options.values,
        hosts=options.hosts,
    )


def version_of(environment: t.Mapping[str, str]) -> tuple[int, int]:
    """The version that it behaves as."""
    major, minor = environment.get("POMERIUM_STANDIN_VERSION", "0.33").split(".")[:2]
    return int(major), int(minor)


def config_path_of(arguments: t.Sequence[str]) -> Path:
    """The FILE of `-config FILE`, `--config FILE` or either with an equals sign."""
    for position, argument in enumerate(arguments):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "config":
            return Path(value if equals else arguments[position + 1])
    sys.exit("usage: pomerium_standin -config FILE")


def main() -> None:
    if sys.argv[1:] in (["-version"], ["--version"]):
        major, minor = version_of(os.environ)
        print(f"pomerium: {major}.{minor}.0+standin\nenvoy: none, this is a stand-in for tests")
        return
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
