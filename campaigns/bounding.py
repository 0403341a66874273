"""What one mail may cost: the limits, the weight of a value, and the counters of one render.

Three fences, all of them per render and without a clock:

- *work*: loops and calls are counted, and everything whose price grows with its operands (filters,
  comparisons, joining, printing) is charged for before it is done;
- *size*: a text is at most MAX_TEXT characters, a list or mapping at most MAX_WEIGHT units with
  all that is in it;
- *reach*: attributes and callables come from a short list of allowed ones, never from what an
  object happens to have (`sandboxing`).

The counters live in the render's own context, so one compiled template serves many threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

from jinja2 import pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import ChainableUndefined, Context, Undefined, markup_join, str_join

MAX_SOURCE = 1_000_000
"""Characters of one part of a template."""
MAX_TOKENS = 4_000
"""Words and signs inside all Jinja tags of one part: compiling costs up to 100 µs for each."""
MAX_TEXT = 512 * 1024
"""Characters of any text a template makes, the whole body included."""
MAX_WEIGHT = 200_000
"""Units of one list or mapping: 2 for every thing in it, however deep, and 1 per 4 characters."""
MAX_LOOPS = 10_000
"""Turns of all loops of one render together; calls of macros and functions likewise."""
MAX_WORK = 1_000_000
"""Units of work of one render: about half a second of the slowest kind."""
MAX_BITS = 256
"""Of a whole number: more than any price, and little enough to multiply for ever."""


MAX_TAG = 10_000
"""Characters of one Jinja tag."""
PLAIN_TYPES = frozenset({int, float, bool, type(None)})


class BoundExceeded(SecurityError):
    """The template wants more than one mail may cost."""


class Missing(ChainableUndefined):
    """What a person does not have: prints nothing, is smaller and larger than nothing.

    `{% if age > 18 %}` is false for a person without age; arithmetic is refused, since any number
    would be a guess.
    """

    def _is_false(self, other: Any) -> bool:
        return False

    __lt__ = __le__ = __gt__ = __ge__ = _is_false  # type: ignore[assignment]


def weight(value: Any) -> int:
    """Return the units of `value`, with all that is in it; raise BoundExceeded above MAX_WEIGHT.

    A thing that is in a list twice counts twice, for that is how often it is printed or compared:
    thirty lists of two, each in the next, are a thousand million things.
    """
    if isinstance(value, str):
        return len(value) >> 2
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        total += 2
        if type(item) in PLAIN_TYPES:
            continue
        if isinstance(item, str):
            total += len(item) >> 2
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)
        elif isinstance(item, Mapping):
            waiting.extend(item)
            waiting.extend(item.values())
        if total + len(waiting) > MAX_WEIGHT:
            raise BoundExceeded("makes a list that is too large")
    return total


class BoundedContext(Context):
    """The variables of one render, and what it has cost so far."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loops = 0
        self.calls = 0
        self.work = 0

    def charge(self, units: int) -> None:
        self.work += units
        if self.work > MAX_WORK:
            raise BoundExceeded("takes too much work for one mail")

    def turn(self, units: int) -> bool:
        """Count one turn of a loop whose body has about `units` nodes."""
        self.loops += 1
        if self.loops > MAX_LOOPS:
            raise BoundExceeded(f"loops more than {MAX_LOOPS:,} times for one mail")
        self.charge(units)
        return True

    def enter(self, units: int) -> None:
        """Count one call of a macro whose body has about `units` nodes."""
        self.calls += 1
        if self.calls > MAX_LOOPS:
            raise BoundExceeded(f"calls macros more than {MAX_LOOPS:,} times for one mail")
        self.charge(units)

    def weighed(self, value: Any) -> Any:
        """Return `value`, charged for by its weight."""
        self.charge(weight(value))
        return value

    def held(self, value: Any) -> Any:
        """Return a new `value`, charged for, if it is not too large to keep."""
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise BoundExceeded(TOO_LONG)
        self.charge(10 + weight(value))
        return value

    def joined(self, parts: tuple[Any, ...]) -> str:
        """Return what the operator ~ makes of its operands."""
        texts = [printable(self, part) for part in parts]
        if sum(map(len, texts)) > MAX_TEXT:
            raise BoundExceeded(TOO_LONG)
        joined: str = (markup_join if self.eval_ctx.autoescape else str_join)(texts)
        return joined

    def contains(self, container: Any, item: Any) -> bool:
        """Return `item in container`; nothing is in a missing value, and it is in nothing."""
        self.charge(weight(container) + weight(item))
        if isinstance(container, Undefined) or isinstance(item, Undefined):
            return False
        return item in container


TOO_LONG = f"makes a text of more than {MAX_TEXT // 1024} kB"
PRINTED = (int, float, Decimal, date, time)


@pass_context
def printable(context: BoundedContext, value: Any) -> str:
    """Return the text of `value` for the mail; None and missing values give an empty text."""
    if isinstance(value, str):
        context.charge(len(value) >> 2)
        return value
    if value is None or isinstance(value, Undefined):
        return ""
    if isinstance(value, (list, tuple, Mapping)):
        _refuse_strange(value)
        context.weighed(value)
        return str(value)
    if isinstance(value, PRINTED):
        return str(value)
    raise SecurityError(f"prints something that has no text ({type(value).__name__})")


def _refuse_strange(container: Any) -> None:
    """Raise unless all in `container` is plain data: other things print how they please."""
    weight(container)
    waiting = [container]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (list, tuple)):
            waiting.extend(item)
        elif isinstance(item, Mapping):
            waiting.extend((*item, *item.values()))
        elif not (item is None or isinstance(item, (str, Undefined, *PRINTED))):
            raise SecurityError(f"prints something that has no text ({type(item).__name__})")


def bounded_concat(parts: Iterable[str]) -> str:
    """Return the joined `parts`; the sum is taken first, so nothing too large is ever made."""
    pieces = list(parts)
    if sum(map(len, pieces)) > MAX_TEXT:
        raise BoundExceeded(TOO_LONG)
    return "".join(pieces)
