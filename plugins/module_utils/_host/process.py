# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Pomerium of this host as it runs: its unit or its process, its configuration, and what wins over that.

Everything comes from `systemctl show`, the files that it names, and /proc; nothing is asked of Pomerium itself. Of the
environment only names leave the host, and the values that are no secrets (paths and the listen address). Processes
with another root directory (containers) are not ours to see here. Standard library of Python 3.8 only. Private to this
collection.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
import subprocess
import typing as t
from dataclasses import dataclass, field, replace

from .._errors import BadInput
from .unit_environment import unit_environment

SYSTEMD = "/run/systemd/system"
"""There where systemd is this machine's init (as sd_booted looks)."""

DEFAULT_CONFIG_PATHS = ("/etc/pomerium/config.yaml", "/etc/pomerium/pomerium.yaml")

_FLAGS = ("AUTOCERT", "INSECURE_SERVER", "USE_PROXY_PROTOCOL")
_SHOWN = ("CERTIFICATE_FILE", "CERTIFICATE_KEY_FILE", "CERTIFICATE_AUTHORITY_FILE", "ADDRESS")
_HIDDEN = ("CERTIFICATE", "CERTIFICATE_KEY", "CERTIFICATE_AUTHORITY")
_SWITCHES = {"1": "true", "t": "true", "true": "true", "0": "false", "f": "false", "false": "false"}
_PROPERTIES = (
    "LoadState,ActiveState,SubState,Result,MainPID,User,Group,ExecStart,ExecMainStartTimestampMonotonic,"
    "WorkingDirectory,NeedDaemonReload,Environment,EnvironmentFiles,PassEnvironment,UnsetEnvironment"
)


@dataclass(frozen=True)
class Process:
    """What was found. `state` is running, failed, never_started, stopped (an operator's doing) or absent.

    `environment` holds the variables that win over the YAML (of one that is down, those of its unit), with None for a
    value that may be a secret, and "true" or "false" for a switch.
    """

    state: str = "absent"
    unit: str | None = None
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    config_path: str | None = None
    environment: dict[str, str | None] = field(default_factory=dict)
    needs_daemon_reload: bool = False
    """The unit's files changed since systemd read them: a start or a restart would be as they were before."""

    @property
    def is_startable(self) -> bool:
        """Tell whether it is down through no operator's wish: the packaged unit, whose files were missing."""
        return self.state in ("failed", "never_started")


def find_process(service: str, *, config_path: str | None = None) -> Process:
    """Find Pomerium: the unit where systemd runs it, else a plain process, else the unit that is down."""
    unit = _unit(service)
    if unit is not None and unit.pid is not None:
        return unit
    plain = _plain(config_path)
    if plain is not None:
        return plain
    return unit or Process()


def choose_config_path(given: str | None, process: Process) -> str:
    """Name the configuration: the one given, the one Pomerium was started with, the first usual one that exists."""
    if given:
        return given
    if process.config_path:
        return process.config_path
    return next((path for path in DEFAULT_CONFIG_PATHS if os.path.lexists(path)), DEFAULT_CONFIG_PATHS[0])


