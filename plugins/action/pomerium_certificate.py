# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of `pomerium_certificate`: read the sources, check them, install by `pomerium_bundle`."""

from __future__ import annotations

import os
import typing as t
from datetime import datetime, timezone

from ..module_utils._errors import BadInput
from ..module_utils._host.options import CERTIFICATE
from ..plugin_utils._action import PomeriumAction
from ..plugin_utils._back import Back, whoever_runs
from ..plugin_utils._bundle import Bundle, Sources, make_bundle
from ..plugin_utils._fleet import observed_look
from ..plugin_utils._install import Install
from ..plugin_utils._outcome import would_install
from ..plugin_utils._remote import Host


class ActionModule(PomeriumAction):
    SPEC = CERTIFICATE

    def work(self, options: dict[str, t.Any], host: Host) -> dict[str, t.Any]:
        back = Back(options, host, by=whoever_runs(host.task_vars))
        if options["version"] == "previous":
            return back.run(check=self.is_check).returns(diff=bool(self._task.diff))
        self._need_sources(options)
        missing = [
            path for path in self._paths(options) if not (os.path.exists(path) or self._is_on_hosts(options, path))
        ]
        if self.is_check and missing:
            return would_install(f"{', '.join(missing)} does not exist yet")
        install = Install(options, host, self._bundle(options), back, observed=observed_look(options, host))
        return install.run(check=self.is_check).returns(diff=bool(self._task.diff))

    @staticmethod
    def _need_sources(options: t.Mapping[str, t.Any]) -> None:
        for kind in ("fullchain", "private_key"):
            if not (options[f"{kind}_src"] or options[f"{kind}_content"]):
                raise BadInput(
                    f"{kind}_src", None, f"is missing, and so is {kind}_content",
                    remedy="Give one of them; only version: previous needs neither.",
                )  # fmt: skip

    def _paths(self, options: t.Mapping[str, t.Any]) -> list[str]:
        kinds = ("fullchain", "private_key", "authority")
        return [self.source_path(options[f"{kind}_src"]) for kind in kinds if options.get(f"{kind}_src")]

    def _bundle(self, options: t.Mapping[str, t.Any]) -> Bundle:
        sources = Sources(
            fullchain=self.source(options, "fullchain") or b"",
            private_key=self._private_key(options),
            authority=self.source(options, "authority"),
            meta=self._beside(options, "meta.json"),
            signature=self._beside(options, "meta.sig"),
        )
        return make_bundle(sources, expect_names=options["expect_names"], now=datetime.now(timezone.utc))

    def _private_key(self, options: t.Mapping[str, t.Any]) -> bytes | None:
        given = options.get("private_key_src")
        if given and self._is_on_hosts(options, self.source_path(given)):
            return None
        return self.source(options, "private_key") or b""

    def _is_on_hosts(self, options: t.Mapping[str, t.Any], path: str) -> bool:
        """Tell whether this is the key of a certificate in a store, and lies on hosts only (the fleet is the store)."""
        if not options.get("private_key_src") or path != self.source_path(options["private_key_src"]):
            return False
        return not os.path.exists(path) and self._beside(options, "meta.json") is not None

    def _beside(self, options: t.Mapping[str, t.Any], name: str) -> bytes | None:
        """Read what the store keeps beside a chain: where it comes from, and the signature over that."""
        if not options.get("fullchain_src"):
            return None
        path = os.path.join(os.path.dirname(self.source_path(options["fullchain_src"])), name)
        return self.read(path, option="fullchain_src") if os.path.isfile(path) else None
