"""Questions to a provider's API, for what its webhooks did not tell: JSON, no redirects."""

from collections.abc import Mapping
from typing import Any

import requests

from delivery.providers.base import CONNECT_TIMEOUT_S, READ_TIMEOUT_S, Unavailable

MOST_BYTES = 20_000_000


class Questions:
    """A session with one provider. A context manager."""

    def __init__(self, label: str, *, headers: Mapping[str, str] | None = None, **how: Any) -> None:
        self._label = label
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update(headers or {})
        self._session.auth = how.get("auth")

    def __enter__(self) -> "Questions":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    def get(self, url: str, **query: Any) -> Any:
        """Return the JSON of an answer. Raises Unavailable for anything but a good one."""
        return self._asked("GET", url, "read events", params=query)

    def send(self, method: str, url: str, told: Any = None) -> Any:
        """Change something there; return the JSON of the answer. To delete what is gone is well.

        Raises Unavailable unless it is done.
        """
        return self._asked(method, url, "change its lists", json=told)

    def _asked(self, method: str, url: str, what: str, **how: Any) -> Any:
        timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        try:
            answer = self._session.request(
                method, url, timeout=timeout, allow_redirects=False, **how
            )
            self._check(answer, method, what)
            is_empty = answer.status_code in (204, 404)
            return {} if is_empty else answer.json()
        except (requests.RequestException, ValueError) as error:
            # Its words may hold the request, credentials included: only its kind is kept.
            name = type(error).__name__
            raise Unavailable(f"{self._label} could not be asked ({name}).") from None

    def _check(self, answer: requests.Response, method: str, what: str) -> None:
        """Raise Unavailable unless the answer is a good one."""
        status = answer.status_code
        if status in (401, 403):
            raise Unavailable(
                f"{self._label} does not let this key {what}; use one that may.",
                is_account_fault=True,
            )
        if status == 429:
            raise Unavailable(
                f"{self._label} takes no more questions for now (HTTP 429).", is_throttle=True
            )
        good = {"GET": (200,), "DELETE": (200, 204, 404)}
        if status not in good.get(method, (200, 201)):
            raise Unavailable(f"{self._label} answered HTTP {status}.")
        if len(answer.content) > MOST_BYTES:
            raise Unavailable(f"{self._label} answered with more than we can read.")
