"""Attributes of one person as a program gives them: checked, and known from then on.

Imports guess types from many cells (`subscribers.guessing`); here the value's own type counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emailplatform.errors import InvalidInput
from subscribers import converting
from subscribers.guessing import is_attribute_name
from subscribers.models import Attribute

_LARGEST = 10**15
_MOST = 100


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes as they are stored; None stays and means "take it away".

    Raises InvalidInput naming the attribute at fault. Names never seen before are registered, so
    that segments and templates know them.
    """
    types = dict(Attribute.objects.filter(name__in=given).values_list("name", "type"))
    new = {name: value for name, value in given.items() if name not in types}
    for name in new:
        if not is_attribute_name(name):
            raise _wrong(name, "Use a-z, 0-9 and _ for its name, a letter first; 50 at most.")
    values = {
        name: None if value is None else _value(name, value, types.get(name) or _type_of(value))
        for name, value in given.items()
    }
    _register(new)
    return values


def merged(known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `known` with what is given put in its place; what is given as None is gone."""
    together = {**known, **given}
    left = {name: value for name, value in together.items() if value is not None}
    if len(left) > _MOST:
        raise InvalidInput(f"A person has at most {_MOST} attributes.", param="attributes")
    return left


def _wrong(name: str, sentence: str) -> InvalidInput:
    return InvalidInput(f"“{name[:50]}”: {sentence}", param=f"attributes.{name[:50]}")


def _type_of(value: object) -> str:
    if isinstance(value, bool):
        return Attribute.Type.BOOLEAN
    return Attribute.Type.NUMBER if isinstance(value, int | float) else Attribute.Type.TEXT


def _value(name: str, value: Any, kind: str) -> Any:
    if not isinstance(value, str | bool | int | float):
        raise _wrong(name, "Use text, a number, true or false, or null to take it away.")
    if kind == Attribute.Type.BOOLEAN and isinstance(value, bool):
        return value
    if kind == _type_of(value) == Attribute.Type.NUMBER:
        return _bounded(name, float(value) if isinstance(value, float) else int(value))
    text = str(value)
    if "\x00" in text:
        raise _wrong(name, "It has a NUL character in it.")
    found = converting.BY_TYPE[kind](text)
    if found is None:
        raise _wrong(name, f"“{text[:50]}” is no {Attribute.Type(kind).label}.")
    return found


def _bounded(name: str, value: float) -> float:
    if abs(value) >= _LARGEST:
        raise _wrong(name, "The number is too large.")
    return value


def _register(new: Mapping[str, Any]) -> None:
    Attribute.objects.bulk_create(
        [
            Attribute(name=name, label=name.replace("_", " ").capitalize(), type=_type_of(value))
            for name, value in new.items()
            if value is not None
        ],
        ignore_conflicts=True,
    )
