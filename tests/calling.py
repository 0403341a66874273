"""The API as a program meets it: JSON in, status and JSON out."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.test import Client

from tests import make


class Answer(NamedTuple):
    status: int
    data: Any
    headers: Any

    @property
    def error(self) -> dict[str, Any]:
        """The refusal; also asserts its shape."""
        assert set(self.data) == {"error"}, self.data
        assert set(self.data["error"]) == {"code", "message", "param"}
        error: dict[str, Any] = self.data["error"]
        return error


class Api:
    """Calls with one key; `Api(None)` has none."""

    def __init__(self, key: str | None = "") -> None:
        plain = make.api_key() if key == "" else key
        self._headers = {"Authorization": f"Bearer {plain}"} if plain else {}
        self._client = Client(raise_request_exception=False, headers=self._headers)

    def get(self, path: str, **query: Any) -> Answer:
        return self._answer(self._client.get(_full(path), query))

    def post(self, path: str, data: Any = None, **options: Any) -> Answer:
        options.setdefault("content_type", "application/json")
        return self._answer(self._client.post(_full(path), {} if data is None else data, **options))

    def upload(self, path: str, **form: Any) -> Answer:
        return self._answer(self._client.post(_full(path), form))

    def patch(self, path: str, data: Any, **options: Any) -> Answer:
        return self._answer(self._client.patch(_full(path), data, "application/json", **options))

    def put(self, path: str, data: Any, **options: Any) -> Answer:
        return self._answer(self._client.put(_full(path), data, "application/json", **options))

    def delete(self, path: str, **options: Any) -> Answer:
        return self._answer(self._client.delete(_full(path), **options))

    def _answer(self, response: Any) -> Answer:
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        body = b"".join(response.streaming_content) if response.streaming else response.content
        data = response.json() if is_json else body.decode()
        return Answer(response.status_code, data, response.headers)


def _full(path: str) -> str:
    return path if path.startswith(("/", "http")) else f"/api/v1/{path}"
