"""What is wrong with a template before anybody is mailed: names that do not exist, and the like."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jinja2 import meta, nodes

from campaigns.explaining import COMPILE_ERRORS, TemplateProblem, nearest, problem_of
from campaigns.metering import names_set
from campaigns.sandboxing import BoundedEnvironment

ELSEWHERE = {
    nodes.Extends: "extends",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from",
    nodes.Block: "block",
}
"""Tags that need a second template; a mail is one."""


def tree_problems(
    environment: BoundedEnvironment, text: str, part: str, known: Collection[str]
) -> Iterator[TemplateProblem]:
    """Yield what is wrong with the template `text`, in the order of its lines.

    `known` are all variables that may be used.
    """
    try:
        tree = environment.parse(text)
        found = [
            *_refused_tags(tree),
            *_unknown_callables(tree, environment),
            *_private_attributes(tree),
        ]
        if not found:
            found = [*_unknown_names(tree, known), *_unknown_attributes(tree, known)]
    except COMPILE_ERRORS as error:
        yield problem_of(error, part)
        return
    for line, sentence in sorted(found):
        yield TemplateProblem(sentence, part=part, line=line)


METHODS_OF_MAPPINGS = frozenset({"get", "items", "keys", "values"})

Found = tuple[int, str]
"""A line and what is wrong there."""


def _refused_tags(tree: nodes.Template) -> Iterator[Found]:
    for kind, tag in ELSEWHERE.items():
        for node in tree.find_all(kind):
            yield node.lineno, f"{{% {tag} %}} is not available; put all of the mail in one place."


def _unknown_callables(tree: nodes.Template, environment: BoundedEnvironment) -> Iterator[Found]:
    """Yield filters and tests that do not exist."""
    for node in tree.find_all((nodes.Filter, nodes.Test)):
        kind = "filter" if isinstance(node, nodes.Filter) else "test"
        there = environment.filters if kind == "filter" else environment.tests
        if node.name not in there:
            yield node.lineno, f"there is no {kind} “{node.name}”{nearest(node.name, there)}"


def _private_attributes(tree: nodes.Template) -> Iterator[Found]:
    for node in tree.find_all(nodes.Getattr):
        if node.attr.startswith("_"):
            yield node.lineno, f"“{node.attr}” cannot be used here; remove it."
    for name in tree.find_all(nodes.Name):
        if name.name == "self" and name.ctx == "load":
            yield name.lineno, "“self” cannot be used here; remove it."


def _unknown_names(tree: nodes.Template, known: Collection[str]) -> Iterator[Found]:
    """Yield each unknown variable once, at its first line."""
    used = {name.name for name in tree.find_all(nodes.Name)} - set(known)
    if not used:
        # The usual case; what follows compiles the whole template to see what is in scope where.
        return
    unknown = (used & meta.find_undeclared_variables(tree)) - names_set(tree) - {"self"}
    seen: set[str] = set()
    for name in sorted(tree.find_all(nodes.Name), key=lambda name: name.lineno):
        if name.name in unknown and name.name not in seen and name.ctx == "load":
            seen.add(name.name)
            hint = nearest(name.name, known)
            yield name.lineno, f"there is no variable “{name.name}”{hint}"


def _unknown_attributes(tree: nodes.Template, known: Collection[str]) -> Iterator[Found]:
    """Yield `attributes.name` and `attributes["name"]` of attributes which nobody has."""
    for node, name in _attributes_used(tree):
        if name not in known and name not in METHODS_OF_MAPPINGS:
            yield node.lineno, f"there is no attribute “{name}”{nearest(name, known)}"


def _attributes_used(tree: nodes.Template) -> Iterator[tuple[nodes.Node, str]]:
    for node in tree.find_all(nodes.Getattr):
        if _is_attributes(node.node):
            yield node, node.attr
    for item in tree.find_all(nodes.Getitem):
        key = item.arg.value if isinstance(item.arg, nodes.Const) else None
        if _is_attributes(item.node) and isinstance(key, str):
            yield item, key


def _is_attributes(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "attributes"
