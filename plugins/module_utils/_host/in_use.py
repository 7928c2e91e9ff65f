# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which version was in use before which, and whether one could be used again.

Standard library of Python 3.8 only. Private to this collection.
"""

from __future__ import annotations

import os
import ssl

from .._versions import Versions
from .record import read_record


def read_history(home: str) -> list[str]:
    """Give the versions as they came into use one after the other, as far as the last install knew."""
    history = (read_record(home) or {}).get("history")
    return history if isinstance(history, list) else []


def order_by_use(home: str, versions: Versions) -> list[str]:
    """List the versions, the one in use last, before it the one that was in use before it, and so on.

    Their names begin with the time that their certificate does, which need not be the order in which they came into
    use. Those of which the last install knew nothing come first, in the order of their names.
    """
    names, current = versions.names(), versions.current()
    used = [name for name in read_history(home) if name in names and name != current]
    unknown = [name for name in names if name not in used and name != current]
    return [*unknown, *used, *([current] if current else [])]


def find_problem(directory: str) -> str | None:
    """Let OpenSSL say whether the key of a version fits its certificate: None where all is well."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(directory, "fullchain.pem"), os.path.join(directory, "privkey.pem"))
    except ssl.SSLError as error:
        return error.reason or "unknown reason"
    except OSError as error:
        return error.strerror or str(error)
    return None
