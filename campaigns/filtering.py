"""The filters, tests and functions of templates: Jinja's own, bounded; what cannot be is left out.

Left out: attr (reaches attributes), random and lipsum (a mail must render twice alike), pprint,
urlize, wordwrap and xmlattr (their time or size is not in proportion to what they are given).
"""

from __future__ import annotations

import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from decimal import Decimal
from itertools import islice
from typing import Any

from jinja2 import filters as jinja
from jinja2 import pass_context
from jinja2 import tests as jinja_tests
from jinja2.exceptions import SecurityError
from jinja2.runtime import Undefined
from jinja2.utils import Cycler, Joiner, Namespace
from markupsafe import escape, soft_str

from campaigns.bounding import MAX_TEXT, TOO_LONG, BoundedContext, BoundExceeded, weight

MAX_ITEMS = 10_000
"""Things in a list that a filter makes, walks or fills."""
MAX_NAME = 200
"""Characters of the name of an attribute, filter or test that is given to a filter."""
MAX_DOTS = 5
MAX_WIDTH = 1_000
MAX_SLOW = 20_000
"""Characters for the filters that are slower than linear."""
MAX_DIGITS = 100

Check = Callable[..., None]

DIRECTIVE = re.compile(
    r"%(?:%|(?:\([^()]*\))?[-+ #0]*\d{0,2}(?:\.\d{0,2})?[sdifFeEgGxXoc])", re.DOTALL
)
"""A %-directive which cannot widen a text by more than 99 characters."""


def formatted(pattern: str, values: Any) -> str:
    """Return `pattern % values`, if all the values are plain and the result is not too long."""
    given = values.values() if isinstance(values, Mapping) else values
    given = list(given) if not isinstance(given, str) and hasattr(given, "__iter__") else [given]
    if not all(isinstance(value, (str, int, float, Decimal, Undefined)) for value in given):
        raise SecurityError("formats something that is neither text nor number")
    if "%" in DIRECTIVE.sub("", pattern):
        raise SecurityError("has a % format that templates may not use")
    longest = max((len(str(value)) for value in given), default=0) + 100
    _refuse_long(len(pattern) + longest * pattern.count("%"))
    return pattern % values  # type: ignore[no-any-return]


def _refuse_long(length: int) -> None:
    if length > MAX_TEXT:
        raise BoundExceeded(TOO_LONG)


def _check_replace(value: Any, old: Any, new: Any, count: Any = None) -> None:
    text, gone, put = str(value), str(old), str(new)
    times = text.count(gone) if gone else len(text) + 1
    # Escaping may make each character six, in the text as in what is put into it.
    _refuse_long(len(text) + times * len(put))


def _check_width(value: Any, width: Any = 0, *rest: Any, **named: Any) -> None:
    sizes = [width, *rest, *named.values()]
    if any(isinstance(size, int) and abs(size) > MAX_WIDTH for size in sizes):
        raise BoundExceeded(f"asks for a width of more than {MAX_WIDTH:,}")


def _check_indent(value: Any, width: Any = 4, *rest: Any, **named: Any) -> None:
    _check_width(value, width, **named)
    each = len(width) if isinstance(width, str) else named.get("width", width)
    each = len(each) if isinstance(each, str) else int(each)
    _refuse_long(len(str(value)) + each * (str(value).count("\n") + 1))


def _check_precision(value: Any, precision: Any = 0, *rest: Any, **named: Any) -> None:
    if abs(int(precision)) > 20:
        raise BoundExceeded("rounds to more than 20 digits")


def _check_slow(value: Any, *rest: Any, **named: Any) -> None:
    if len(str(value)) > MAX_SLOW:
        raise BoundExceeded(f"gives a slow filter more than {MAX_SLOW:,} characters")


def _check_digits(value: Any, *rest: Any, **named: Any) -> None:
    if isinstance(value, str) and len(value) > MAX_DIGITS:
        raise BoundExceeded(f"reads a number of more than {MAX_DIGITS} digits")


def _check_bare(value: Any, *rest: Any, **named: Any) -> None:
    if rest or named:
        raise SecurityError("gives tojson an argument; it takes none")


