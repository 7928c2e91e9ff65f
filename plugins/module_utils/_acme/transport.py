# Copyright: zerotrust.pomerium contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way to the CA: the `acme` library's ClientNetwork, made to survive what CAs really do.

What is added through its own hooks (`post`, `_get_nonce`, its `requests` session): badNonce as often as needed,
nonces of error responses kept, several threads, Retry-After in both forms and never in local time, a deadline for
every request with its repetitions, and errors that keep status and headers (notes/acme.md 2.3 E, 2.4 T2..T10).
Loaded only when the CA is really asked. Private to this collection.
"""

from __future__ import annotations

import email.utils
import itertools
import logging
import random
import threading
import time
import typing as t
from datetime import datetime, timedelta, timezone

from .._errors import UserError
from .problems import AcmeProblem

YEAR_SECONDS = 366 * 86400.0

try:
    import requests
    import urllib3
    from acme import client, errors, messages

    from .bounded import BoundedSession
except ImportError:
    pass
else:
    LONGEST_BUSY_SECONDS = 300.0
    """A busy CA (503 with Retry-After) is waited for up to this long; beyond it, a later run is the better way."""

    QUICK_NONCES = 10
    """So many refused nonces in a row are bad luck and repeated at once; after that there is a pause between them."""

    FIRST_CONTACT_SECONDS = 10.0
    """An unsigned GET comes before anything was begun: a wrong URL should be said soon, a schedule comes again."""

    class LostAnswer(UserError):
        """A request that changes something was sent, and no usable answer came: its effect may have happened.

        The caller settles it by reading at the CA, never by doing it again unseen, and not before `not_before` where
        the CA named a time that is far away.
        """

        not_before: datetime | None = None

    class Network(client.ClientNetwork):
        """ClientNetwork for one account key: `ask` is `post` with everything above.

        `requests` keeps ten connections to a host: as many threads may ask at once. `clock` and `sleep` are for tests.
        """

        def __init__(
            self,
            *,
            key: t.Any = None,
            alg: t.Any = None,
            verify: bool | str = True,
            timeout: int = 45,
            user_agent: str,
            patience: float = 120.0,
            clock: t.Callable[[], float] = time.monotonic,
            sleep: t.Callable[[float], None] = time.sleep,
        ) -> None:
            super().__init__(
                key,
                alg=alg,
                verify_ssl=verify,  # type: ignore[arg-type]  # a path reaches requests unchanged
                user_agent=user_agent,
                timeout=timeout,
            )
            self.patience = patience
            self._clock, self._sleep = clock, sleep
            self.new_nonce_url: str | None = None
            self._thread = threading.local()
            self.session = BoundedSession(self._see)
            # At DEBUG the library logs payloads and answers: tokens and EAB among them (T18).
            for name in ("acme", "urllib3"):
                logging.getLogger(name).setLevel(logging.WARNING)

        def _see(self, response: requests.Response) -> None:
            """Keep every response, so that its status and headers are there when the library drops them (T3, T4)."""
            self._thread.last = response
            if not response.ok and self.REPLAY_NONCE_HEADER in response.headers:
                self._add_nonce(response)

        def _get_nonce(self, url: str, new_nonce_url: str) -> str:
            while True:
                try:
                    return super()._get_nonce(url, new_nonce_url)
                except KeyError:  # another thread took the last one between look and pop
                    continue

        def post(self, *args: t.Any, **kwargs: t.Any) -> requests.Response:
            """Post as the library does, with badNonce repeated until the deadline (each time signed anew)."""
            end = self._clock() + self.patience
            kwargs.setdefault("new_nonce_url", self.new_nonce_url)
            for tries in itertools.count(1):
                try:
                    return self._post_once(*args, **dict(kwargs))
                except messages.Error as error:
                    if error.code != "badNonce" or self._clock() > end:
                        raise
                    if tries >= QUICK_NONCES:
                        self._sleep(1.0)
                except errors.NonceError:
                    last: requests.Response | None = self._thread.last
                    if last is None or not last.ok or last.request.method != "POST":
                        raise
                    return last  # the request itself succeeded, only the nonce for the next one is missing (T10)
            raise AssertionError("count never ends")

        def ask(
            self,
            url: str,
            body: t.Any = None,
            *,
            doing: str,
            repeatable: bool = False,
            document: bool = True,
            patience: float | None = None,
        ) -> requests.Response:
            """Send a signed request; `body` None is POST-as-GET, which reads and may be repeated at will.

            `doing` completes "The CA refused to ..."; `repeatable` says that doing it twice is as doing it once;
            `document` that only a JSON object is a usable answer; `patience` (seconds) is the network's own where it
            is not given. Raises AcmeProblem where the CA refuses, LostAnswer
            where a request that is not repeatable got no usable answer, UserError where the CA cannot be reached.
            """

            def send() -> requests.Response:
                response = self.post(url, body)
                if document and _json_object(response) is None:
                    raise errors.ClientError(response)
                return response

            reads = repeatable or body is None
            return self._patiently(
                send, url, doing=doing, reads=reads, patience=self.patience if patience is None else patience
            )

        def fetch(self, url: str, *, doing: str) -> requests.Response:
            """Send an unsigned GET (the directory, renewal information)."""
            return self._patiently(lambda: self.get(url), url, doing=doing, reads=True, patience=FIRST_CONTACT_SECONDS)

        def _patiently(
            self, send: t.Callable[[], requests.Response], url: str, *, doing: str, reads: bool, patience: float
        ) -> requests.Response:
            end = self._clock() + patience
            pause = 0.5
            while True:
                self._thread.last = None
                try:
                    return send()
                except (errors.Error, messages.Error, requests.RequestException) as error:
                    failure, seconds = self._judge(error, url, doing=doing, reads=reads)
                wait = seconds or pause * random.uniform(0.8, 1.2)
                if seconds is None or self._clock() + wait > end:
                    raise failure
                self._sleep(wait)
                pause = min(pause * 2, 10.0)

        def _judge(self, error: Exception, url: str, *, doing: str, reads: bool) -> tuple[UserError, float | None]:
            """Turn a failure into the error to raise, and the seconds after which to try again.

            None: never; 0: the CA asked for no time, back off as usual.
            """
            response: requests.Response | None = self._thread.last
            if isinstance(error, requests.RequestException):
                if response is None and isinstance(error, requests.exceptions.SSLError):
                    return _untrusted(url, error), None
                if reads or not _was_posted(error, response):
                    return _unreachable(url, error, doing=doing), 0 if _may_pass(error) else None
                return LostAnswer(f"No answer came to the request to {doing}", answer=_short(error)), None
            if response is None:
                return UserError(f"The CA could not be asked to {doing}", answer=str(error)), None
            if response.ok and response.request.method != "GET":
                unusable = UserError if reads or response.request.method == "HEAD" else LostAnswer
                failure = unusable(f"The CA's answer to the request to {doing} is of no use", answer=_quote(response))
                return failure, None if isinstance(failure, LostAnswer) else 0
            retry_after = retry_after_seconds(response)
            problem = AcmeProblem(
                doing,
                _problem_document(response),
                status=response.status_code,
                retry_at=None if retry_after is None else datetime.now(timezone.utc) + timedelta(seconds=retry_after),
            )
            if problem.type == "rateLimited":
                return problem, None
            again = None if (retry_after or 0) > LONGEST_BUSY_SECONDS else retry_after or 0
            if response.status_code in (429, 503):
                return problem, again
            if response.status_code < 500:
                return problem, None
            if reads or response.request.method != "POST":
                return problem, again
            lost = LostAnswer(f"The CA failed while asked to {doing}", answer=problem.answer, remedy=problem.remedy)
            lost.not_before = problem.retry_at if again is None else None
            return lost, None

    def _was_posted(error: requests.RequestException, response: requests.Response | None) -> bool:
        """Tell whether the request itself may have reached the CA: the nonce before it may have failed instead.

        An answer that breaks off leaves an error without request; its head is in `response`.
        """
        request = error.request or (response.request if response is not None else None)
        if request is None or request.method != "POST":
            return False
        return not isinstance(_reason(error), urllib3.exceptions.ConnectTimeoutError)  # NewConnectionError is one

    def _json_object(response: requests.Response) -> dict[str, t.Any] | None:
        try:
            document = response.json()
        except ValueError:
            return None
        return document if isinstance(document, dict) else None

    def _problem_document(response: requests.Response) -> dict[str, t.Any]:
        document = _json_object(response)
        if document is not None and ("type" in document or "detail" in document):
            return document
        return {"detail": _quote(response)}

    def _quote(response: requests.Response) -> str:
        text = " ".join((response.text or "").split())[:200]
        return f"HTTP {response.status_code}{f': {text}' if text else ''}"

    def _may_pass(error: Exception) -> bool:
        """Tell whether trying again makes sense: not for a name that does not resolve, nor where a proxy refuses."""
        hopeless = (
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidSchema,
        )
        signs = ("NameResolutionError", "Tunnel connection failed: 4")
        return not isinstance(error, hopeless) and not any(sign in repr(error) for sign in signs)

    def _reason(error: Exception) -> t.Any:
        """Dig out what `urllib3` said below the wrapping of `requests` (and of a proxy's error)."""
        reason = error.args[0] if error.args else error
        reason = getattr(reason, "reason", reason)
        return getattr(reason, "original_error", reason)

    def _short(error: Exception) -> str:
        return str(_reason(error)).split(": ", 1)[-1]

    def _unreachable(url: str, error: Exception, *, doing: str) -> UserError:
        return UserError(
            f"The CA cannot be reached to {doing}",
            name=url,
            answer=_short(error),
            remedy="Check acme_directory, the network and the proxy (HTTPS_PROXY) of the controller.",
        )

    def _untrusted(url: str, error: Exception) -> UserError:
        answer = _short(error)
        remedy = "For a private CA, give its root certificate in ca_path."
        if "expired" in answer or "not yet valid" in answer:
            remedy = "Check the clock of the controller; else the CA's server needs another certificate."
        elif "match" in answer or "not valid for" in answer:
            remedy = "Use the name in acme_directory that the server's certificate has."
        return UserError(
            "The TLS certificate of the CA's server is not trusted", name=url, answer=answer, remedy=remedy
        )


def retry_after_seconds(response: t.Any) -> float | None:
    """Read Retry-After (RFC 9110 section 10.2.3) as seconds from now (a year at most), None where missing or malformed.

    The date form is compared with the server's own Date, so that neither its clock nor our time zone matters (R6).
    """
    text = response.headers.get("Retry-After")
    if text is None:
        return None
    if text.strip().isdecimal():
        return min(float(text), YEAR_SECONDS)
    moment = _http_date(text)
    if moment is None:
        return None
    server_now = _http_date(response.headers.get("Date") or "") or datetime.now(timezone.utc)
    return min(max(0.0, (moment - server_now).total_seconds()), YEAR_SECONDS)


def _http_date(text: str) -> datetime | None:
    try:
        moment = email.utils.parsedate_to_datetime(text)
        return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
