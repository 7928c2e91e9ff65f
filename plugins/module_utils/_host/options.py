# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the Pomerium modules: the keyword arguments of AnsibleModule for each of the three.

Module, action plugin and the half that runs on the host read them here; what they mean stands in the modules' own
documentation and in doc fragment `_pomerium`. Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import typing as t

from .._errors import UserError

Options = t.Dict[str, t.Dict[str, t.Any]]

_PROBE: Options = {
    "enabled": {"type": "bool", "default": True},
    "address": {"type": "str"},
    "port": {"type": "int"},
    "server_name": {"type": "str"},
    "timeout": {"type": "float", "default": 10.0},
}


_RELOAD = {"type": "str", "choices": ["auto", "signal", "restart", "none"], "default": "auto"}


def _host_options(**own: dict[str, t.Any]) -> Options:
    """Give the options that say where things are on a host, and `own` ones."""
    return {
        "name": {"type": "str", "default": "pomerium"},
        "directory": {"type": "str", "default": "/etc/pomerium-tls"},
        "config_path": {"type": "str"},
        "service": {"type": "str", "default": "pomerium"},
        "probe": {"type": "dict", "apply_defaults": True, "options": _PROBE},
        **own,
    }


CERTIFICATE: dict[str, t.Any] = {
    "argument_spec": _host_options(
        version={"type": "str", "choices": ["current", "previous"]},
        fullchain_src={"type": "path"},
        fullchain_content={"type": "str"},
        private_key_src={"type": "path"},
        private_key_content={"type": "str", "no_log": True},
        authority_src={"type": "path"},
        authority_content={"type": "str"},
        authority={"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
        edit_config={"type": "bool", "default": True},
        owner={"type": "str"},
        group={"type": "str"},
        expect_names={"type": "list", "elements": "str", "default": []},
        shadowing={"type": "str", "choices": ["remove_missing", "remove", "fail"], "default": "remove_missing"},
        reload=_RELOAD,
        keep_versions={"type": "int", "default": 3},
        allow_staging={"type": "bool", "default": False},
        observed={"type": "path"},
    ),
    "mutually_exclusive": [
        ("fullchain_src", "fullchain_content"),
        ("private_key_src", "private_key_content"),
        ("authority_src", "authority_content"),
    ],
}

INFO: dict[str, t.Any] = {
    "argument_spec": _host_options(
        owner={"type": "str"},
        group={"type": "str"},
        fleet={"type": "bool", "default": False},
        identifiers={"type": "list", "elements": "str", "default": []},
    )
}

STAGE: dict[str, t.Any] = {
    "argument_spec": _host_options(
        step={"type": "str", "choices": ["stage", "fetch"], "required": True},
        store_path={"type": "path", "required": True},
        certificate={"type": "bool", "default": False},
        owner={"type": "str"},
        group={"type": "str"},
    )
}

BUNDLE: dict[str, t.Any] = {
    "argument_spec": _host_options(
        step={"type": "str", "choices": ["look", "read", "apply", "stage", "fetch"], "required": True},
        owner={"type": "str"},
        group={"type": "str"},
        leaf_sha256={"type": "str"},
        proxy_protocol={"type": "bool"},
        paths={"type": "list", "elements": "str"},
        versions={"type": "bool", "default": False},
        kept={"type": "bool", "default": False},
        state={"type": "str"},
        order_uri={"type": "str"},
        version={"type": "str"},
        files={
            "type": "list",
            "elements": "dict",
            "options": {
                "name": {"type": "str", "required": True},
                "content": {"type": "str", "no_log": True},
                "mode": {"type": "str", "default": "0600"},
            },
        },
        config_sha256={"type": "str"},
        config_text={"type": "str", "no_log": True},
        record={"type": "dict"},
        hold={"type": "dict"},
        lift={"type": "bool", "default": False},
        reload=_RELOAD,
        keep_versions={"type": "int", "default": 3},
    ),
    "required_if": [
        ("step", "read", ["config_path"]),
        ("step", "apply", ["config_path", "version"]),
    ],
}


def need_plugin(_params: t.Mapping[str, t.Any], **_border: t.Any) -> t.NoReturn:
    """Stand where a module's work would be: that of the two for users is done by their action plugins."""
    raise UserError("This module needs its action plugin", remedy="Call it from a playbook, by its full name.")
