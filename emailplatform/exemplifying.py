"""Examples on the OpenAPI page: one per kind of object, wherever it is asked for or answered.

What an operation says for itself (`extend_schema(examples=…)`) stands. Pages of many are made of
the one. A test holds every example against its schema.
"""

from __future__ import annotations

from typing import Any

from emailplatform.examples import CSV, EXAMPLES, REQUESTS

_PAGE_OF = "Paginated"
PATHS = tuple(
    f"/api/v1/{name}/"
    for name in (
        "analytics", "engagement", "imports", "lists", "segments", "subscribers", "suppressions",
        "tags",
    )
)  # fmt: skip


def add_examples(result: Any, **_: Any) -> Any:
    """Put the examples on what the paths of the audience take and give (a hook of spectacular)."""
    for path, operations in result["paths"].items():
        if path.startswith(PATHS):
            for operation in operations.values():
                _exemplify(path, operation)
    return result


def _exemplify(path: str, operation: dict[str, Any]) -> None:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        _add(content, REQUESTS.get(_name(content)) or _of(kind, content, path))
    for answer in operation["responses"].values():
        for kind, content in answer.get("content", {}).items():
            _add(content, _of(kind, content, path))


def _add(content: dict[str, Any], example: Any) -> None:
    if example is not None and not content.get("examples"):
        content["examples"] = {"Example": {"value": example}}


def _name(content: dict[str, Any]) -> str:
    """Return the component that a body is; "" if it is none."""
    return str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]


def _of(kind: str, content: dict[str, Any], path: str) -> Any:
    schema = content.get("schema", {})
    if schema.get("type") == "array":
        example = EXAMPLES.get(_name({"schema": schema["items"]}))
        return None if example is None else [example]
    name = _name(content)
    if not name:
        return CSV.get(kind, {}).get(path)
    if name.startswith(_PAGE_OF) and name.endswith("List"):
        one = EXAMPLES.get(name.removeprefix(_PAGE_OF).removesuffix("List"))
        return None if one is None else {"next": None, "previous": None, "results": [one]}
    return EXAMPLES.get(name)
