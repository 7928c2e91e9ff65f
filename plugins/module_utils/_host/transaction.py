# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One transaction on a host: a bundle and the configuration that names it, proven by handshake or rolled back.

Write the version (or take one that is there, to go back to), verify the pair, switch `current` by one rename, replace
the configuration, prove. Up to the switch nothing that Pomerium reads was touched; from the switch on the signals of a
closing connection are ignored, since it may run through this very Pomerium. Killed anywhere, the host has the old set
or the new one, complete, and the next run goes on.
Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import signal
import typing as t

from .. import _files
from .._errors import UserError
from .._lock import hold_lock
from .._versions import Content, Versions
from .config_file import ConfigFile
from .hold import Hold
from .home import check_directory, choose_owner, make_home
from .in_use import find_problem, order_by_use, read_history
from .leftovers import find_leftovers
from .look import choose_target, report
from .pending import drop_pending, is_over
from .probe import Served, Target
from .process import find_process
from .prove import Proof, Prover
from .record import read_record, write_record

LOCK_SECONDS = 60.0

STALE = {"changed": False, "stale": True}
"""The host is not as the controller saw it, and nothing was done."""


def apply(params: t.Mapping[str, t.Any], warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    """Install. `stale: true` and nothing done where the configuration or the hold is not what the controller saw."""
    try:
        return _apply(params, warn)
    except OSError as error:  # before the switch, since all that comes later looks after itself
        raise UserError(
            "The bundle cannot be written, and Pomerium goes on with what it has",
            name=os.path.join(params["directory"], params["name"]),
            answer=_said(error),
            remedy="Mend it (space, rights, a read-only mount), and run again.",
        ) from error


def _apply(params: t.Mapping[str, t.Any], warn: t.Callable[[str], None]) -> dict[str, t.Any]:
    check_directory(params["directory"])
    process = find_process(params["service"], config_path=params["config_path"])
    owner = choose_owner(params["owner"], params["group"], process)
    home = make_home(params["directory"], params["name"], owner)
    with hold_lock(os.path.join(home, ".lock"), within=LOCK_SECONDS):  # two controllers must not interleave
        target = choose_target(params, None)
        prover = Prover(
            process,
            target or Target("127.0.0.1", 443),
            reload=params["reload"],
            within=float(params["probe"]["timeout"]),
        )
        if process.needs_daemon_reload and params["reload"] in ("auto", "restart"):
            warn(
                f"The files of unit {process.unit} changed since systemd read them: wherever it is started or "
                "restarted, it is as it was before. Run `systemctl daemon-reload` on the host, then run again."
            )
        with ConfigFile(params["config_path"]) as config:
            transaction = _Transaction(params, home, owner, prover, target, config)
            if not transaction.hold.is_as_seen or not transaction.is_current_config():
                return STALE
            result = transaction.run()
        for warning in transaction.warnings:
            warn(warning)
        return result


class _Transaction:
    def __init__(
        self,
        params: t.Mapping[str, t.Any],
        home: str,
        owner: _files.Owner,
        prover: Prover,
        target: Target | None,
        config: ConfigFile,
    ) -> None:
        self._params = params
        self._home = home
        self._config = config
        self._prover = prover
        self._target = target
        self._versions = Versions(home, owner=owner, directory_mode=0o750)
        self._before_version = self._versions.current()
        self._order = order_by_use(home, self._versions)
        self.warnings: list[str] = []
        self.is_swept = False
        self.hold = Hold(home, wanted=params["hold"], is_lifted=params["lift"], current=self._before_version)

    def is_current_config(self) -> bool:
        """Tell whether the configuration is still what the controller's decision stands on."""
        wanted = self._params["config_sha256"]
        return not wanted or self._config.is_still(wanted)  # where there is none, it has no say in this install

    def run(self) -> dict[str, t.Any]:
        self._sweep()
        try:
            return self._install()
        finally:
            with contextlib.suppress(OSError):
                self._versions.sweep()

    def _install(self) -> dict[str, t.Any]:
        known = set(self._versions.names())
        self._versions.keep_way_back()
        version = self._write_version()
        with _signals_ignored():
            before = self._prover.look() if self._target is not None else Served("unknown")
            if not self.is_current_config():  # all that came before took seconds
                self._discard(version, known)
                return STALE
            try:
                self.hold.begin()
                self._versions.switch(version)
                if self._params["config_text"] is not None:
                    self._config.replace(base64.b64decode(self._params["config_text"]))
                proof = self._prove(before)
            except OSError as error:
                self._roll_back(before, version, known, answer=_said(error))
            if not self._is_accepted(proof, before):
                self._roll_back(before, version, known, proof=proof)
            return self._commit(version, proof)

    def _sweep(self) -> None:
        """Remove what a run that was killed has left; what it had not finished is begun anew."""
        for path in find_leftovers(self._home, self._config.path):
            self.is_swept = True
            try:
                _files.remove_any(path)
            except OSError:
                self.warnings.append(f"{path} could not be removed.")

    def _discard(self, version: str, known: set[str]) -> None:
        if version not in known:
            _files.remove_tree(self._versions.path(version))

    def _write_version(self) -> str:
        """Write the files where nothing reads them yet, and let OpenSSL say that the key fits the certificate."""
        files = {
            file["name"]: Content(self._content(file), int(file["mode"], 8)) for file in self._params["files"] or ()
        }
        known = set(self._versions.names())
        version: str = self._versions.add(self._params["version"], files) if files else self._params["version"]
        directory = self._versions.path(version)
        problem = find_problem(directory)
        if problem is not None:
            self._discard(version, known)
            raise UserError("This host's OpenSSL refuses the pair", name=directory, answer=problem)
        return version

    def _content(self, file: t.Mapping[str, t.Any]) -> bytes:
        """Give what a file is to hold; without content it is as in the version in use (a key that need not travel)."""
        if file["content"] is not None:
            return base64.b64decode(file["content"])
        try:
            return _files.read_plain(os.path.join(self._versions.link, file["name"]))[0]
        except OSError as error:
            raise UserError("A file is not on the host any more", name=file["name"], answer=_said(error)) from error

    def _prove(self, before: Served) -> Proof:
        if self._target is None:
            proof = self._prover.apply_unproven(before)
            self.warnings += [f"What reload asks for was not done ({why})." for why in proof.untried]
            return proof
        return self._prover.prove(self._params["leaf_sha256"], before)

    def _is_accepted(self, proof: Proof, before: Served) -> bool:
        """Our leaf is the proof. Where nothing listened before and we started nothing there is nothing to prove, and a
        leaf that is only shown to those with a client certificate cannot be seen from here."""
        if self._target is None or proof.served.sha256 == self._params["leaf_sha256"]:
            return True
        if proof.reloaded == "start":
            return False
        return before.state == proof.served.state and before.state in ("not_listening", "client_certificate_required")

    def _roll_back(
        self, before: Served, version: str, known: set[str], *, proof: Proof | None = None, answer: str = ""
    ) -> t.NoReturn:
        """Put back what was there, prove that it is served, and fail with what was seen."""
        what = "the new certificate" if self._params["files"] else f"version {version}"
        try:  # in reverse, so that a configuration never points through a link that is not there
            self._config.put_back()
            self._versions.switch_back()
            self.hold.undo()
        except OSError as error:
            raise UserError(
                f"Pomerium did not serve {what} ({answer or _explain(proof)}), and not all could be put back",
                name=_shown(self._target),
                answer=_said(error),
                remedy="Certificate and key that are in use belong together. Mend that, and run again."
                + (f" The configuration as it was is {self._config.backup}." if self._config.backup else ""),
                rolled_back=False,
            ) from error
        if proof is not None and proof.reloaded == "start":
            self._prover.undo_start()
        restored = self._prover.prove(before.sha256, before) if before.sha256 is not None else Proof(before, "none")
        with contextlib.suppress(OSError):
            self._discard(version, known)
        raise UserError(
            f"Pomerium did not serve {what}, and everything was put back"
            if restored.served.sha256 == before.sha256
            else f"Pomerium did not serve {what}; all files were put back, but the old one is not served",
            name=_shown(self._target),
            answer=answer or _explain(proof),
            remedy="Look at Pomerium's log on the host; nothing is left to undo.",
            rolled_back=True,
            reloaded=proof.reloaded if proof else "none",
            served=report(restored.served, self._target) if self._target else None,
        )

    def _commit(self, version: str, proof: Proof) -> dict[str, t.Any]:
        order = [*(name for name in self._order if name != version), version]
        known = {*read_history(self._home), self._before_version, version}
        try:  # it is installed and served: what is left to do is said, and done by the next run
            if self._params["files"]:  # who goes back wants all that there is to go back to
                self._versions.prune(self._params["keep_versions"], order)
                self._config.prune()
            write_record(self._home, {**self._new_record(), "history": [name for name in order if name in known]})
            if is_over(self._home):
                drop_pending(self._home)
            self.hold.finish()
        except OSError as error:
            self.warnings.append(f"Installed and served, but not tidied up: {_said(error) or self._home}.")
        config = self._params["config_text"]
        is_changed = version != self._before_version or config is not None or proof.reloaded != "none"
        return {
            "changed": is_changed or self.hold.is_changed or self.is_swept,
            "stale": False,
            "version": version,
            "previous_version": self._before_version,
            "reloaded": proof.reloaded,
            "backup_file": self._config.backup,
            "served": report(proof.served, self._target, self._params["leaf_sha256"]) if self._target else None,
        }

    def _new_record(self) -> dict[str, t.Any]:
        """Note what was proven; who goes back to a version has not looked at the configuration."""
        record = dict(self._params["record"] or read_record(self._home) or {})
        config = self._params["config_text"]
        if self._params["record"] is not None:
            record["config_path"] = self._config.path
            record["config_sha256"] = self._params["config_sha256"]
        if config is not None:
            record["config_sha256"] = hashlib.sha256(base64.b64decode(config)).hexdigest()
        if self._target is not None:
            record["probe"] = vars(self._target)
        return record


def _said(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)


def _shown(target: Target | None) -> str | None:
    return None if target is None else f"{target.server_name or ''} at {target.address}:{target.port}".strip()


def _explain(proof: Proof | None) -> str:
    if proof is None:
        return "unknown"
    served = proof.served
    seen = f"leaf {served.sha256} is served" if served.sha256 else served.state.replace("_", " ")
    after = f"after {proof.reloaded}" if proof.reloaded != "none" else ""
    untried = f"not tried: {', '.join(proof.untried)}" if proof.untried else ""
    parts = [seen, served.error, after, untried, proof.journal]
    return "; ".join(part for part in parts if part)


@contextlib.contextmanager
def _signals_ignored() -> t.Iterator[None]:
    """Ignore what a closing SSH connection sends; the SIGTERM of a shutdown too, since the deadline is short."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
