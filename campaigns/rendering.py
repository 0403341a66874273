"""A mail's content and a person's variables → subject, HTML and text: pure, without database.

    compiled = compile_source(source, names=["first_name", "unsubscribe_url"], constants={})
    compiled.render({"first_name": "Ana", "unsubscribe_url": "https://…"}).subject

Compiling costs milliseconds and is done once; a `Compiled` is then shared by all threads.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jinja2 import nodes

from campaigns.bounding import MAX_SOURCE
from campaigns.checking import tree_problems
from campaigns.chunking import Chunked, Rules, chunk
from campaigns.explaining import COMPILE_ERRORS, TemplateProblem, problem_of
from campaigns.linking import (
    TRACKING,
    Link,
    Tracking,
    links_in,
    sealing_filter,
    tracked,
    tracked_mail,
)
from campaigns.mjml import html_of
from campaigns.preheading import split_preview, with_preheader
from campaigns.sandboxing import BoundedEnvironment
from campaigns.texting import text_of

__all__ = [
    "TRACKING",
    "Chunked",
    "Compiled",
    "Rendered",
    "Source",
    "TemplateProblem",
    "Tracking",
    "compile_source",
    "has_unsubscribe_link",
    "links_of",
    "problems",
    "tracked_mail",
]

UNSUBSCRIBE_NAME = "unsubscribe_url"
SUBJECT_BYTES = 998
"""The most a header line may have, RFC 5322 section 2.1.1."""

HTML = BoundedEnvironment(autoescape=True)
PLAIN = BoundedEnvironment(autoescape=False)
TRACKED = BoundedEnvironment(autoescape=True)
"""Knows one filter more, which authors cannot use: it makes links of addresses."""
TRACKED.filters["tracked"] = sealing_filter


@dataclass(frozen=True)
class Source:
    """What an author wrote. Every part may use Jinja; an empty `text` is derived from the body."""

    subject: str
    preheader: str
    body: str
    format: Literal["mjml", "html"]
    text: str = ""


@dataclass(frozen=True)
class Rendered:
    """One person's mail."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True)
class Compiled:
    """A mail, ready to be filled for one person after another."""

    subject: Chunked
    html: Chunked
    text: Chunked

    def render(self, context: Mapping[str, Any]) -> Rendered:
        """Return the mail for one person. Raises TemplateProblem."""
        return Rendered(
            subject=self.subject.render(context),
            html=self.html.render(context),
            text=self.text.render(context),
        )


CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
SURROGATE = re.compile(r"[\ud800-\udfff]")
UNFIT = re.compile(f"{CONTROL.pattern}|{SURROGATE.pattern}")


def header_text(text: str) -> str:
    """Return `text` fit for a header: line ends, NUL and the like are one space, halves gone.

    >>> header_text("Hello\\r\\nBcc: all@example.com")
    'Hello Bcc: all@example.com'
    """
    return SURROGATE.sub("", CONTROL.sub(" ", text))


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


SUBJECT = Rules("subject", clean=header_text, unclean=UNFIT, limit=SUBJECT_BYTES, measure=_bytes)
HTML_BODY = Rules("body")
MJML_BODY = Rules("body", has_lines=False)
TEXT = Rules("text")
DERIVED_TEXT = Rules("text", has_lines=False)


def compile_source(
    source: Source,
    *,
    names: Collection[str],
    constants: Mapping[str, Any],
    tracking: Tracking | None = None,
) -> Compiled:
    """Return `source`, compiled for people who bring `names`. Raises the first TemplateProblem.

    `names` are variables of a person; an attribute is known as `attributes.plan` and as `plan`.
    They hide constants of the same name. What depends on `constants` alone is rendered here.
    With `tracking` the HTML counts, and each person brings TRACKING as well. Its text does not:
    there people see an address as it is.
    """
    for problem in _source_problems(source, names, constants):
        raise problem
    bare = _bare(names)
    body, preview = _body(source)
    html = with_preheader(body, source.preheader, preview)
    body_rules = MJML_BODY if source.format == "mjml" else HTML_BODY
    is_written = bool(source.text.strip())
    text = source.text if is_written else text_of(body, PLAIN)
    if tracking:
        html = tracked(html, tracking, TRACKED)
    return Compiled(
        subject=chunk(PLAIN, source.subject.strip(), bare, constants, SUBJECT),
        html=chunk(TRACKED, html, bare | {TRACKING}, constants, body_rules)
        if tracking
        else chunk(HTML, html, bare, constants, body_rules),
        text=chunk(PLAIN, text, bare, constants, TEXT if is_written else DERIVED_TEXT),
    )


def problems(
    source: Source, names: Collection[str], constants: Mapping[str, Any]
) -> list[TemplateProblem]:
    """Return all that is wrong with `source`, for a form or a check before launch."""
    found = list(_source_problems(source, names, constants))
    if not found:
        try:
            compile_source(source, names=names, constants=constants)
        except TemplateProblem as problem:
            found.append(problem)
    return found


def links_of(source: Source) -> list[Link]:
    """Return the addresses in the body that can be counted, in order. Raises TemplateProblem."""
    return links_in(_body(source)[0], TRACKED)


def has_unsubscribe_link(mail: Compiled | Source) -> bool:
    """Return whether the body uses `unsubscribe_url` somewhere. Raises TemplateProblem."""
    if isinstance(mail, Compiled):
        return UNSUBSCRIBE_NAME in mail.html.names
    try:
        body = HTML.parse(mail.body)
    except COMPILE_ERRORS as error:
        raise problem_of(error, "body") from error
    return any(name.name == UNSUBSCRIBE_NAME for name in body.find_all(nodes.Name))


def _body(source: Source) -> tuple[str, str]:
    """Return the template of the HTML, still without preheader, and that of MJML's own preview."""
    if source.format == "html":
        return source.body, ""
    # The compiler refuses the line ends that browsers send.
    mjml, preview = split_preview(source.body.replace("\r\n", "\n"))
    return html_of(mjml), preview


def _bare(names: Collection[str]) -> frozenset[str]:
    """Return the names of variables: an attribute may be used bare or below `attributes`."""
    bare = {name.removeprefix("attributes.") for name in names}
    return frozenset(bare | {"attributes"})


def _source_problems(
    source: Source, names: Collection[str], constants: Mapping[str, Any]
) -> Iterator[TemplateProblem]:
    for part in ("subject", "preheader", "body", "text"):
        text = getattr(source, part)
        environment = HTML if part == "body" else PLAIN
        if len(text) > MAX_SOURCE:
            sentence = f"it is longer than {MAX_SOURCE:,} characters; make it shorter."
            yield TemplateProblem(sentence, part=part)
            continue
        yield from tree_problems(environment, text, part, _bare(names) | set(constants))
