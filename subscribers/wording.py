"""Values of segment conditions: from JSON, checked, and back into words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

Options = Mapping[Any, str]
LONGEST_VALUE = 200
MOST_VALUES = 50
_MOST_DAYS = 36_500
_MOST = 10**15


def parsed(kind: str, value: object, options: Options | None) -> Any:
    """Return the value in its canonical spelling. Raises ValueError saying what is expected.

    Kinds: none, text, texts (a list), tag, tags, number, numbers (a pair), date (ISO), days,
    boolean, choice, choice_days (one of the options and days, as a pair).
    """
    return _PARSE[kind](value, options)


def worded(kind: str, value: Any, options: Options | None) -> str:
    """Return the value as a sentence shows it."""
    if kind == "none":
        return ""
    if kind == "numbers":
        return f"{value[0]} and {value[1]}"
    if kind in {"texts", "tags"}:
        return " or ".join(value)
    if kind == "days":
        return f"{value} day{'' if value == 1 else 's'}"
    if kind == "boolean":
        return "yes" if value else "no"
    if kind == "choice_days":
        return ", ".join(pair_worded(value, options))
    return (options or {}).get(value, str(value))


def pair_worded(value: list[Any], options: Options | None) -> tuple[str, str]:
    """Return the two halves of a choice_days in words."""
    choice, days = value
    return worded("choice", choice, options), worded("days", days, None)


def _texts(value: object, options: Options | None) -> list[str]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple):
        raise ValueError("its value must be a list")
    texts = [_text(each, options) for each in value if each != ""]
    if not texts:
        raise ValueError("give it a value")
    if len(texts) > MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES} values")
    return list(dict.fromkeys(texts))


def _choice_days(value: object, options: Options | None) -> list[Any]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("give it one of those to choose from, and a number of days")
    return [_choice(value[0], options), _days(value[1], options)]


def _nothing(_value: object, _options: Options | None) -> None:
    return None


def _text(value: object, _options: Options | None) -> str:
    if isinstance(value, bool | int | float):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError("give it a value")
    if len(value) > LONGEST_VALUE:
        raise ValueError(f"its value is longer than {LONGEST_VALUE} characters")
    if "\0" in value or (not value.isascii() and not _is_encodable(value)):
        raise ValueError("its value holds characters that are no text")
    return value.strip()


def _is_encodable(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _number(value: object, _options: Options | None) -> int | float:
    if isinstance(value, str):
        value = _from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("its value must be a number")
    if not math.isfinite(value) or abs(value) > _MOST:
        raise ValueError("its value is too large a number")
    return value


def _from_text(text: str) -> int | float:
    try:
        number = float(text.strip().replace(",", "."))
    except ValueError:
        raise ValueError("its value must be a number") from None
    return int(number) if number.is_integer() else number


def _numbers(value: object, options: Options | None) -> list[int | float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("give it two numbers")
    low, high = (_number(each, options) for each in value)
    if low > high:
        raise ValueError("the first number must not be larger than the second")
    return [low, high]


def _date(value: object, _options: Options | None) -> str:
    try:
        return date.fromisoformat(str(value)).isoformat()
    except ValueError:
        raise ValueError("its value must be a date such as 2026-11-23") from None


def _days(value: object, options: Options | None) -> int:
    number = _number(value, options)
    if number != int(number) or not 1 <= number <= _MOST_DAYS:
        raise ValueError(f"its value must be a number of days, from 1 to {_MOST_DAYS}")
    return int(number)


def _boolean(value: object, _options: Options | None) -> bool:
    known = {"true": True, "yes": True, "false": False, "no": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise ValueError("its value must be yes or no")


def _choice(value: object, options: Options | None) -> Any:
    if value in ("", None):
        raise ValueError("choose one")
    options = options or {}
    for option in options:
        if str(option) == str(value):
            return option
    raise ValueError("its value is none of those to choose from")


_PARSE: dict[str, Callable[[object, Options | None], Any]] = {
    "none": _nothing,
    "text": _text,
    "texts": _texts,
    "tag": _text,
    "tags": _texts,
    "number": _number,
    "numbers": _numbers,
    "date": _date,
    "days": _days,
    "boolean": _boolean,
    "choice": _choice,
    "choice_days": _choice_days,
}
