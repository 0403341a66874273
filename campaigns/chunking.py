"""Cut a template into what is the same for everybody and what is rendered per person.

A template's top-level nodes are *static* (plain text, and what depends on constants alone) or
*dynamic*. All dynamic ones are one compiled template, so variables set in one are known in the
next; between two it yields BOUNDARY, which no value can contain, being an object and not a text.

The law: for any template and person, `join(values(context))` is what an ordinary render gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any

from jinja2 import Template, nodes
from markupsafe import escape

from campaigns.bounding import MAX_TEXT, BoundedContext, BoundExceeded
from campaigns.explaining import COMPILE_ERRORS, RENDER_ERRORS, TemplateProblem, problem_of
from campaigns.metering import BOUNDARY, boundary, metered, names_set
from campaigns.sandboxing import BoundedEnvironment

PROVIDER_SYNTAX = re.compile(
    r"(?<![{}%])[{}%]*(?:\{\{|\}\}|%recipient|%unsubscribe|%tag_unsubscribe|%mailing_list)[{}%]*",
    re.IGNORECASE,
)
"""What a provider would take for a merge field of its own, with the signs that touch it."""
SIGNS = "{}%"
UNMAILABLE = re.compile(r"[\x00\ud800-\udfff]")
"""NUL and halves of characters: no mail can carry them."""

SILENT = (nodes.Assign, nodes.AssignBlock, nodes.Macro)
"""Nodes that print nothing, and which later nodes may need."""
STATEFUL = (*SILENT, nodes.CallBlock, nodes.NSRef)


SHARED = "TRACKING"
"""A variable that stands in many places and is one value: the links of a mail begin with it."""


def mailable(text: str) -> str:
    """Return `text` without what no mail can carry."""
    return UNMAILABLE.sub("", text)


@dataclass(frozen=True)
class Rules:
    """What is particular to one part of a mail."""

    part: str
    clean: Callable[[str], str] = mailable
    unclean: re.Pattern[str] = UNMAILABLE
    """Finds something in every text that `clean` would change."""
    limit: int = MAX_TEXT
    """Of the rendered part, static text included, as `measure` counts."""
    measure: Callable[[str], int] = len
    has_lines: bool = True
    """Whether the lines of the template are those which the author wrote."""

    def problem(self, error: Exception, template: Template | None = None) -> TemplateProblem:
        return problem_of(error, self.part, template, has_lines=self.has_lines)

    def too_long(self) -> BoundExceeded:
        unit = "characters" if self.measure is len else "bytes"
        return BoundExceeded(f"makes a {self.part} of more than {self.limit:,} {unit}")


@dataclass(frozen=True)
class Chunked:
    """One part of a mail, ready to render for any number of people in any number of threads.

    `static` has one text more than there are gaps: the first comes before the first gap.
    `order` says which value stands in each gap. `names` are the variables of a person it uses.
    """

    static: tuple[str, ...]
    names: frozenset[str]
    rules: Rules = field(repr=False)
    template: Template = field(repr=False)
    order: tuple[int, ...]
    shared: int = 0
    """In how many gaps the variable SHARED stands alone: together they are one value, the last."""

    @cached_property
    def size(self) -> int:
        """Return the length of the static text, as the rules of the part measure it."""
        return sum(map(self.rules.measure, self.static))

    def values(self, context: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the text of each dynamic chunk for one person. Raises TemplateProblem."""
        if len(self.static) == 1:
            return ()
        last = (str(escape(context[SHARED])),) if self.shared else ()
        taken = sum(map(self.rules.measure, last)) * self.shared
        try:
            values = self._values(given(context, self.names), taken)
        except RENDER_ERRORS as error:
            raise self.rules.problem(error, self.template) from error
        return values + last

    def _values(self, person: dict[str, Any], taken: int) -> tuple[str, ...]:
        measure, room = self.rules.measure, self.rules.limit - self.size - taken
        values: list[str] = []
        pieces: list[str] = []
        for piece in run(self.template, person):
            if piece is not BOUNDARY:
                pieces.append(piece)
                room -= measure(piece)
                if room < 0:
                    raise self.rules.too_long()
            else:
                values.append("".join(pieces))
                pieces.clear()
        # One search in all of them: hardly any mail has anything to clean.
        if self.rules.unclean.search("".join(values)):
            values = list(map(self.rules.clean, values))
        return tuple(values)

    def join(self, values: Collection[str]) -> str:
        """Return the whole part, filled with `values`."""
        given = tuple(values)
        texts = [self.static[0]]
        for index, text in zip(self.order, self.static[1:], strict=True):
            texts += (given[index], text)
        return "".join(texts)

    def render(self, context: Mapping[str, Any]) -> str:
        """Return the whole part for one person. Raises TemplateProblem."""
        return self.join(self.values(context))


