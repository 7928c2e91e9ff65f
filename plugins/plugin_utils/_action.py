# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the action plugins have in common: options in, errors out, sources read on the controller.

Core >= 2.19 tags the strings of a task's arguments, and YAML writers refuse those: they are made plain here, once.
Private to this collection.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import typing as t

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase

from ..module_utils._errors import BadInput, UserError
from ..module_utils._given import without_empty
from ._remote import Host, harmless

_NEEDS = {"cryptography": "cryptography", "ruamel.yaml": "ruamel.yaml", "idna": "idna"}
_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]*\Z")


class PomeriumAction(ActionBase):
    """An action plugin whose work is `work(options, host)`; SPEC holds the keyword arguments of AnsibleModule."""

    SPEC: t.ClassVar[dict[str, t.Any]] = {}
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        options = self._validated()
        host = Host(self, task_vars or {}, self.host_arguments(options))
        try:
            _require_libraries()
            if not _NAME.match(options["name"]):
                raise BadInput("name", options["name"], "not made of a-z, 0-9, '.', '_' and '-' (it is a path)")
            result = self.work(options, host)
        except UserError as error:
            result = {"failed": True, "changed": False, "msg": str(error), **error.facts}
        if host.warnings:
            result["warnings"] = host.warnings
        shown: dict[str, t.Any] = harmless(result)
        if host.facts:
            shown["ansible_facts"] = host.facts
        return shown

    def work(self, options: dict[str, t.Any], host: Host) -> dict[str, t.Any]:
        """Do the work and return what the module returns."""
        raise NotImplementedError

    @property
    def is_check(self) -> bool:
        return bool(self._task.check_mode)

    @staticmethod
    def host_arguments(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Give the arguments that every step on the host gets."""
        return {key: options.get(key) for key in ("name", "directory", "service", "owner", "group")}

    def source(self, options: t.Mapping[str, t.Any], kind: str) -> bytes | None:
        """Read a source that was given by `<kind>_src` or `<kind>_content`; None where neither is."""
        if options.get(f"{kind}_content"):
            return str(options[f"{kind}_content"]).encode()
        if not options.get(f"{kind}_src"):
            return None
        return self.read(self.source_path(options[f"{kind}_src"]), option=f"{kind}_src")

    def source_path(self, given: str) -> str:
        """Find a file on the controller as `ansible.builtin.copy` does; a missing one is looked for beside the play."""
        try:
            return str(self._find_needle("files", given))  # type: ignore[no-untyped-call]
        except AnsibleError:
            return str(self._loader.path_dwim(given))

    def read(self, path: str, *, option: str) -> bytes:
        """Read a file on the controller, also one that is encrypted with Ansible Vault."""
        try:
            real = self._loader.get_real_file(path)
            with open(real, "rb") as file:
                data = file.read()
        except (AnsibleError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else "cannot be read on the controller"
            raise BadInput(option, path, str(why), remedy="Give a file on the controller.") from error
        if real != path:
            self._loader.cleanup_tmp_file(real)
        return data

    def _validated(self) -> dict[str, t.Any]:
        spec = dict(self.SPEC)
        arguments = spec.pop("argument_spec")
        given = without_empty(plain(self._task.args), arguments)
        validated = ArgumentSpecValidator(arguments, **spec).validate(given)
        if validated.error_messages:
            raise AnsibleActionFail("; ".join(validated.error_messages))
        return t.cast("dict[str, t.Any]", validated.validated_parameters)


def plain(value: t.Any) -> t.Any:
    """Make a value of plain Python types, all the way down."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _require_libraries() -> None:
    missing = [package for name, package in _NEEDS.items() if not _is_there(name)]
    if missing:
        raise UserError(
            f"The controller's Python {sys.executable} lacks {', '.join(missing)}",
            remedy=f"Install with: {sys.executable} -m pip install {' '.join(missing)}",
        )


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package above it is not there
        return False
