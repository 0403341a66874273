"""A Jinja environment in which a template can neither reach out nor run away (see `bounding`)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
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
from campaigns.scanning import line_at, tags


class BoundedCodeGenerator(CodeGenerator):
    """Writes the charges into the compiled template, where plain Python would be free."""

    def _wrapped(self, method: str, write: Callable[[], object]) -> None:
        self.write(f"context.{method}(")
        write()
        self.write(")")

    def _operand(self, node: nodes.Node, frame: Frame) -> None:
        if isinstance(node, nodes.Const):
            self.visit(node, frame)
        else:
            self._wrapped("weighed", lambda: self.visit(node, frame))

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("context.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:  # noqa: N802
        if len(node.ops) == 1 and node.ops[0].op in ("in", "notin"):
            self._contains(node.expr, node.ops[0], frame)
            return
        self.write("(")
        self._operand(node.expr, frame)
        for op in node.ops:
            self.visit(op, frame)
        self.write(")")

    def _contains(self, item: nodes.Expr, op: nodes.Operand, frame: Frame) -> None:
        self.write("(context.contains(" if op.op == "in" else "(not context.contains(")
        self.visit(op.expr, frame)
        self.write(", ")
        self.visit(item, frame)
        self.write("))")

    def visit_Operand(self, node: nodes.Operand, frame: Frame) -> None:  # noqa: N802
        self.write(f" {COMPARISONS[node.op]} ")
        self._operand(node.expr, frame)

    def visit_List(self, node: nodes.List, frame: Frame) -> None:  # noqa: N802
        self._wrapped("held", lambda: super(BoundedCodeGenerator, self).visit_List(node, frame))

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._wrapped("held", lambda: super(BoundedCodeGenerator, self).visit_Dict(node, frame))

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx != "load":
            super().visit_Tuple(node, frame)
            return
        self._wrapped("held", lambda: super(BoundedCodeGenerator, self).visit_Tuple(node, frame))

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:  # noqa: N802
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self._wrapped("weighed", lambda: self.visit(node.node, frame))
        self.write("[")
        self.visit(node.arg, frame)
        self.write("]")


COMPARISONS = {
    "eq": "==",
    "ne": "!=",
    "gt": ">",
    "gteq": ">=",
    "lt": "<",
    "lteq": "<=",
    "in": "in",
    "notin": "not in",
}


class TokenLimit(Extension):
    """Refuses a source with too many tokens while it is read, not after."""

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        for count, token in enumerate(stream):
            if count > MAX_TOKENS:
                raise BoundExceeded("has too many Jinja tags")
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
        for tag in tags(source):
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


class _Boundary(str):
    """A text that is told apart by being this one object."""

    __slots__ = ()


BOUNDARY = _Boundary()
"""What a compiled template yields between two chunks."""


def boundary() -> nodes.ExprStmt:
    """Return a node that yields BOUNDARY; it works at the top level of a template only."""
    return nodes.ExprStmt(_code("yield environment.boundary", 1), lineno=1)


def names_set(tree: nodes.Template) -> set[str]:
    """Return every name that {% set %} or {% macro %} gives a value, anywhere in `tree`."""
    names = {macro.name for macro in tree.find_all(nodes.Macro)}
    targets = [assign.target for assign in tree.find_all(nodes.Assign)]
    targets += [assign.target for assign in tree.find_all(nodes.AssignBlock)]
    for target in targets:
        found = [target, *target.find_all(nodes.Name)]
        names |= {name.name for name in found if isinstance(name, nodes.Name)}
    return names


def metered(tree: nodes.Template) -> nodes.Template:
    """Return `tree` with a counter in every loop and macro; it is changed in place."""
    _meter(tree)
    return tree


def _meter(node: nodes.Node) -> int:
    """Put counters into `node` and below; return about how many nodes one pass through it costs."""
    units = 1 + (len(node.data) >> 4 if isinstance(node, nodes.TemplateData) else 0)
    if not isinstance(node, (nodes.For, nodes.Macro, nodes.CallBlock)):
        return units + sum(_meter(child) for child in node.iter_child_nodes())
    body = 1 + sum(_meter(child) for child in node.body)
    around = sum(_meter(child) for child in node.iter_child_nodes(exclude=("body",)))
    if isinstance(node, nodes.For) and node.test is not None:
        # A filtered loop may turn for ever without once coming to its body.
        turn = _code(f"context.turn({body + around})", node.lineno)
        node.test = nodes.And(turn, node.test, lineno=node.lineno)
    else:
        verb = "turn" if isinstance(node, nodes.For) else "enter"
        counter = _code(f"context.{verb}({body})", node.lineno)
        node.body.insert(0, nodes.ExprStmt(counter, lineno=node.lineno))
    return units + around


def _code(python: str, lineno: int) -> nodes.InternalName:
    """Return a node that compiles to `python`, the way Jinja's own parser makes such names."""
    node: nodes.InternalName = object.__new__(nodes.InternalName)
    nodes.Node.__init__(node, python, lineno=lineno)
    return node
