# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a module of ours as a plain function, in the tests' own process, where a playbook would only take its time.

Options go through the module's own argument spec; only the way into a process of its own, and out of it, is left out.
"""

from __future__ import annotations

import gc
import importlib
import typing as t
from unittest import mock

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.zerotrust.pomerium.plugins.module_utils._acme.transport import Network

MODULES = "ansible_collections.zerotrust.pomerium.plugins.modules"


class Module:
    """A module by its short name."""

    def __init__(self, name: str) -> None:
        module = importlib.import_module(f"{MODULES}.{name}")
        with mock.patch.object(module, "run") as run:
            module.main()
        spec, self._work = run.call_args.args
        self._spec = ArgumentSpecValidator(spec["argument_spec"])

    def run(self, options: t.Mapping[str, t.Any], *, warn: t.Callable[[str], None]) -> dict[str, t.Any]:
        """Run it once. Raises UserError where it fails."""
        validated = self._spec.validate(dict(options))
        if validated.error_messages:
            raise ValueError(validated.error_messages)
        try:
            result: dict[str, t.Any] = self._work(validated.validated_parameters, check=False, warn=warn)
        finally:
            close_connections()
        return result


def close_connections() -> None:
    """End the connections that a module leaves to the end of its process."""
    for network in [thing for thing in gc.get_referrers(Network) if isinstance(thing, Network)]:
        network.session.close()
