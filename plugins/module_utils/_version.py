# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The version of this collection, as it is told to CAs and written beside bundles; a test compares it with galaxy.yml.

Private to this collection.
"""

from __future__ import annotations

VERSION = "1.0.0"