def given(context: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Return the variables in `names` which a person has: None is the same as none.

    A bare name is looked up in the person's attributes too, after their own variables.
    """
    person = {}
    attributes = context.get("attributes") or {}
    for name in names:
        value = context.get(name)
        if value is None:
            value = attributes.get(name)
        if value is not None:
            person[name] = value
    if "attributes" in person:
        person["attributes"] = {
            name: value for name, value in attributes.items() if value is not None
        }
    return person


def run(template: Template, variables: Mapping[str, Any]) -> Iterator[str]:
    """Yield what `template` prints, piece by piece, in a fresh context."""
    context = BoundedContext(template.environment, {**template.globals, **variables}, None, {})
    return template.root_render_func(context)


def chunk(
    environment: BoundedEnvironment,
    source: str,
    names: Collection[str],
    constants: Mapping[str, Any],
    rules: Rules,
) -> Chunked:
    """Return the template `source`, cut into chunks.

    `names` are the variables of a person; they hide constants. Raises TemplateProblem.
    """
    frozen = {name: value for name, value in constants.items() if name not in names}
    try:
        tree = environment.parse(source)
        used = frozenset({name.name for name in tree.find_all(nodes.Name)} & set(names))
        cutter = _Cutter(environment, frozen, rules)
        static, gaps, body = cutter.cut(tree)
        template = cutter.compiled(body)
    except COMPILE_ERRORS as error:
        raise rules.problem(error) from error
    order, shared = _numbered(gaps)
    return Chunked(static, used, rules, template, order, shared)


def _numbered(gaps: Sequence[bool]) -> tuple[tuple[int, ...], int]:
    """Return the value of each gap, and how many are SHARED; True in `gaps` marks those."""
    shared = sum(gaps)
    last, own = len(gaps) - shared, count()
    return tuple(last if is_shared else next(own) for is_shared in gaps), shared


Item = str | nodes.Node
"""A static text, or a node which is rendered per person."""


class _Cutter:
    def __init__(
        self, environment: BoundedEnvironment, constants: Mapping[str, Any], rules: Rules
    ) -> None:
        self.environment = environment
        self.constants = constants
        self.rules = rules

    def compiled(self, body: list[nodes.Node]) -> Template:
        tree = nodes.Template(body, lineno=1)
        tree.set_environment(self.environment)
        code = self.environment.compile(metered(tree))
        # One flat mapping: it is copied for each person, and Jinja's is slow to copy.
        named = dict(self.environment.make_globals(dict(self.constants)))
        return Template.from_code(self.environment, code, named)

    def cut(self, tree: nodes.Template) -> tuple[tuple[str, ...], list[bool], list[nodes.Node]]:
        """Return the static texts, the gaps between them, and the nodes which yield their values.

        A gap is True where SHARED stands alone: nothing is rendered for it.
        """
        stored = names_set(tree)
        items = _guarded(_merged(self._folded(list(_items(tree)), stored)))
        static, is_open = [""], False
        gaps: list[bool] = []
        body: list[nodes.Node] = []
        for item in (*items, ""):
            is_shared = _is_shared(item) and SHARED not in stored
            if is_open and (is_shared or isinstance(item, str)):
                body.append(boundary())
                static.append("")
                gaps.append(False)
                is_open = False
            if isinstance(item, str):
                static[-1] += self.rules.clean(item)
            elif is_shared:
                static.append("")
                gaps.append(True)
            else:
                body.append(item)
                is_open = is_open or not isinstance(item, SILENT)
        if sum(map(self.rules.measure, static)) > self.rules.limit:
            raise self.rules.too_long()
        return tuple(static), gaps, body

    def _folded(self, items: list[Item], stored: set[str]) -> list[Item]:
        """Return `items` with the text of those which are the same for everybody."""
        folding = [
            index
            for index, item in enumerate(items)
            if isinstance(item, nodes.Node) and self._is_constant(item, stored)
        ]
        if not folding:
            return items
        body = [part for index in folding for part in (items[index], boundary())]
        template = self.compiled(body)  # type: ignore[arg-type]
        try:
            texts = self._texts(template)
        except RENDER_ERRORS as error:
            raise self.rules.problem(error, template) from error
        for index, text in zip(folding, texts, strict=True):
            items[index] = text
        return items

    def _texts(self, template: Template) -> list[str]:
        texts, size = [""], 0
        for piece in run(template, {}):
            if piece is BOUNDARY:
                texts.append("")
                continue
            size += len(piece)
            if size > self.rules.limit:
                raise self.rules.too_long()
            texts[-1] += str(piece)
        return texts[:-1]

    def _is_constant(self, node: nodes.Node, stored: set[str]) -> bool:
        """Return whether `node` prints the same for everybody and changes nothing.

        On the side of caution: what is set anywhere in the template may depend on a person, and
        a node in which a name of its own hides another's is left alone.
        """
        own: set[str] = set()
        loads: set[str] = set()
        for part in (node, *node.find_all((nodes.Name, *STATEFUL))):
            if isinstance(part, STATEFUL):
                return False
            if isinstance(part, nodes.Name):
                (loads if part.ctx == "load" else own).add(part.name)
        if own & (stored | set(self.constants)):
            return False
        known = set(self.constants) | set(self.environment.globals) | own | {"loop"}
        return loads - stored <= known and not loads & stored


def _is_shared(item: Item) -> bool:
    """Say whether `item` is {{ TRACKING }}, and nothing else."""
    if not isinstance(item, nodes.Output) or len(item.nodes) != 1:
        return False
    [node] = item.nodes
    return isinstance(node, nodes.Name) and node.name == SHARED


def _items(tree: nodes.Template) -> Iterator[Item]:
    for node in tree.body:
        if not isinstance(node, nodes.Output):
            yield node
            continue
        for child in node.nodes:
            if isinstance(child, nodes.TemplateData):
                yield child.data
            else:
                yield nodes.Output([child], lineno=child.lineno)


def _merged(items: list[Item]) -> list[Item]:
    """Return `items` with neighbouring texts made one; what prints nothing does not part them."""
    merged: list[Item] = []
    last = -1
    for item in items:
        if not isinstance(item, str):
            merged.append(item)
            last = last if isinstance(item, SILENT) else -1
        elif last >= 0:
            merged[last] = str(merged[last]) + item
        else:
            last = len(merged)
            merged.append(item)
    return merged


def _guarded(items: list[Item]) -> Iterator[Item]:
    """Yield `items`; text that a provider would take for a merge field becomes a value."""
    for index, item in enumerate(items):
        if not isinstance(item, str):
            yield item
            continue
        yield from _pieces(item, _is_field(items, index - 1), _is_field(items, index + 1))


def _is_field(items: list[Item], index: int) -> bool:
    return 0 <= index < len(items) and not isinstance(items[index], str)


def _pieces(text: str, follows_field: bool, precedes_field: bool) -> Iterator[Item]:
    start = len(text) - len(text.lstrip(SIGNS)) if follows_field else 0
    end = max(start, len(text.rstrip(SIGNS))) if precedes_field else len(text)
    if start:
        yield _value(text[:start])
    for found in PROVIDER_SYNTAX.finditer(text, start, end):
        yield text[start : found.start()]
        yield _value(found[0])
        start = found.end()
    yield text[start:end]
    if end < len(text):
        yield _value(text[end:])


def _value(text: str) -> nodes.Output:
    return nodes.Output([nodes.TemplateData(text, lineno=1)], lineno=1)
