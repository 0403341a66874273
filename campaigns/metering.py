"""Write the meters into compiled templates: the charges, the counters, and the marks of chunks."""

from __future__ import annotations

from collections.abc import Callable

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame


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
