# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter `install_summary`: how an install went over a fleet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: install_summary
short_description: Say how an install went over a fleet, one line a host
version_added: 1.0.0
author: [zerotrust.pomerium contributors]
description:
  - Reads of each host what the role P(zerotrust.pomerium.pomerium#role) has registered in C(pomerium_result), and says
    in one line what became of the host, and what is served until when.
  - The playbooks end with it. In a play of your own, give the role C(ignore_errors) and C(ignore_unreachable), so that
    hosts which failed are still in the play.
positional: _input, hostvars
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variables of all hosts, C(hostvars).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say how it went
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts_all | zerotrust.pomerium.install_summary(hostvars)).lines }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: What became of the hosts.
  type: dict
  contains:
    lines:
      description: One line a host, in the order in which they were given.
      type: list
      elements: str
      sample:
        - "pom1: installed already, served: *.corp.example.com until 2027-02-22T10:14:59Z"
        - "pom2: unreachable: Failed to connect to the host via ssh: connect to host pom2 port 22: No route to host"
    failed:
      description: The hosts on which it failed or was rolled back.
      type: list
      elements: str
      sample: []
    unreachable:
      description: The hosts that could not be reached.
      type: list
      elements: str
      sample: [pom2]
    left:
      description: The hosts whose turn did not come, since the install ended before.
      type: list
      elements: str
      sample: []
"""

import typing as t

from ..plugin_utils._summary import summarize


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"install_summary": summarize}
