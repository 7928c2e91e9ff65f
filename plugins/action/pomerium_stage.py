# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of `pomerium_stage`: what is pending goes out to a host, a key is fetched from one."""

from __future__ import annotations

import typing as t

from ..module_utils._host.options import STAGE
from ..plugin_utils._action import PomeriumAction
from ..plugin_utils._fleet import fetch, stage
from ..plugin_utils._remote import Host


class ActionModule(PomeriumAction):
    SPEC = STAGE

    def work(self, options: dict[str, t.Any], host: Host) -> dict[str, t.Any]:
        if options["step"] == "fetch":
            return fetch(options, host)
        return stage(options, host, check=self.is_check)
