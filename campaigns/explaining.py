"""What is wrong with a template, in one sentence that says where and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from types import TracebackType

from jinja2 import Template
from jinja2.exceptions import (
    SecurityError,
    TemplateError,
    TemplateSyntaxError,
    UndefinedError,
)

from emailplatform.errors import InvalidInput

PARTS = ("subject", "preheader", "body", "text")

RENDER_ERRORS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
    RuntimeError,
)
"""All that an expression of a template can end in; nothing else runs while one is rendered."""
COMPILE_ERRORS = (TemplateError, SyntaxError, ValueError, RecursionError, MemoryError)


class TemplateProblem(InvalidInput):
    """A template cannot be used. `str()` names the part and line, and says what to do.

    `part` is one of PARTS, `line` counts from 1 in that part (0 = not known).
    """

    code = "template_problem"

    def __init__(self, sentence: str, *, part: str, line: int = 0) -> None:
        place = f"{part.capitalize()}, line {line}" if line else part.capitalize()
        super().__init__(f"{place}: {sentence}", param=part)
        self.part = part
        self.line = line


def problem_of(
    error: BaseException, part: str, template: Template | None = None, *, has_lines: bool = True
) -> TemplateProblem:
    """Return what an `error` of parsing, compiling or rendering means to the author.

    Without `has_lines` the template's lines are not the author's: it was made from MJML or HTML.
    """
    if isinstance(error, TemplateProblem):
        return error
    line = error.lineno if isinstance(error, TemplateSyntaxError) else 0
    if template is not None:
        line = _line_reached(error.__traceback__, template)
    return TemplateProblem(_sentence(error), part=part, line=line if has_lines else 0)


def _line_reached(trace: TracebackType | None, template: Template) -> int:
    """Return the line of the template's source at which rendering stopped, or 0."""
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line


def _sentence(error: BaseException) -> str:
    if isinstance(error, TemplateSyntaxError):
        return _syntax_sentence(error.message or "it cannot be read")
    if isinstance(error, SecurityError):
        return f"the template {error.message}; make it simpler."
    if isinstance(error, UndefinedError):
        return f"a value is missing ({error.message}); give one with |default(…)."
    if isinstance(error, ZeroDivisionError):
        return "it divides by zero; test the number with {% if %} first."
    if isinstance(error, (RecursionError, SyntaxError, MemoryError)):
        return "it is nested too deeply; make it simpler."
    return f"this cannot be worked out ({error}); check the kinds of the values, e.g. with |int."


UNCLOSED = re.compile(r"needs to be closed is '(\w+)'")
UNKNOWN_TAG = re.compile(r"unknown tag '(\w+)'")


def _syntax_sentence(message: str) -> str:
    """Return what Jinja's `message` about a syntax error asks the author to do."""
    if unclosed := UNCLOSED.search(message):
        tag = unclosed[1]
        if unknown := UNKNOWN_TAG.search(message):
            return f"{{% {unknown[1]} %}} stands inside an open {{% {tag} %}}; close that first."
        return f"{{% {tag} %}} is never closed; add {{% end{tag} %}}."
    if unknown := UNKNOWN_TAG.search(message):
        return f"there is no tag {{% {unknown[1]} %}} here; remove it."
    return f"this cannot be read ({message.rstrip('.')}); check the braces, quotes and commas."


def nearest(name: str, known: Iterable[str]) -> str:
    """Return “; did you mean …?” for the most similar known name, or an instruction."""
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean “{close[0]}”?" if close else "; remove it or spell it as it is known."
