"""GET requests to a provider's API, for what its webhooks did not tell: JSON, no redirects."""

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
        self._session.close()

    def get(self, url: str, **query: Any) -> Any:
        """Return the JSON of an answer. Raises Unavailable for anything but a good one."""
        timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        try:
            answer = self._session.get(url, params=query, timeout=timeout, allow_redirects=False)
            if answer.status_code in (401, 403):
                raise Unavailable(
                    f"{self._label} does not let this key read events; use one that may.",
                    is_account_fault=True,
                )
            if answer.status_code != 200:
                raise Unavailable(f"{self._label} answered HTTP {answer.status_code}.")
            if len(answer.content) > MOST_BYTES:
                raise Unavailable(f"{self._label} answered with more than we can read.")
            return answer.json()
        except (requests.RequestException, ValueError) as error:
            # Its words may hold the request, credentials included: only its kind is kept.
            name = type(error).__name__
            raise Unavailable(f"{self._label} could not be asked ({name}).") from None
