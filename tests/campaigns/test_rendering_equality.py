"""The law of chunks: filled chunks are what an ordinary render of the whole template gives."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import ChainableUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from campaigns import filtering
from campaigns.chunking import Rules, chunk, mailable
from campaigns.rendering import Source, compile_source, header_text
from campaigns.sandboxing import BoundedEnvironment

NAMES = ["first_name", "plan", "age", "tags", "attributes", "unsubscribe_url"]
CONSTANTS = {"items": [{"title": "A & B", "price": 3}, {"title": "<C>", "price": 5}], "shop": "O'X"}

TEXTS = st.one_of(
    st.sampled_from(
        [
            "}}",
            "%recipient.x%",
            "%Unsubscribe_url%",
            "100%",
            "{ ",
            "}",
            "%",
            " ",
            "\n",
            "<p>",
        ]
    ),
    st.text(alphabet="ab<>&'\"é☃\n %}", max_size=8),
)
EXPRESSIONS = st.sampled_from(
    [
        "first_name",
        "first_name|upper",
        "first_name|default('you & me')",
        "first_name|e",
        "first_name|safe",
        "first_name|truncate(3)",
        "plan ~ '<' ~ first_name",
        "attributes.plan",
        "attributes.nothing.at_all",
        "attributes['plan']|replace('a', '<')",
        "tags|join(', ')",
        "tags|map('upper')|join('/')",
        "tags|length",
        "age + 1",
        "age * 2 % 5",
        "'%s is %d' % (plan, age)",
        "'x' if age > 3 else plan",
        "first_name[1:3]",
        "first_name.title()",
        "[age, 1]|sum",
        "items[0].title",
        "items|map(attribute='title')|join",
        "shop",
        "shop|lower ~ '}}'",
        "'{' ~ '{'",
        "kept",
        "kept|upper",
        "age is odd",
        "'a' in first_name",
        "plan == 'pro'",
    ]
)
CONDITIONS = st.sampled_from(
    ["age > 3", "plan == 'pro'", "tags", "not tags", "shop", "attributes.plan", "kept is defined"]
)
LISTS = st.sampled_from(["tags", "items", "range(3)", "(tags if age > 3 else items)", "first_name"])


def signed(body: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return blocks such as {%- if x %}, with every mixture of whitespace control."""
    signs = st.sampled_from(["", "", "-"])
    return st.builds(lambda a, b, text: "{%" + a + " " + text + " " + b + "%}", signs, signs, body)


def wrapped(start: str, what: st.SearchStrategy[str], body: st.SearchStrategy[str], end: str):
    opening = signed(what.map(lambda text: f"{start} {text}"))
    return st.builds("{}{}{}".format, opening, body, signed(st.just(end)))


