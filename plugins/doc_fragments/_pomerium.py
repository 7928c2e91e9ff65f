# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation of what the Pomerium modules share. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """Options by group: DOCUMENTATION (where things are on a host); ATTRIBUTES."""

    DOCUMENTATION = r"""
options:
  name:
    description:
      - Name of the bundle. It lies in the directory of this name below O(directory).
      - Made of lower case letters, digits, V(.), V(_) and V(-), since it is a path.
    type: str
    default: pomerium
  directory:
    description:
      - Directory on the host below which bundles lie.
      - It is not below C(/etc/pomerium) by default, because that belongs to the user V(pomerium) and the package
        re-owns all of it at every upgrade.
      - Every directory above it must belong to root or to the user that installs, and must not be writable by
        others (save with the sticky bit). Symbolic links are not followed.
    type: str
    default: /etc/pomerium-tls
  config_path:
    description:
      - Pomerium's configuration on the host.
      - Where it is not given it is what the running process was started with (C(-config)), else
        C(/etc/pomerium/config.yaml), else C(/etc/pomerium/pomerium.yaml).
    type: str
  service:
    description:
      - The systemd unit that runs Pomerium.
      - On a host without it, a plain process named C(pomerium) is found.
    type: str
    default: pomerium
  probe:
    description:
      - How the host shakes hands with its own Pomerium, to see which certificate is really served.
      - Nothing else that Pomerium tells about itself is trustworthy; its health endpoints answer 200 while
        certificate and key do not match.
    type: dict
    suboptions:
      enabled:
        description:
          - Whether to shake hands at all. Without it nothing is proven, and nothing can be rolled back.
        type: bool
        default: true
      address:
        description:
          - Address to connect to, from the host itself. Taken from Pomerium's configuration where it is not given.
        type: str
      port:
        description:
          - Port to connect to. Taken from Pomerium's configuration where it is not given.
        type: int
      server_name:
        description:
          - Name to ask for (SNI). By default a name under the wildcard of the certificate, or its first name.
        type: str
      timeout:
        description:
          - Seconds within which the certificate must be served. After a restart it is given 30 seconds at least.
        type: float
        default: 10.0
"""

    ATTRIBUTES = r"""
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Returns details on what has changed when in diff mode.
    support: full
    details: Shows only the settings that are ours, never another line of the configuration.
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
"""
