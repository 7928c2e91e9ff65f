#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module pomerium_certificate_info: its contract. The work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pomerium_certificate_info
short_description: Say which certificate a Pomerium host has configured, installed and really serves
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Looks at a host and changes nothing. What it returns is public; the configuration's other settings and the private
    key do not leave the host's half.
  - A host on which nothing was installed yet is described as well.
extends_documentation_fragment:
  - zerotrust.pomerium._pomerium
  - zerotrust.pomerium._pomerium.attributes
attributes:
  diff_mode:
    support: N/A
    details: This module changes nothing.
options:
  fleet:
    description:
      - Whether the host is one of those that keep the certificate, so that what it keeps is left in RV(store_path) for
        M(zerotrust.pomerium.acme_certificate) with O(zerotrust.pomerium.acme_certificate#module:fleet). That is one
        round trip; what needs more is left out, and RV(configured), RV(installed), RV(served) and RV(runtime) are null.
    type: bool
    default: false
  identifiers:
    description:
      - With O(fleet), DNS names of the certificate as this host's variables have them, to find out where hosts
        disagree.
    type: list
    elements: str
    default: []
  owner:
    description:
      - With O(fleet), owner of what will be installed. By default root, or the user that installs.
    type: str
  group:
    description:
      - With O(fleet), group of what will be installed. By default that of the running Pomerium.
    type: str
seealso:
  - module: zerotrust.pomerium.pomerium_certificate
    description: Installs a certificate.
"""

EXAMPLES = r"""
- name: Look at Pomerium
  zerotrust.pomerium.pomerium_certificate_info:
  become: true
  register: pomerium

- name: Say until when the certificate that users see is valid
  ansible.builtin.debug:
    msg: "{{ pomerium.served.names | join(', ') }} until {{ pomerium.served.not_after }}"
"""

RETURN = r"""
configured:
  description: The configuration as far as it is about this.
  returned: success
  type: dict
  contains:
    path:
      description: The configuration file.
      returned: success
      type: str
      sample: /etc/pomerium/config.yaml
    state:
      description: One of V(file), V(missing), V(unreadable), V(link) and V(other) (also where it is not YAML).
      returned: success
      type: str
      sample: file
    found_instead:
      description: Files that could be meant instead of one that is missing.
      returned: success
      type: list
      elements: str
      sample: []
    settings:
      description: The three settings; null where one is not set.
      returned: success
      type: dict
      sample:
        certificate_file: /etc/pomerium-tls/pomerium/current/fullchain.pem
        certificate_key_file: /etc/pomerium-tls/pomerium/current/privkey.pem
        certificate_authority_file: /etc/pomerium-tls/pomerium/current/ca.pem
installed:
  description:
    - The installed bundle; null where there is none. It has C(version), C(files), and what is known of the certificate,
      namely C(names), C(not_before), C(not_after), C(serial), C(fingerprint_sha256), C(issuer) and C(cert_id).
    - C(hold) is as RV(zerotrust.pomerium.pomerium_certificate#module:hold), null where the host is not held.
    - C(versions) are all that lie on the host, the one in use first, then the one that was in use before it, and so on.
      C(problem) says why one could not be used, and is null where it could.
  returned: success
  type: dict
  sample:
    version: 20261124T101500Z-3a5f
    files: [ca.pem, fullchain.pem, meta.json, privkey.pem]
    hold: null
    versions:
      - version: 20261124T101500Z-3a5f
        names: ["*.corp.example.com"]
        not_after: "2027-02-22T10:14:59Z"
        problem: null
    names: ["*.corp.example.com"]
    not_after: "2027-02-22T10:14:59Z"
served:
  description:
    - What a handshake on the host showed, as RV(zerotrust.pomerium.pomerium_certificate#module:served); C(is_ours) says
      whether it is the installed one. Null where nobody looked.
  returned: success
  type: dict
  sample:
    state: served
    is_ours: true
    names: ["*.corp.example.com"]
    not_after: "2027-02-22T10:14:59Z"
shadowing:
  description: What would be served instead of the installed certificate, or keeps Pomerium from starting.
  returned: success
  type: list
  elements: str
  sample: ["certificates[0] (/etc/pomerium/cert.pem, whose files are absent)"]
runtime:
  description: Pomerium as it runs.
  returned: success
  type: dict
  contains:
    state:
      description: V(running), V(failed), V(never_started), V(stopped) or V(absent).
      returned: success
      type: str
      sample: running
    unit:
      description: The systemd unit; null where it is a plain process.
      returned: success
      type: str
      sample: pomerium
    pid:
      description: The process; null where there is none.
      returned: success
      type: int
      sample: 812
    config_path:
      description: The configuration that it was started with.
      returned: success
      type: str
      sample: /etc/pomerium/config.yaml
    environment:
      description: Names of the variables in its environment that win over the configuration.
      returned: success
      type: list
      elements: str
      sample: []
not_after:
  description: When the installed certificate expires (ISO 8601, UTC); null where there is none.
  returned: success
  type: str
  sample: "2027-02-22T10:14:59Z"
store_path:
  description:
    - With O(fleet), the directory on the controller in which looks lie until the run ends, the same for all hosts of
      it, also where the host did not answer. Null without.
  returned: success
  type: str
  sample: /home/runner/.ansible/tmp/ansible-local-4711abcdefgh/zerotrust.pomerium
"""

from ..module_utils._host.options import INFO, need_plugin
from ..module_utils._run import run


def main() -> None:
    run(INFO, need_plugin)


if __name__ == "__main__":
    main()
