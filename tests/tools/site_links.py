# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Sphinx extension: what our pages name in Ansible's own documentation becomes a link, and nothing is downloaded.

sphinx.ext.intersphinx does the same after it has fetched Ansible's list of labels. A label that is in neither place
stays a warning, which ends `make site`: it is a slip of the pen, or a new line for PAGES.
"""

from __future__ import annotations

import re
import typing as t

from docutils import nodes

if t.TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

ANSIBLE = "https://docs.ansible.com/projects/ansible/latest/"
PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}
BUILTIN = re.compile(r"ansible_collections\.ansible\.builtin\.([a-z_]+?)(__.*)?")


def find_page(label: str) -> str | None:
    builtin = BUILTIN.fullmatch(label)
    return f"collections/ansible/builtin/{builtin[1]}.html" if builtin else PAGES.get(label)


def link(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement) -> nodes.reference | None:
    page = find_page(node["reftarget"]) if node["reftype"] == "ref" else None
    if page is None:
        return None
    url = f"{ANSIBLE}{page}#{nodes.make_id(node['reftarget'])}"
    return nodes.reference("", "", content, internal=False, refuri=url)


def setup(app: Sphinx) -> dict[str, t.Any]:
    app.connect("missing-reference", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
