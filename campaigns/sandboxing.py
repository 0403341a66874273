"""A Jinja environment in which a template can neither reach out nor run away (see `bounding`)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.runtime import LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

from campaigns import filtering
from campaigns.bounding import (
    MAX_BITS,
    MAX_TAG,
    MAX_TOKENS,
    MAX_WEIGHT,
    TOO_LONG,
    BoundedContext,
    BoundExceeded,
    Missing,
    bounded_concat,
    printable,
    weight,
)
from campaigns.metering import BOUNDARY, BoundedCodeGenerator
from campaigns.scanning import line_at, tags

TOO_MANY = "has too many Jinja tags"


class TokenLimit(Extension):
    """Refuses a source with too many tokens while it is read, not after."""

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        for count, token in enumerate(stream):
            if count > MAX_TOKENS:
                raise BoundExceeded(TOO_MANY)
            yield token


METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        [
            "upper",
            "lower",
            "title",
            "capitalize",
            "swapcase",
            "strip",
            "lstrip",
            "rstrip",
            "startswith",
            "endswith",
            "find",
            "count",
            "isdigit",
            "isalpha",
            "isalnum",
            "isnumeric",
            "isupper",
            "islower",
            "split",
            "rsplit",
            "splitlines",
            "partition",
            "rpartition",
            "replace",
            "join",
            "removeprefix",
            "removesuffix",
        ]
    ),
    Mapping: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"index", "count"}),
    tuple: frozenset({"index", "count", "grouper", "list"}),
    datetime: frozenset(
        [
            "year",
            "month",
            "day",
            "hour",
            "minute",
            "second",
            "date",
            "time",
            "weekday",
            "isoweekday",
            "isoformat",
            "strftime",
        ]
    ),
    date: frozenset(["year", "month", "day", "weekday", "isoweekday", "isoformat", "strftime"]),
    time: frozenset(["hour", "minute", "second", "isoformat", "strftime"]),
    LoopContext: frozenset(
        [
            "index",
            "index0",
            "revindex",
            "revindex0",
            "first",
            "last",
            "length",
            "cycle",
            "changed",
            "depth",
            "depth0",
            "previtem",
            "nextitem",
        ]
    ),
    Cycler: frozenset({"next", "current", "reset"}),
}
"""The attributes a template may use besides the keys of mappings, by type."""


def _methods(value: Any) -> frozenset[str]:
    for kind, names in METHODS.items():
        if isinstance(value, kind):
            return names
    return frozenset()


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Where all templates of users are compiled and rendered."""

    code_generator_class = BoundedCodeGenerator
    context_class = BoundedContext
    concat = staticmethod(bounded_concat)
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    boundary: str

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(
            autoescape=autoescape,
            undefined=Missing,
            finalize=printable,
            keep_trailing_newline=True,
            # Chunks are folded as a whole; folding each expression doubles the time to compile.
            optimized=False,
            extensions=[TokenLimit],
        )
        self.filters = dict(filtering.FILTERS)
        self.tests = dict(filtering.TESTS)
        self.globals = dict(filtering.GLOBALS)
        self.boundary = BOUNDARY

    def parse(
        self, source: str, name: str | None = None, filename: str | None = None
    ) -> nodes.Template:
        """Return the tree of `source`. Raises COMPILE_ERRORS (`explaining`)."""
        for count, tag in enumerate(tags(source)):
            if count > MAX_TOKENS:
                raise BoundExceeded(TOO_MANY)
            # Of a long run of digits Jinja's lexer makes 300 bytes for each.
            if tag.kind in "{%" and len(tag.text) > MAX_TAG:
                line = line_at(source, tag.start)
                raise TemplateSyntaxError(f"a tag of more than {MAX_TAG:,} characters", line)
        return super().parse(source, name, filename)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return what `obj.attribute` means: a key first, so that a key may be called “items”."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, Undefined):
            return obj
        if attribute.startswith("_"):
            self._refuse(attribute)
        if attribute in _methods(obj) or isinstance(obj, Namespace):
            return getattr(obj, attribute, self.undefined(obj=obj, name=attribute))
        if hasattr(type(obj), attribute):
            self._refuse(attribute)
        return self.undefined(obj=obj, name=attribute)

    def _refuse(self, attribute: str) -> NoReturn:
        raise SecurityError(f"uses “{attribute}”, which templates may not")

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, (Mapping, list, tuple, str)):
            try:
                return obj[argument]
            except (LookupError, TypeError):
                pass
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        return self.undefined(obj=obj, name=argument)

    def is_safe_callable(self, obj: Any) -> bool:
        if isinstance(obj, (Macro, LoopContext, Joiner)) or obj in self.globals.values():
            return True
        name = getattr(obj, "__name__", "")
        return name in _methods(getattr(obj, "__self__", None))

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Return what `obj(…)` gives, within bounds; refuse what is not on the list."""
        if isinstance(obj, Undefined):
            raise SecurityError(f"calls {obj._undefined_name}(), which does not exist")
        if not self.is_safe_callable(obj):
            raise SecurityError("calls something that is not a function")
        context.enter(10 + weight(args))
        if isinstance(obj, Macro):
            return context.held(context.call(obj, *args, **kwargs))
        kwargs.pop("_loop_vars", None)
        kwargs.pop("_block_vars", None)
        return context.held(filtering.called(context, obj, args, kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        context.charge(10)
        if operator in ("*", "**"):
            _refuse_growth(operator, left, right)
        elif operator == "+":
            context.charge(weight(left) + weight(right))
        elif isinstance(left, str):
            return context.held(filtering.formatted(left, right))
        return context.held(BINARY[operator](left, right))


BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "*": operator.mul,
    "**": operator.pow,
    "%": operator.mod,
}


def _refuse_growth(sign: str, left: Any, right: Any) -> None:
    """Raise BoundExceeded if `left * right` or `left ** right` would be too large to make."""
    for thing, times in ((left, right), (right, left)):
        if isinstance(thing, (str, list, tuple)) and isinstance(times, int):
            if times > 0 and (10 + weight(thing)) * times > MAX_WEIGHT:
                raise BoundExceeded(TOO_LONG)
            return
    if isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length() * abs(right) if sign == "**" else _bits(left) + _bits(right)
        if bits > MAX_BITS:
            raise BoundExceeded("makes a number that is too large")


def _bits(number: int) -> int:
    return number.bit_length()
