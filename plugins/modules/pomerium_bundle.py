#!/usr/bin/python
# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Module pomerium_bundle: the host's half of pomerium_certificate."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pomerium_bundle
short_description: The host's half of pomerium_certificate (internal)
version_added: 1.0.0
author: zerotrust.pomerium contributors (@zerotrust)
description:
  - Internal. It is called by the action plugins of M(zerotrust.pomerium.pomerium_certificate) and
    M(zerotrust.pomerium.pomerium_certificate_info), which check everything before. Use those; options and returns of
    this one may change at any time.
  - Needs nothing on the host but Python 3.8 or later.
extends_documentation_fragment:
  - zerotrust.pomerium._pomerium
  - zerotrust.pomerium._pomerium.attributes
attributes:
  diff_mode:
    support: none
    details: The action plugin shows the differences.
options:
  step:
    description:
      - V(look) tells everything about the host that is no secret; V(read) gives the configuration's text;
        V(apply) installs, proves, and rolls back; V(stage) keeps what is pending; V(fetch) gives keys.
    type: str
    choices: [look, read, apply, stage, fetch]
    required: true
  owner:
    description:
      - Owner of what is installed.
    type: str
  group:
    description:
      - Group of what is installed.
    type: str
  leaf_sha256:
    description:
      - SHA-256 of the leaf (DER, hexadecimal) that the controller has; with V(fetch), of the one whose key it lacks.
    type: str
  proxy_protocol:
    description:
      - Whether to send a PROXY protocol header first. By default as proven last.
    type: bool
  paths:
    description:
      - Files of which V(read) gives the certificates, beside those that it finds in the configuration.
    type: list
    elements: str
  versions:
    description:
      - Whether V(look) tells of all versions, not only of the one in use. It does on a host that is held.
    type: bool
    default: false
  kept:
    description:
      - Whether V(look) tells of what the host keeps for the fleet.
    type: bool
    default: false
  state:
    description:
      - What V(stage) keeps of what was learned, in base64.
    type: str
  order_uri:
    description:
      - The pending order whose key V(fetch) gives.
    type: str
  version:
    description:
      - Name of the version that V(apply) installs.
    type: str
  files:
    description:
      - The files of the version, or those that V(stage) keeps. Where they are not given the version is one that lies on
        the host, and what is pending stays.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the file.
        type: str
        required: true
      content:
        description:
          - Content of the file in base64; where it is not given, that of the same file of the version in use.
        type: str
      mode:
        description:
          - Mode of the file, octal.
        type: str
        default: "0600"
  config_sha256:
    description:
      - Digest of the configuration on which the decision stands. With another one nothing is done.
    type: str
  config_text:
    description:
      - The new configuration in base64. Where it is not given the configuration stays as it is.
    type: str
  record:
    description:
      - What is written beside C(current) once the install is proven.
    type: dict
  hold:
    description:
      - The hold that V(apply) takes before it switches to the version.
    type: dict
  lift:
    description:
      - Whether V(apply) lifts a hold. Otherwise it does nothing on a host that is held.
    type: bool
    default: false
  reload:
    description:
      - What may be done to make Pomerium serve the bundle.
    type: str
    choices: [auto, signal, restart, none]
    default: auto
  keep_versions:
    description:
      - How many versions are kept.
    type: int
    default: 3
seealso:
  - module: zerotrust.pomerium.pomerium_certificate
    description: The module to use.
"""

EXAMPLES = r"""
- name: Use the module whose half this is
  zerotrust.pomerium.pomerium_certificate:
    fullchain_src: /srv/certificates/fullchain.pem
    private_key_src: /srv/certificates/privkey.pem
"""

RETURN = r"""
look:
  description: What was found on the host.
  returned: with O(step=look)
  type: dict
read:
  description: The configuration's text and the certificates in the files that it names.
  returned: with O(step=read)
  type: dict
applied:
  description: What was done.
  returned: with O(step=apply)
  type: dict
fetched:
  description: Keys, for the action plugin alone, which never returns them.
  returned: with O(step=fetch)
  type: dict
"""

from ..module_utils._host.options import BUNDLE
from ..module_utils._host.steps import take_step
from ..module_utils._run import run


def main() -> None:
    run(BUNDLE, take_step, python=(3, 8))


if __name__ == "__main__":
    main()
