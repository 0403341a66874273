"""Every path of the audience shows what it takes and gives, and the examples are true."""

from __future__ import annotations

from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft4Validator  # type: ignore[import-untyped]  # has no types

from emailplatform.examples import EXAMPLES, REQUESTS
from emailplatform.exemplifying import PATHS


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)


def _bodies(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return every body with a schema: where, and its content."""
    found = []
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if not path.startswith(PATHS):
                continue
            named = [("takes", operation.get("requestBody", {}))]
            named += [(code, answer) for code, answer in operation["responses"].items()]
            for what, part in named:
                for kind, content in part.get("content", {}).items():
                    found.append((f"{method} {path} {what} {kind}", content))
    return found


def _nullable(part: Any, is_request: bool) -> Any:
    """Return the schema in the words of JSON schema: OpenAPI 3.0 has its own `nullable`."""
    if isinstance(part, list):
        return [_nullable(each, is_request) for each in part]
    if not isinstance(part, dict):
        return part
    plain = {
        name: _nullable(value, is_request) for name, value in part.items() if name != "nullable"
    }
    if is_request and "required" in plain:  # who asks need not say what cannot be set
        set_here = plain["properties"]
        plain["required"] = [n for n in plain["required"] if not set_here[n].get("readOnly")]
        if not plain["required"]:
            del plain["required"]
    return {"anyOf": [plain, {"type": "null"}]} if part.get("nullable") is True else plain


def test_every_body_has_an_example(schema: dict[str, Any]) -> None:
    bodies = _bodies(schema)
    assert len(bodies) > 60
    assert [where for where, content in bodies if not content.get("examples")] == []


def test_every_example_fits_its_schema(schema: dict[str, Any]) -> None:
    wrong = []
    for where, content in _bodies(schema):
        body = {**content["schema"], "components": schema["components"]}
        validator = Draft4Validator(_nullable(body, " takes " in where))
        for name, example in content.get("examples", {}).items():
            wrong += [
                f"{where}, {name}: {e.message}" for e in validator.iter_errors(example["value"])
            ]
    assert wrong == []


def test_no_example_is_of_what_is_gone_or_has_fields_that_are_not_there(
    schema: dict[str, Any],
) -> None:
    components = schema["components"]["schemas"]
    for name, example in [*EXAMPLES.items(), *REQUESTS.items()]:
        assert set(example) <= set(components[name]["properties"]), name
