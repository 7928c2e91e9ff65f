# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of the fleet as store: what hosts keep goes into files of this run, what is pending goes out
to them, and a key that lies on hosts only is fetched from one.

The files lie below Ansible's own temporary directory: one path for the whole run, gone with it. Private to this
collection.
"""

from __future__ import annotations

import base64
import json
import os
import re
import typing as t

from ansible import constants
from ansible.errors import AnsibleConnectionFailure

from ..module_utils import _files
from ..module_utils._errors import UserError
from ..module_utils._host.pending import CHAIN, KEY, ORDER
from ..module_utils._pki.chain import iso
from ..module_utils._store import looks
from ..module_utils._store.lineage import Bundle, Lineage
from ._bundle import describe_der
from ._remote import Host, Look, understood_look

NOT_LOOKED_AT = ("configured", "installed", "served", "runtime")
"""Returns that a look for the fleet leaves out: AWX keeps them in its database, of each host and each run."""

META = ("meta.json", "meta.sig")


def run_store() -> str:
    """Name the directory of this run in which looks lie, and which is the store where the fleet is."""
    return os.path.join(str(constants.DEFAULT_LOCAL_TMP), "zerotrust.pomerium")  # type: ignore[attr-defined]  # core fills it in


def leave_look(options: t.Mapping[str, t.Any], host: Host) -> dict[str, t.Any]:
    """Look once, and leave what was seen in the store of this run; that the host does not answer as well."""
    store, name = run_store(), options["name"]
    variables = host.task_vars
    said = {
        "limit": variables.get("ansible_limit"),
        "batch": len(variables.get("ansible_play_batch") or ()),
        "play_hosts": len(variables.get("ansible_play_hosts_all") or ()),
        "identifiers": sorted(set(re.split(r"[\s,]+", " ".join(options["identifiers"]).lower().strip()))),
    }
    looks.write_look(store, name, host.name, None, **said)
    try:
        answer = host.look_answer(config_path=options["config_path"], probe=options["probe"], kept=True)
        look = understood_look(answer)
    except AnsibleConnectionFailure as error:
        return {"unreachable": True, "changed": False, "msg": str(error), "store_path": store}
    except UserError as error:
        error.facts["store_path"] = store
        raise
    looks.write_look(store, name, host.name, answer, **said)
    return {
        "changed": False,
        **dict.fromkeys(NOT_LOOKED_AT),
        "shadowing": [],
        "not_after": _not_after(look),
        "store_path": store,
    }


def _not_after(look: Look) -> str | None:
    facts = describe_der(look.installed.der)
    return iso(facts.not_after) if facts else None


def observed_look(options: t.Mapping[str, t.Any], host: Host) -> Look | None:
    """Take what was seen of the host in this run, once; None where there is nothing."""
    if not options["observed"]:
        return None
    look = looks.take_look(options["observed"], options["name"], host.name)
    return None if look is None or look["answer"] is None else understood_look(look["answer"])


def stage(options: t.Mapping[str, t.Any], host: Host, *, check: bool) -> dict[str, t.Any]:
    """Have the host keep what is pending and what was learned; not asked where it does so already, as it was seen."""
    lineage = Lineage(options["store_path"], options["name"], is_fleet=True)
    look = looks.read_look(run_store(), options["name"], host.name)
    seen = look["answer"] if look is not None else None
    files = _files_for(lineage, seen, with_certificate=options["certificate"])
    if _is_kept(lineage, seen, files):
        return {"changed": False}
    if not check:
        state = _files.read_if_there(lineage.state_path)
        host.stage(
            config_path=options["config_path"],  # chooses the process, where several run
            files=None if files is None else [{"name": name, "content": _base64(data)} for name, data in files.items()],
            state=None if state is None else _base64(state),
        )
        looks.change_look(run_store(), options["name"], host.name, lambda look: _note(look, files, state))
    return {"changed": True}


def _files_for(lineage: Lineage, seen: t.Any, *, with_certificate: bool) -> dict[str, bytes] | None:
    """Give what a host shall have pending: the order with its key; where none is, nothing, or for a host that lacks
    the certificate in use that with its key, if no install is to bring it. None leaves on the host what it has: a key
    that is not here, or that of this certificate until it is installed."""
    order, key = _files.read_if_there(lineage.order_path), _files.read_if_there(lineage.key_path)
    bundle = lineage.current()
    if order is not None:
        return None if key is None else {ORDER: order, KEY: key}
    if bundle is None or (seen is not None and seen["installed"]["sha256"] == bundle.facts.fingerprint_sha256):
        return {}
    if not (with_certificate and bundle.has_key):
        return None if seen is None or _is_pending(bundle, seen) else {}
    found = {name: _files.read_if_there(os.path.join(bundle.path, name)) for name in (KEY, CHAIN, *META)}
    return {name: data for name, data in found.items() if data is not None}


def _is_pending(bundle: Bundle, seen: t.Any) -> bool:
    """Tell whether a host has this certificate's key pending, with the order that it came from or with itself."""
    order, _has_key, chain = _pending_of(seen)
    if chain is not None:
        return chain.startswith(bundle.chain.pem(issuers=False).strip())
    try:
        return bool(json.loads(order or b"")["order"]["key_sha256"] == bundle.facts.public_sha256)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _is_kept(lineage: Lineage, seen: t.Any, files: t.Mapping[str, bytes] | None) -> bool:
    """Tell whether the look of this run says that the host keeps all that."""
    if seen is None or not lineage.is_state(_bytes(seen["kept"]["state"])):
        return False
    return files is None or _pending_of(seen) == (files.get(ORDER), KEY in files, files.get(CHAIN))


def _pending_of(seen: t.Any) -> tuple[bytes | None, bool, bytes | None]:
    """Give what a host has pending: the order, whether there is a key, a certificate that is not installed yet."""
    kept = seen["kept"]
    chains = [bundle["chain"] for bundle in kept["bundles"] if not bundle["is_current"]]
    return _bytes(kept["order"]), bool(kept["has_key"]), _bytes(chains[0]) if chains else None


def _note(look: looks.LookFile, files: t.Mapping[str, bytes] | None, state: bytes | None) -> None:
    """Note in a look what was sent to the host since."""
    if look["answer"] is None:
        return
    kept = look["answer"]["kept"]
    kept["state"] = kept["state"] if state is None else _base64(state)
    if files is not None:
        kept["order"], kept["has_key"] = (_base64(files[ORDER]) if ORDER in files else None), KEY in files


def fetch(options: t.Mapping[str, t.Any], host: Host) -> dict[str, t.Any]:
    """Get the keys that the store lacks from the host. Raises UserError where it gives none that fits."""
    lineage = Lineage(options["store_path"], options["name"], is_fleet=True)
    bundle, pending = lineage.current(), lineage.pending_key()
    leaf_sha256 = bundle.facts.fingerprint_sha256 if bundle is not None and not bundle.has_key else None
    order_uri = pending[0] if pending is not None and lineage.staged_key() is None else None
    if leaf_sha256 is None and order_uri is None:
        return {"changed": False}
    given = host.fetch(leaf_sha256=leaf_sha256, order_uri=order_uri)
    fitting = [pem for pem in given if lineage.put_key(pem)]
    if not fitting:
        raise UserError(
            "The host gives no key that fits",
            name=host.name,
            remedy="Another host is asked, where there is one.",
        )
    return {"changed": False}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
