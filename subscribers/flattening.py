"""People as JSON → the file of an import: what comes by program goes the importer's way.

One column per field or attribute that anybody has; what somebody lacks is empty: no change.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

from emailplatform.errors import InvalidInput
from subscribers.guessing import FIELDS, is_attribute_name
from subscribers.models import Attribute
from subscribers.parsing import guarded

MOST_COLUMNS = 200

_ONE_LINE = str.maketrans({"\0": "", "\r": " ", "\n": " "})

Columns = dict[str, str]
"""“plan” or “attributes.plan” → type of the value: an Attribute.Type; "" of a field."""


def lines(content: Iterable[bytes]) -> Iterator[Any]:
    """Return the people of NDJSON, one JSON object a line; empty lines are passed over.

    Raises InvalidInput naming the line.
    """
    for number, line in enumerate(content, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidInput(f"Line {number} is no JSON.", param=f"line {number}") from error


def write(read: Callable[[], Iterable[Any]], into: IO[str]) -> dict[str, str]:
    """Write people as CSV; return the attributes they have, with their types.

    A person is {"email", "first_name", …, "tags": [text], "attributes": {name: value}}. `read` is
    called twice, so that nothing is kept: for the columns, then for the rows. Raises InvalidInput.
    """
    columns: Columns = {"email": ""}
    for row in _rows(read()):
        for name, value in row.items():
            columns[name] = _together(columns.get(name), _kind(name, value))
        if len(columns) > MOST_COLUMNS:
            raise InvalidInput(f"These people have more than {MOST_COLUMNS} different fields.")
    writer = csv.writer(into)
    writer.writerow(columns)
    for row in _rows(read()):
        writer.writerow([_cell(name, row.get(name)) for name in columns])
    return {
        name.removeprefix("attributes."): kind or Attribute.Type.TEXT
        for name, kind in columns.items()
        if name.startswith("attributes.")
    }


def _rows(people: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for number, person in enumerate(people):
        yield _row(person, f"people.{number}")


def _row(person: Any, place: str) -> dict[str, Any]:
    """Return field → value, attributes by their path. Raises InvalidInput naming the place."""
    if not isinstance(person, Mapping) or "email" not in person:
        raise InvalidInput("Each person is an object with an “email”.", param=place)
    unknown = [name for name in person if name not in {*FIELDS, "attributes"}]
    if unknown:
        raise InvalidInput(f"People have no field “{unknown[0][:50]}”.", param=place)
    attributes = person.get("attributes") or {}
    if not isinstance(attributes, Mapping):
        raise InvalidInput("Give attributes as an object.", param=f"{place}.attributes")
    bad = [name for name in attributes if not is_attribute_name(name)]
    if bad:
        raise InvalidInput(
            f"“{bad[0][:50]}”: use a-z, 0-9 and _ for the name of an attribute, a letter first.",
            param=f"{place}.attributes",
        )
    row = {name: value for name, value in person.items() if name != "attributes"}
    row["tags"] = _tags(person.get("tags"), place)
    row |= {f"attributes.{name}": value for name, value in attributes.items()}
    for name, value in row.items():
        if not isinstance(value, str | bool | int | float | None):
            raise InvalidInput("Use text, a number, true or false.", param=f"{place}.{name}"[:100])
    return row


def _tags(given: Any, place: str) -> str:
    tags = [] if given is None else given
    if not isinstance(tags, list) or not all(isinstance(each, str) for each in tags):
        raise InvalidInput("Give tags as a list of texts.", param=f"{place}.tags")
    if any(mark in each for each in tags for mark in "|,;\n"):
        raise InvalidInput("A tag of an import has none of | , ; in it.", param=f"{place}.tags")
    return "|".join(tags)


def _kind(name: str, value: Any) -> str:
    """Return which type an attribute has by this value; "" says nothing."""
    if not name.startswith("attributes.") or value is None:
        return ""
    if isinstance(value, bool):
        return Attribute.Type.BOOLEAN
    return Attribute.Type.NUMBER if isinstance(value, int | float) else Attribute.Type.TEXT


def _together(known: str | None, kind: str) -> str:
    """Return the type that both fit."""
    if not known or not kind or known == kind:
        return known or kind
    return Attribute.Type.TEXT


def _cell(name: str, value: Any) -> str:
    """Return a value as imports read it: they take a guard off names and attributes."""
    may_be_guarded = name.endswith("_name") or name.startswith("attributes.")
    return guarded(_text(value)) if may_be_guarded else _text(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).translate(_ONE_LINE)
