# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A `requests` session whose time-out is for the whole request, from connecting to the last byte of the answer.

The time-out of `requests` is for each read: a server that drips bytes would hold a run for ever. Loaded only when the
CA is really asked. Private to this collection.
"""

from __future__ import annotations

import threading
import typing as t

try:
    import requests
except ImportError:
    pass
else:

    class BoundedSession(requests.Session):
        """Sends each request on a thread of its own, and leaves it there where it does not end in time.

        `see` is called, in the caller's thread, with every response whose head has come, also of one that broke off.
        """

        def __init__(self, see: t.Callable[[requests.Response], None]) -> None:
            super().__init__()
            self._see_head = see
            self._is_closed = False

        def send(self, request: requests.PreparedRequest, **kwargs: t.Any) -> requests.Response:
            """Send as `requests` does. Raises its ReadTimeout where the whole takes longer than `timeout` seconds."""
            heads: list[requests.Response] = []
            outcome: list[requests.Response | BaseException] = []
            request.register_hook("response", lambda head, *args, **kwargs: heads.append(head))  # type: ignore[no-untyped-call]
            thread = threading.Thread(target=self._send, args=(outcome, request), kwargs=kwargs, daemon=True)
            thread.start()
            thread.join(kwargs.get("timeout"))
            for head in heads:
                self._see_head(head)
            if not outcome:
                why = f"no whole answer within {kwargs.get('timeout')} s"
                raise requests.exceptions.ReadTimeout(why, request=request)
            if isinstance(outcome[0], BaseException):
                raise outcome[0]
            return outcome[0]

        def close(self) -> None:
            """Close what is idle; a request that still goes on closes its connection when it ends."""
            self._is_closed = True
            super().close()

        def _send(
            self, outcome: list[requests.Response | BaseException], request: requests.PreparedRequest, **kwargs: t.Any
        ) -> None:
            try:
                outcome.append(super().send(request, **kwargs))
            except BaseException as error:  # for the caller's thread to raise
                outcome.append(error)
            finally:
                if self._is_closed:
                    super().close()
