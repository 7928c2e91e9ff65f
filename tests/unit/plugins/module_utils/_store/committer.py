# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A process that commits versions to a lineage as fast as it can, to be killed while it does.

Usage: committer STORE PEM... The PEM files are bundles (chain, then key), taken in turn.
"""

from __future__ import annotations

import sys
from itertools import cycle
from pathlib import Path

from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import chain as chains
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.plugins.module_utils._store.lineage import Lineage

CUT = b"-----BEGIN PRIVATE KEY-----"


def main() -> None:
    lineage = Lineage(sys.argv[1], "pomerium")
    account_key = keys.generate("ec-256")
    bundles = [Path(path).read_bytes().partition(CUT) for path in sys.argv[2:]]
    print("ready", flush=True)
    for chain_pem, label, key_pem in cycle(bundles):
        with lineage.lock():
            lineage.stage_key("ec-256")
            chain = chains.parse_chain(chain_pem)
            lineage.commit(chain, keys.load(label + key_pem), {"directory": "https://ca/dir"}, account_key)


if __name__ == "__main__":
    main()
