from __future__ import annotations

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.explaining import COMPILE_ERRORS
from campaigns.rendering import HTML, PLAIN
from campaigns.texting import text_of


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>Big</h1><p>One\n  two</p><p>Three</p>", "Big\n\nOne two\n\nThree\n"),
        ("a<br>b<br/>c", "a\nb\nc\n"),
        ("<div>a</div><div>b</div>", "a\nb\n"),
        ("a <b>bold</b> <i>word</i>.", "a bold word.\n"),
        ("Tom &amp; Ana &eacute; &#8364; &nbsp;x", "Tom & Ana é €  x\n"),
        ("<ul><li>a</li><li>b</li></ul>c", "- a\n- b\n\nc\n"),
        ("<ol><li>a</li><li>b</li></ol>", "1. a\n2. b\n"),
        ("<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>", "- a\n  - b\n- c\n"),
        ('<a href="https://x.test/?a=1&amp;b=2">Go</a> now', "Go (https://x.test/?a=1&b=2) now\n"),
        ('<a href="https://x.test">https://x.test</a>', "https://x.test\n"),
        ('<a href="mailto:a@x.test">a@x.test</a>', "a@x.test\n"),
        ('<a href="#top">up</a>', "up\n"),
        ('<a href="https://x.test"><img src="i" alt="Shop"></a>', "Shop (https://x.test)\n"),
        ('<a href="https://x.test"><img src="i"></a>', "https://x.test\n"),
        ('<img alt="A &lt;cat>" src="c"><img alt="" src="pixel">', "A <cat>\n"),
        ("a<hr>b", "a\n\n" + "-" * 40 + "\n\nb\n"),
        (
            "<table><tr><th>Item</th><th>Price</th></tr><tr><td>Tea</td><td>5</td></tr></table>",
            "Item | Price\nTea | 5\n",
        ),
        ("<table><tr><td><table><tr><td>a</td></tr></table></td></tr></table>b", "a\n\nb\n"),
        ("<table><tr><td>&nbsp;</td><td>a</td><td></td></tr></table>", "a\n"),
        ("<head><title>t</title><style>a{b:c}</style></head><body>x</body>", "x\n"),
        ("<script>if (a < b) {}</script>x<!-- no --><!doctype html>", "x\n"),
        ('<div style="color:red; display: none">no<div>no</div></div>yes', "yes\n"),
        ("<p hidden>no</p>yes<select><option>no</option></select>", "yes\n"),
        ("1 < 2", "1 < 2\n"),
        ("<p>a", "a\n"),
        ("", "\n"),
    ],
)
def test_html_becomes_the_text_that_a_person_would_write(html, text):
    written = text_of(html, PLAIN)

    assert PLAIN.from_string(written).render() == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>Hi {{ name|default('<you>') }}</p>", "Hi {{ name|default('<you>') }}\n"),
        (
            "<p>a</p>{% if x > 1 %}<p>b</p>{% else %}<p>c</p>{% endif %}<p>d</p>",
            "a\n\n{% if x > 1 %}b\n\n{% else %}c\n\n{% endif %}d\n",
        ),
        (
            "<ol>{% for i in x %}<li>{{ i }}</li>{% endfor %}</ol>",
            "{% for i in x %}- {{ i }}\n{% endfor %}\n",
        ),
        ('<a href="{{ u }}?a&amp;b">Go</a>', "Go ({{ u }}?a&b)\n"),
        (
            '<a href="{% if x %}https://{{ u }}{% endif %}">Go</a>',
            "Go ({% if x %}https://{{ u }}{% endif %})\n",
        ),
        ("<style>{% if x %}a{% endif %}{{ y }}</style>b", "{% if x %}{% endif %}b\n"),
        ("<td {% if x %}class='{{ y }}'{% endif %}>a</td>", "{% if x %}{% endif %}a\n"),
        ("{# c #}a{% raw %}{{ b }}{% endraw %}", "a{% raw %}{{ b }}{% endraw %}\n"),
    ],
)
def test_tags_stay_where_they_were(html, text):
    assert text_of(html, PLAIN) == text


@pytest.mark.parametrize(
    "html", ["&#123;&#123; x }}", "&#123;<b>{{ x }}</b>", "{<i>%</i> x", "{{ x }}{"]
)
def test_what_is_text_in_html_is_text_in_the_text(html):
    written = PLAIN.from_string(text_of(html, PLAIN)).render(x="value")

    as_html = jinja2.Environment(autoescape=True).from_string(html).render(x="value")
    assert written.strip() == text_of_plain(as_html)


def text_of_plain(html: str) -> str:
    for markup in ("<b>", "</b>", "<i>", "</i>"):
        html = html.replace(markup, "")
    return html.replace("&#123;", "{")


PIECES = [
    *("<p>", "</p>", "<a href='{{ x }}'>", "<a href='{% if x %}'>", "</a>", "<br>", "<li>", "<ol>"),
    *("</ol>", "<td>", "<tr>", "<style>", "</style>", "<!--", "-->", "<p hidden>", "<div style='"),
    *(
        "display:none'>",
        "</div>",
        "<img alt='{{ x }}'>",
        "<img alt='{% endif %}'>",
        "<a href=",
        "'",
    ),
    *("{{ x }}", "{% if x %}", "{% else %}", "{% endif %}", "{% for i in x %}", "{% endfor %}"),
    *("{% set y %}", "{% endset %}", "{% raw %}", "{% endraw %}", "{# <p> #}", "{%- if x -%}"),
    *("{", "}", "%", "#", "&#123;", "&lt;", "&", "<", ">", '"', "text", "é", "\n", " ", "\x00"),
]


def blocks(body: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return Jinja blocks that close, round HTML that need not."""
    openings = ["{% if x %}", "{% for i in x %}", "{% set y %}", "{% raw %}"]
    pairs = st.sampled_from([(start, f"{{% end{start.split()[1]} %}}") for start in openings])
    return st.builds(
        lambda pair, text: pair[0] + text + pair[1], pairs, st.lists(body).map("".join)
    )


NESTED = st.lists(st.recursive(st.sampled_from(PIECES), blocks, max_leaves=12), max_size=8)


@settings(max_examples=600, deadline=None)
@given(NESTED.map("".join))
def test_what_parses_as_html_parses_as_text(html):
    try:
        HTML.parse(html)
    except COMPILE_ERRORS:
        return

    PLAIN.parse(text_of(html, PLAIN))