def run_command(*command: str, within: float = 10.0) -> tuple[int, str]:
    """Run a command of the system; a missing one or one that hangs is a failure like any other."""
    try:
        done = subprocess.run(  # pylint: disable=ansible-bad-function  # no AnsibleModule in this layer
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=within,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return -1, f"{command[0]}: {error}"
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _unit(service: str) -> Process | None:
    if not os.path.isdir(SYSTEMD):
        return None
    status, output = run_command("systemctl", "show", "--property", _PROPERTIES, "--", service)
    shown: dict[str, str] = {}
    for name, _equals, value in (line.partition("=") for line in output.split("\n")):
        shown[name] = f"{shown[name]}\n{value}" if name in shown else value  # EnvironmentFiles: a line for each
    if status != 0 or shown.get("LoadState") != "loaded":
        return None
    pid = int(shown.get("MainPID") or 0)
    is_up = pid and shown.get("SubState") != "auto-restart"
    found = _running(pid, unit=service) if is_up else _down(service, shown)
    return replace(found, needs_daemon_reload=shown.get("NeedDaemonReload") == "yes")


def _down(service: str, shown: t.Mapping[str, str]) -> Process:
    """Describe a unit as systemd would start it."""
    uid, gid = _ids(shown.get("User") or "root", shown.get("Group") or "")
    argv = re.search(r"argv\[\]=(.*?) ;", shown.get("ExecStart", ""))
    config_path = _config_argument(argv.group(1).split() if argv else [])
    _status, manager = run_command("systemctl", "show-environment")
    return Process(
        state=_down_state(service, shown),
        unit=service,
        uid=uid,
        gid=gid,
        config_path=config_path and os.path.join(_working_directory(shown, uid), config_path),
        environment=_winning(unit_environment(shown, manager).items()),
    )


def _working_directory(shown: t.Mapping[str, str], uid: int | None) -> str:
    """Name where the unit would be started; systemd marks one that may be missing, and writes ~ for the user's home."""
    path = shown.get("WorkingDirectory", "").lstrip("!") or "/"
    if path != "~":
        return path
    try:
        return pwd.getpwuid(-1 if uid is None else uid).pw_dir
    except (KeyError, OverflowError):
        return "/"


def _down_state(service: str, shown: t.Mapping[str, str]) -> str:
    """Say why it is down. Of a stopped unit that nothing refers to (it is not enabled) systemd forgets that it ever
    ran; the journal of this boot still knows."""
    if shown.get("ActiveState") == "failed" or shown.get("SubState") == "auto-restart":
        return "failed"
    if shown.get("ExecMainStartTimestampMonotonic", "0") not in ("", "0"):
        return "stopped"
    status, output = run_command(
        "journalctl", "--unit", service, "--boot", "--lines", "1", "--output", "cat", "--quiet"
    )
    return "stopped" if status == 0 and output.strip() else "never_started"


def _ids(user: str, group: str) -> tuple[int | None, int | None]:
    try:
        found = pwd.getpwuid(int(user)) if user.isdigit() else pwd.getpwnam(user)
        if not group:
            return found.pw_uid, found.pw_gid
        return found.pw_uid, int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        return None, None


def _plain(config_path: str | None) -> Process | None:
    """Find a process named pomerium that sees the same files as we do; several need a `config_path` to choose by."""
    found = [_running(pid, unit=None) for pid in _pids()]
    if config_path:
        same = [process for process in found if _is_same_path(process.config_path, config_path)]
        found = same or [process for process in found if process.config_path is None]
    paths = sorted({str(process.config_path) for process in found})
    if len(paths) > 1:
        raise BadInput(
            "config_path", None, f"several Pomerium processes run on this host, with {', '.join(paths)}",
            remedy="Set config_path to the one that is meant.",
        )  # fmt: skip
    return found[0] if found else None


def _is_same_path(one: str | None, other: str) -> bool:
    return one is not None and os.path.realpath(one) == os.path.realpath(other)


def _pids() -> t.Iterator[int]:
    for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        with contextlib.suppress(OSError):  # it may end while we look, or be none of our business
            argv = _read_proc(name, "cmdline").split(b"\0")
            is_named = _read_proc(name, "comm").strip() == b"pomerium"
            if (is_named or os.path.basename(argv[0]) == b"pomerium") and _has_our_root(name):
                yield int(name)


def _has_our_root(pid: str) -> bool:
    theirs, ours = os.stat(f"/proc/{pid}/root/"), os.stat("/")
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def _read_proc(pid: int | str, what: str) -> bytes:
    with open(f"/proc/{pid}/{what}", "rb") as file:
        return file.read()


def _running(pid: int, *, unit: str | None) -> Process:
    try:
        argv = [word.decode("utf-8", "surrogateescape") for word in _read_proc(pid, "cmdline").split(b"\0")]
        status = _read_proc(pid, "status").decode("ascii", "replace")
        config_path = _config_argument(argv)
        if config_path and not os.path.isabs(config_path):
            config_path = os.path.join(os.readlink(f"/proc/{pid}/cwd"), config_path)
        environ = _read_proc(pid, "environ").decode("utf-8", "replace").split("\0")
        environment = _winning(entry.partition("=")[::2] for entry in environ)
    except OSError:  # it ended meanwhile, or belongs to somebody whom we may not look at
        return Process(state="running", unit=unit, pid=pid)
    ids = {line.split()[0]: int(line.split()[1]) for line in status.splitlines() if line[:4] in ("Uid:", "Gid:")}
    return Process("running", unit, pid, ids.get("Uid:"), ids.get("Gid:"), config_path, environment)


def _config_argument(argv: t.Sequence[str]) -> str | None:
    for word, following in zip(argv, [*argv[1:], ""]):
        if word in ("-config", "--config"):
            return following or None
        if word.startswith(("-config=", "--config=")):
            return word.partition("=")[2] or None
    return None


def _winning(environment: t.Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """Keep the variables that win over the YAML; a value only where it is no secret."""
    found: dict[str, str | None] = {}
    for name, value in environment:
        if not value:
            continue  # set but empty does not count for Pomerium
        if name in _SHOWN:
            found[name] = value
        elif name in _HIDDEN:
            found[name] = None
        elif name in _FLAGS and value.lower() in _SWITCHES:  # with anything else Pomerium does not start
            found[name] = _SWITCHES[value.lower()]
    return found
