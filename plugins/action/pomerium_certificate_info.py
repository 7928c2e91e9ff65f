# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of `pomerium_certificate_info`: look at a host and say what is there, public parts only."""

from __future__ import annotations

import typing as t

from ..module_utils._host.options import INFO
from ..plugin_utils._action import PomeriumAction
from ..plugin_utils._fleet import leave_look
from ..plugin_utils._inspect import inspect_host
from ..plugin_utils._remote import Host


class ActionModule(PomeriumAction):
    SPEC = INFO

    def work(self, options: dict[str, t.Any], host: Host) -> dict[str, t.Any]:
        return leave_look(options, host) if options["fleet"] else inspect_host(options, host)
