# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A renewal that is killed before its first change to the disk, before its second, and so on to its end.

Usage: killed_at_every_step STORES OLD NEW. OLD and NEW are bundles (chain, then key) in PEM. Below STORES each round
has a store of its own with OLD in use; a child renews it to NEW and kills itself with SIGKILL just before its nth
system call that changes the disk. Prints how many rounds there were.
"""

from __future__ import annotations

import os
import signal
import sys
import typing as t
from itertools import count
from pathlib import Path

from ansible_collections.zerotrust.pomerium.plugins.module_utils import _files
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import chain as chains
from ansible_collections.zerotrust.pomerium.plugins.module_utils._pki import keys
from ansible_collections.zerotrust.pomerium.plugins.module_utils._store.lineage import Lineage

CUT = b"-----BEGIN PRIVATE KEY-----"
ACCOUNT_KEY = keys.generate("ec-256")


def begin(lineage: Lineage) -> None:
    """Do what comes before the CA is asked to sign."""
    lineage.check_writable()
    lineage.stage_key("ec-256")
    _files.write_file(lineage.order_path, b"{}")


def renew(lineage: Lineage, bundle: bytes) -> None:
    chain_pem, label, key_pem = bundle.partition(CUT)
    with lineage.lock():
        begin(lineage)
        lineage.learn(account_uri=f"https://ca/{os.getpid()}")
        lineage.commit(chains.parse_chain(chain_pem), keys.load(label + key_pem), {"directory": "x"}, ACCOUNT_KEY)


def die_before(step: int) -> None:
    """Kill this process just before it changes the disk for the nth time."""
    left = step

    def see(event: str, args: tuple[t.Any, ...]) -> None:
        nonlocal left
        changes = event in ("os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.chown")
        if changes or (event == "open" and isinstance(args[2], int) and args[2] & (os.O_CREAT | os.O_WRONLY)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(see)


def check(lineage: Lineage, leaves: list[bytes]) -> None:
    """Fail unless what is in use is whole (the newest is the last of `leaves`) and everything is private.

    Until the newest is in use its order and key are kept; afterwards there is never an order without key.
    """
    found = lineage.current()
    leaf = found.chain.pem(issuers=False) if found is not None else None
    if leaf not in leaves:
        raise RuntimeError("nothing whole is in use")
    has_order, has_key = os.path.exists(lineage.order_path), lineage.staged_key() is not None
    if (has_order and not has_key) or (leaf != leaves[-1] and not has_order):
        raise RuntimeError(f"pending are: order {has_order}, key {has_key}; in use is {leaves.index(leaf)}")
    for path in [Path(lineage.path), *Path(lineage.path).rglob("*")]:
        if not path.is_symlink() and path.stat().st_mode & 0o077:
            raise RuntimeError(f"{path} is readable by others")


def main() -> None:
    old, new = (Path(path).read_bytes() for path in sys.argv[2:])
    leaves = [chains.parse_chain(bundle.partition(CUT)[0]).pem(issuers=False) for bundle in (old, new)]
    for step in count(1):
        lineage = Lineage(os.path.join(sys.argv[1], str(step)), "pomerium")
        renew(lineage, old)
        begin(lineage)
        child = os.fork()
        if child == 0:
            die_before(step)
            renew(lineage, new)
            os._exit(0)
        _pid, status = os.waitpid(child, 0)
        check(lineage, leaves)
        if status == 0:
            print(step - 1)
            return
        renew(lineage, new)
        check(lineage, leaves[1:])
        left = [path for path in Path(lineage.path).rglob(".*") if "state.json" not in path.name]
        if left or os.listdir(os.path.join(lineage.path, "pending")):
            raise RuntimeError(f"after step {step} there is left: {left}")


if __name__ == "__main__":
    main()