def _check_walk(value: Any, *rest: Any, **named: Any) -> None:
    """Raise if a list filter would walk too far, or along too long a path in each item."""
    if isinstance(value, str) and len(value) > MAX_ITEMS:
        raise BoundExceeded(f"walks through more than {MAX_ITEMS:,} characters")
    for name in (*rest, *named.values()):
        if isinstance(name, str) and (len(name) > MAX_NAME or name.count(".") > MAX_DOTS):
            raise BoundExceeded("names something with too long a name")


def _check_fill(value: Any, count: Any, *rest: Any, **named: Any) -> None:
    _check_walk(value)
    if not isinstance(count, int) or not 0 < count <= MAX_ITEMS:
        raise BoundExceeded(f"asks for rows of a size not between 1 and {MAX_ITEMS:,}")


def _check_join(value: Any, separator: Any = "", *rest: Any, **named: Any) -> None:
    _check_walk(value, *rest, **named)
    separator = named.get("d", separator)
    _refuse_long(len(str(separator)) * (len(value) if hasattr(value, "__len__") else 1))


def _check_sum(value: Any, attribute: Any = None, start: Any = 0, **named: Any) -> None:
    _check_walk(value, attribute, **named)
    if not isinstance(start, (int, float, Decimal)):
        raise SecurityError("sums up something that is not a number")


def _allow(value: Any, *rest: Any, **named: Any) -> None:
    """Allow anything: the filter's time and result are in proportion to what it is given."""


def bounded(function: Callable[..., Any], passing: str = "", check: Check = _allow) -> Any:
    """Return `function` as a filter that is charged for, checked before and weighed after.

    `passing` is what Jinja's own function wants before its value: "environment", "eval_ctx",
    "context" or nothing. A lazy result becomes a list.
    """

    @pass_context
    def apply(context: BoundedContext, value: Any, *args: Any, **kwargs: Any) -> Any:
        context.charge(10 + weight(value) + weight(args) + (weight(kwargs) if kwargs else 0))
        check(value, *args, **kwargs)
        if passing:
            given = context if passing == "context" else getattr(context, passing)
            return _made(context, function(given, value, *args, **kwargs))
        return _made(context, function(value, *args, **kwargs))

    return apply


def bounded_text(function: Callable[..., Any], passing: str = "", check: Check = _allow) -> Any:
    """Return `function` as `bounded` does, for texts: it takes None for an empty one."""
    inner = bounded(function, passing, check)

    @pass_context
    def apply(context: BoundedContext, value: Any, *args: Any, **kwargs: Any) -> Any:
        return inner(context, "" if value is None else value, *args, **kwargs)

    return apply


def _made(context: BoundedContext, result: Any) -> Any:
    """Return a filter's `result` as something that can be weighed, and charged for."""
    if isinstance(result, (Iterator, KeysView, ValuesView, ItemsView)):
        result = list(islice(result, MAX_ITEMS + 1))
        if len(result) > MAX_ITEMS:
            raise BoundExceeded(f"makes a list of more than {MAX_ITEMS:,} things")
    return context.held(result)


def default(value: Any, instead: Any = "", boolean: bool = False) -> Any:
    """Return `value`, or `instead` if the person has none, or only blanks.

    Other than Jinja's own: an empty first name is as good as none. 0 and False are values.
    """
    if value is None or isinstance(value, Undefined) or (boolean and not value):
        return instead
    return instead if isinstance(value, str) and not value.strip() else value


