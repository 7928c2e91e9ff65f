# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""antsibull-docs, with no chance in it: it makes a directory by a random name, which it writes into RST.

One name in 37 ends with `_`, and RST takes `antsibull-docs-c903new_` for a reference to something that does not exist.
Arguments are those of antsibull-docs.
"""

from __future__ import annotations

import sys
import tempfile

from antsibull_docs.cli.antsibull_docs import main

if __name__ == "__main__":
    names = tempfile._RandomNameSequence  # there is no public way
    names.characters = names.characters.replace("_", "")
    sys.argv[0] = "antsibull-docs"
    sys.exit(main())
