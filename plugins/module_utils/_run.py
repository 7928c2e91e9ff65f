# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The border to Ansible: the only file that knows AnsibleModule.

A module file gives its argument spec and one function `work(params, check=, warn=)` that returns what the module
returns. Where it returns a `diff` (`before` and `after`, public facts only), that is kept only where the user wants to
see it. A UserError becomes `fail_json` with its facts; any other exception is a bug and keeps its traceback.
Private to this collection.
"""

from __future__ import annotations

import importlib.util
import sys
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.validation import check_type_dict

from ._errors import BadInput, UserError
from ._given import without_empty

Work = t.Callable[..., t.Dict[str, t.Any]]
Params = t.Dict[str, t.Any]

LIBRARIES = {
    "acme": "acme >= 4.0",
    "cryptography": "cryptography >= 43",
    "dns": "dnspython >= 2.7",
    "idna": "idna >= 3.4",
    "requests": "requests >= 2.25",
}
"""Importable name and what to install for it."""


class _Module(AnsibleModule):
    """AnsibleModule to which an option given as `''` or null counts as not given.

    AWX passes every input of a credential, also the empty ones, and with core >= 2.19 turns `''` into null.
    `complete` adds options from elsewhere, so that they are validated and masked like those of the task.
    """

    def __init__(self, complete: t.Callable[[Params], Params] | None = None, **spec: t.Any) -> None:
        self._complete = complete
        super().__init__(**spec)  # type: ignore[no-untyped-call]

    def _load_params(self) -> None:
        super()._load_params()  # type: ignore[no-untyped-call]
        self.params = without_empty(self.params, self.argument_spec)
        try:
            if self._complete is not None:
                self.params = self._complete(self.params)
            _check_structure(self.params, self.argument_spec)
        except UserError as error:
            # What is secret is only known after validation: so not one option is shown.
            self.fail_json(msg=str(error), invocation={}, **error.facts)


def _check_structure(params: Params, spec: dict[str, t.Any]) -> None:
    """Refuse what is no dictionary where one with typed sub-options is meant.

    AnsibleModule ends with a traceback there, and all options are shown, before it has learned which are secret.
    """
    for name in set(spec).intersection(params):
        options, value = spec[name].get("options"), params[name]
        for one in (value if isinstance(value, list) else [value]) if options else ():
            try:
                given = check_type_dict(one)
            except (TypeError, ValueError):
                why = "is not a dictionary"
                raise BadInput(name, None, why, remedy=f"Give a dictionary of {', '.join(options)}.") from None
            _check_structure(given, options)


def run(
    spec: dict[str, t.Any], work: Work, *, needs: t.Sequence[str] = (), python: tuple[int, int] = (3, 10)
) -> t.NoReturn:
    """Run a module: check Python and libraries (without importing them), do the work, hand over the result.

    `spec` holds AnsibleModule's keyword arguments and, where options may come from elsewhere too, `complete`: what
    completes the given ones before they are validated. `needs` are importable names out of LIBRARIES.
    """
    module = _Module(supports_check_mode=True, **spec)
    if sys.version_info < python:
        module.fail_json(
            msg=f"This module needs Python >= {python[0]}.{python[1]}, but {sys.executable} is "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Set ansible_python_interpreter to a newer one, or build an "
            "execution environment with one (the collection brings meta/execution-environment.yml)."
        )
    for name in needs:
        if importlib.util.find_spec(name) is None:
            module.fail_json(msg=missing_required_lib(LIBRARIES[name]))
    try:
        result = work(module.params, check=module.check_mode, warn=module.warn)
    except UserError as error:
        module.fail_json(msg=str(error), **error.facts)
    if not module._diff:
        result.pop("diff", None)
    module.exit_json(**result)
    raise AssertionError("exit_json returned")
