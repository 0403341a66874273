from __future__ import annotations

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateSyntaxError

from campaigns.scanning import MASK, masked, tags

ENVIRONMENT = jinja2.Environment(autoescape=True)
SIGNS = """{{ }} {% %} {# #} {%- -%} {{- -}} {%+ " ' \\ \\" { } [ ] ( ) : , 1 a <p> if x endif"""
WHOLE = [
    "{% raw %}",
    "{% endraw %}",
    "{{ {'a': {}}}}",
    "{{ '}}' }}",
    '{{ "%}\\"}}" }}',
    "{{ a[b[0]] }}",
]
PARTS = st.sampled_from([*SIGNS.split(), *WHOLE, "\n", " "])


@settings(max_examples=800, deadline=None)
@given(st.lists(PARTS, max_size=14).map("".join))
def test_the_tags_found_are_those_that_jinja_finds(source):
    try:
        tokens = list(ENVIRONMENT.lex(source))
    except TemplateSyntaxError:
        return

    kinds = {"variable_begin": "{", "block_begin": "%", "comment_begin": "#", "raw_begin": "raw"}
    expected = [kinds[kind] for _, kind, _ in tokens if kind in kinds]

    assert [tag.kind for tag in tags(source)] == expected
    assert all(source[tag.start : tag.end] == tag.text for tag in tags(source))


@pytest.mark.parametrize(
    ("source", "blank"),
    [
        ("a{{ '}}' }}b", f"a{MASK * 10}b"),
        ("{{ {'a': {'b': 1}} }}<", f"{MASK * 21}<"),
        ("{#\n#}x", f"{MASK * 2}\n{MASK * 2}x"),
        ("{% raw %}{{ <p> {% endraw %}<p>", f"{MASK * 28}<p>"),
        ("{%- if a > 1 -%}>", f"{MASK * 16}>"),
        ("{{ a", MASK * 4),
        ("no tag { %", "no tag { %"),
    ],
)
def test_a_masked_source_has_the_same_length_and_lines(source, blank):
    assert masked(source, list(tags(source))) == blank