def called(
    context: BoundedContext,
    function: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Return `function(*args, **kwargs)` for a method or function that is on the list."""
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    context.charge(weight(owner) if isinstance(owner, (str, list, tuple, Mapping)) else 0)
    if isinstance(owner, str):
        check: Check = CHECKS.get(name, _allow)
        check(owner, *args, **kwargs)
    elif name == "strftime" and re.search(r"%\W*\d|.{100}", str(args), re.DOTALL):
        raise SecurityError("formats a date in a way that templates may not")
    return _made(context, function(*args, **kwargs))


CHECKS: Mapping[str, Check] = {
    "replace": _check_replace,
    "join": lambda separator, items: _check_join(items, separator),
}


def counting(*limits: int) -> list[int]:
    """Return the numbers of range(…), at most MAX_ITEMS."""
    numbers = range(*limits)
    if len(numbers) > MAX_ITEMS:
        raise BoundExceeded(f"counts over a range of more than {MAX_ITEMS:,} numbers")
    return list(numbers)


_ESCAPE = bounded_text(escape)
_COUNT = bounded(len)
_DEFAULT = default

FILTERS: Mapping[str, Callable[..., Any]] = {
    "abs": bounded(abs),
    "batch": bounded(jinja.do_batch, check=_check_fill),
    "capitalize": bounded_text(jinja.do_capitalize),
    "center": bounded_text(jinja.do_center, check=_check_width),
    "count": _COUNT,
    "d": _DEFAULT,
    "default": _DEFAULT,
    "dictsort": bounded(jinja.do_dictsort, check=_check_walk),
    "e": _ESCAPE,
    "escape": _ESCAPE,
    "filesizeformat": bounded(jinja.do_filesizeformat, check=_check_digits),
    "first": bounded(jinja.do_first, "environment"),
    "float": bounded(jinja.do_float, check=_check_digits),
    "forceescape": bounded_text(jinja.do_forceescape),
    "format": bounded_text(lambda value, *args, **named: formatted(value, named or args)),
    "groupby": bounded(jinja.do_groupby, "environment", _check_walk),
    "indent": bounded_text(jinja.do_indent, check=_check_indent),
    "int": bounded(jinja.do_int, check=_check_digits),
    "items": bounded(jinja.do_items),
    "join": bounded(jinja.do_join, "eval_ctx", _check_join),
    "last": bounded(jinja.do_last, "environment"),
    "length": _COUNT,
    "list": bounded(jinja.do_list, check=_check_walk),
    "lower": bounded_text(jinja.do_lower),
    "map": bounded(jinja.do_map, "context", _check_walk),
    "max": bounded(jinja.do_max, "environment", _check_walk),
    "min": bounded(jinja.do_min, "environment", _check_walk),
    "reject": bounded(jinja.do_reject, "context", _check_walk),
    "rejectattr": bounded(jinja.do_rejectattr, "context", _check_walk),
    "replace": bounded_text(jinja.do_replace, "eval_ctx", _check_replace),
    "reverse": bounded(jinja.do_reverse, check=_check_walk),
    "round": bounded(jinja.do_round, check=_check_precision),
    "safe": bounded_text(jinja.do_mark_safe),
    "select": bounded(jinja.do_select, "context", _check_walk),
    "selectattr": bounded(jinja.do_selectattr, "context", _check_walk),
    "slice": bounded(jinja.do_slice, check=_check_fill),
    "sort": bounded(jinja.do_sort, "environment", _check_walk),
    "string": bounded_text(soft_str),
    "striptags": bounded_text(jinja.do_striptags, check=_check_slow),
    "sum": bounded(jinja.do_sum, "environment", _check_sum),
    "title": bounded_text(jinja.do_title),
    "tojson": bounded(jinja.do_tojson, "eval_ctx", _check_bare),
    "trim": bounded_text(jinja.do_trim),
    "truncate": bounded_text(jinja.do_truncate, "environment"),
    "unique": bounded(jinja.do_unique, "environment", _check_walk),
    "upper": bounded_text(jinja.do_upper),
    "urlencode": bounded_text(jinja.do_urlencode),
    "wordcount": bounded_text(jinja.do_wordcount),
}

FREE_TESTS = [
    "boolean",
    "defined",
    "divisibleby",
    "even",
    "false",
    "float",
    "integer",
    "iterable",
    "mapping",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "true",
    "undefined",
]
"""Tests whose price does not grow with the value."""
CHARGED_TESTS = [
    "==",
    "!=",
    ">",
    ">=",
    "<",
    "<=",
    "eq",
    "ne",
    "gt",
    "ge",
    "lt",
    "le",
    "equalto",
    "greaterthan",
    "lessthan",
    "lower",
    "upper",
]


@pass_context
def is_in(context: BoundedContext, item: Any, container: Any) -> bool:
    return context.contains(container, item)


JINJA_TESTS: Mapping[str, Any] = jinja_tests.TESTS
TESTS: Mapping[str, Callable[..., Any]] = {
    **{name: JINJA_TESTS[name] for name in FREE_TESTS},
    **{name: bounded(JINJA_TESTS[name]) for name in CHARGED_TESTS},
    "in": is_in,
}

GLOBALS: Mapping[str, Any] = {
    "range": counting,
    "dict": dict,
    "cycler": Cycler,
    "joiner": Joiner,
    "namespace": Namespace,
}