def compound(body: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    other = signed(st.just("else"))
    branches = st.one_of(body, st.builds("{}{}{}".format, body, other, body))
    return st.one_of(
        wrapped("if", CONDITIONS, branches, "endif"),
        wrapped("for", LISTS.map(lambda name: f"item in {name}"), branches, "endfor"),
        wrapped("for", st.just("item in tags if item != 'a'"), body, "endfor"),
        wrapped("set", st.just("kept"), body, "endset"),
        wrapped("with", st.just("kept = age + 2"), body, "endwith"),
        wrapped("filter", st.just("upper"), body, "endfilter"),
        wrapped("autoescape", st.just("false"), body, "endautoescape"),
        wrapped("macro", st.just("said(kept)"), body, "endmacro").map(
            lambda macro: macro + "{{ said(plan) }}"
        ),
        st.lists(body, max_size=4).map("".join),
    )


LEAVES = st.one_of(
    TEXTS,
    st.builds(
        "{{{{{} {} {}}}}}".format,
        st.sampled_from(["", "-"]),
        EXPRESSIONS,
        st.sampled_from(["", "-"]),
    ),
    st.just("{# a comment #}"),
    st.just("{% raw %}{{ {% }}{% endraw %}"),
    signed(EXPRESSIONS.map(lambda expression: f"set kept = {expression}")),
    st.just("{% for item in items %}{{ loop.index }}{{ item.title }}{% endfor %}"),
)
TEMPLATES = st.lists(st.recursive(LEAVES, compound, max_leaves=8), max_size=6).map("".join)
VALUES = st.text(alphabet="ab<>&'\"é☃\x00\ud800 {}%\n", max_size=6)
PEOPLE = st.fixed_dictionaries(
    {"plan": VALUES, "age": st.integers(0, 9), "tags": st.lists(VALUES, max_size=3)},
    optional={"first_name": VALUES, "attributes": st.dictionaries(st.just("plan"), VALUES)},
)


def ordinary(source: str, person: dict, *, autoescape: bool) -> str:
    """Return what Jinja's own sandbox makes of the whole template."""
    environment = ImmutableSandboxedEnvironment(
        autoescape=autoescape, undefined=ChainableUndefined, keep_trailing_newline=True
    )
    environment.filters["default"] = filtering.default
    return environment.from_string(source).render({**CONSTANTS, **person})


def readable(source: str) -> str:
    """Return `source` with a space wherever a brace of a text would become one of a tag."""
    return re.sub(r"\{(?=\{[{%#])", "{ ", source)


@settings(max_examples=400, deadline=None)
@given(TEMPLATES.map(readable), PEOPLE, st.booleans())
def test_filled_chunks_equal_an_ordinary_render(source, person, autoescape):
    environment = BoundedEnvironment(autoescape=autoescape)
    if not person.get("first_name", "x").strip() or "first_name" not in person:
        person = {**person, "first_name": "Ana"}
    part = chunk(environment, source, NAMES, CONSTANTS, Rules("body"))

    values = part.values(person)

    assert part.join(values) == mailable(ordinary(source, person, autoescape=autoescape))
    assert len(values) == len(part.static) - 1


@settings(max_examples=200, deadline=None)
@given(TEMPLATES.map(readable))
def test_no_provider_finds_a_merge_field_in_the_static_text(source):
    part = chunk(BoundedEnvironment(autoescape=True), source, NAMES, CONSTANTS, Rules("body"))

    for text in part.static:
        assert not re.search(r"\{\{|\}\}|%recipient|%unsubscribe", text, re.IGNORECASE)
    for before, after in zip(part.static, part.static[1:], strict=False):
        assert not before.endswith(("{", "%", "}"))
        assert not after.startswith(("{", "%", "}"))


@pytest.mark.parametrize(
    "body",
    [
        "{% set kept = plan %}static {{ kept }}",
        "static {% set kept %}<b>{{ plan }}</b>{% endset %} more {{ kept }}{{ kept }}",
        "{% macro bold(x) %}<b>{{ x }}</b>{% endmacro %}a {{ bold(plan) }} b {{ bold('&') }}",
        "{% set items = [1] %}{{ items }} {% for item in items %}{{ item }}{% endfor %}",
        "{% if age > 3 %}{% set kept = 1 %}{% endif %} then {{ kept|default('none') }}",
        "{% set c = cycler('a', 'b') %}{{ c.next() }} {{ c.next() }} {{ c.next() }}",
        (
            "{% set n = namespace(total=0) %}{% for item in items %}"
            "{% set n.total = n.total + item.price %}{% endfor %} sum {{ n.total }}"
        ),
        "{% for item in items %}{% set shop = item.price %}{{ shop }}{% endfor %} {{ shop }}",
        "{{ items|length }}{% with items = tags %}{{ items|length }}{% endwith %}",
    ],
)
def test_what_one_chunk_sets_the_next_one_knows(body):
    person = {"plan": "p<ro", "age": 5, "tags": ["a"], "first_name": "Ana"}
    part = chunk(BoundedEnvironment(autoescape=True), body, NAMES, CONSTANTS, Rules("body"))

    assert part.render(person) == ordinary(body, person, autoescape=True)


def test_what_is_the_same_for_everybody_is_rendered_once():
    body = "a {% for item in items %}{{ item.title }}{% endfor %} b {{ shop }} {{ first_name }} c"

    part = chunk(BoundedEnvironment(autoescape=True), body, NAMES, CONSTANTS, Rules("body"))

    assert part.static == ("a A &amp; B&lt;C&gt; b O&#39;X ", " c")
    assert part.values({"first_name": "<Ana>"}) == ("&lt;Ana&gt;",)


def test_a_variable_of_the_person_hides_a_constant():
    part = chunk(
        BoundedEnvironment(autoescape=True), "{{ plan }}", ["plan"], {"plan": "x"}, Rules("body")
    )

    assert part.render({"plan": "own"}) == "own"


@given(st.text(max_size=40), VALUES)
def test_a_subject_is_one_line_whatever_is_merged_into_it(static, value):
    subject = static.replace("{", "") + "{{ plan }}\r\nBcc: x@example.com"
    mail = compile_source(
        Source(subject, "", "x", "html", "x"), names=["plan"], constants={}
    ).subject

    text = mail.render({"plan": value + "\r\nBcc: y@example.com"})

    assert not re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", text)
    assert text == header_text(text)
    text.encode()
