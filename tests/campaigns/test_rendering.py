from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jinja2
import pytest

from campaigns.rendering import (
    Source,
    TemplateProblem,
    compile_source,
    has_unsubscribe_link,
    problems,
)
from tests.campaigns.data.newsletter_context import COMMON, context

NEWSLETTER = Path(__file__).parent / "data" / "newsletter-20k.html.j2"
NAMES = ["email", "first_name", "last_name", "attributes", "attributes.plan", "plan", "age"]
NAMES += ["unsubscribe_url"]


def compiled(body="", *, subject="Hello", preheader="", format_="html", text="", constants=None):
    source = Source(subject, preheader, body, format_, text)
    return compile_source(source, names=NAMES, constants=constants or {})


def said(body="", *, subject="Hello", preheader="", format_="html", text="x"):
    source = Source(subject, preheader, body, format_, text)
    return [str(problem) for problem in problems(source, NAMES, {})]


def test_the_newsletter_is_rendered_as_jinja_would():
    body = NEWSLETTER.read_text()
    person = context(2)
    names = sorted(person.keys() - COMMON.keys())
    mail = compile_source(Source("x", "", body, "html", "x"), names=names, constants=COMMON)

    html = mail.html.render(person)

    environment = jinja2.Environment(autoescape=True, keep_trailing_newline=True)
    assert html == environment.from_string(body).render(person)
    # The loop over the articles is the same for everybody: not a chunk of its own.
    assert len(mail.html.static) == 17
    assert mail.html.size > 19_000


def test_a_mail_has_subject_html_and_text_of_the_person():
    mail = compiled(
        '<p>Hi {{ first_name }}</p><a href="{{ unsubscribe_url }}">Leave</a>',
        subject="For {{ first_name }} & co",
    )

    rendered = mail.render({"first_name": "D'Arc <b>", "unsubscribe_url": "https://u.test/?a&b"})

    assert rendered.subject == "For D'Arc <b> & co"
    assert rendered.html == (
        '<p>Hi D&#39;Arc &lt;b&gt;</p><a href="https://u.test/?a&amp;b">Leave</a>'
    )
    assert rendered.text == "Hi D'Arc <b>\n\nLeave (https://u.test/?a&b)\n"


@pytest.mark.parametrize(
    ("body", "person", "html"),
    [
        ("{{ first_name }}", {}, ""),
        ("{{ first_name }}", {"first_name": None}, ""),
        ("{{ first_name|default('friend') }}", {}, "friend"),
        ("{{ first_name|default('friend') }}", {"first_name": None}, "friend"),
        ("{{ first_name|default('friend') }}", {"first_name": " "}, "friend"),
        ("{{ age|default(7) }}", {"age": 0}, "0"),
        ("{{ plan }}", {"attributes": {"plan": "pro"}}, "pro"),
        ("{{ attributes.plan }}", {"attributes": {"plan": "pro"}}, "pro"),
        ("{{ attributes.plan }}", {"attributes": {"plan": None}}, ""),
        ("{{ attributes.plan.of.next.year }}", {"attributes": {}}, ""),
        ("{{ attributes.plan }}", {}, ""),
        ("{% if age > 18 %}adult{% else %}young{% endif %}", {}, "young"),
        ("{% if 3 < age %}more{% endif %}", {}, ""),
        ("{% if plan in 'abc' %}in{% endif %}", {}, ""),
        ("{% if 'a' not in plan %}out{% endif %}", {}, "out"),
        ("{{ plan|upper }}{{ plan|title }}{{ plan|length }}", {}, "0"),
        ("{% for x in plan %}{{ x }}{% else %}none{% endfor %}", {}, "none"),
        ("{{ plan.items }}", {"plan": {"items": 3}}, "3"),
        ("{{ first_name }}", {"first_name": "a\x00b\ud800c"}, "abc"),
    ],
)
def test_what_a_person_lacks_renders_empty(body, person, html):
    assert compiled(body).html.render(person) == html


def test_a_persons_own_variables_come_before_attributes_of_the_same_name():
    person = {"email": "ana@example.com", "attributes": {"email": "other@example.com"}}

    assert compiled("{{ email }}").html.render(person) == "ana@example.com"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "<p>\n{{ frist_name }}",
            "Body, line 2: there is no variable “frist_name”; did you mean “first_name”?",
        ),
        ("{{ attributes.pln }}", "Body, line 1: there is no attribute “pln”; did you mean “plan”?"),
        ("\n\n{{ plan|uper }}", "Body, line 3: there is no filter “uper”; did you mean “upper”?"),
        ("{% if plan is od %}{% endif %}", "there is no test “od”; did you mean “odd”?"),
        ("{{ now() }}", "there is no variable “now”"),
        ("a\n{% if plan %}", "Body, line 2: {% if %} is never closed; add {% endif %}."),
        ("{% if plan %}{% endfor %}", "{% endfor %} stands inside an open {% if %}"),
        ("{% foo %}", "Body, line 1: there is no tag {% foo %} here; remove it."),
        ("{{ plan }", "Body, line 1: this cannot be read (unexpected '}')"),
        ("{{ plan", "Body, line 1: this cannot be read"),
        ("\n{% include 'x' %}", "Body, line 2: {% include %} is not available"),
        ("{% block x %}{% endblock %}", "{% block %} is not available"),
        ("\n{{ 1 / 0 }}", "Body, line 2: it divides by zero"),
        (
            "\n{% for a in range(200) %}{% for b in range(200) %}{% endfor %}{% endfor %}",
            "Body, line 2: the template loops more than 10,000 times for one mail",
        ),
        ("{{ ''.format(1) }}", "Body, line 1: the template uses “format”"),
        ("x" * 1_000_001, "Body: it is longer than 1,000,000 characters"),
        ("x" * 600_000, "Body: the template makes a body of more than 524,288 characters"),
        ("{{ plan }}" * 3_000, "Body: the template has too many Jinja tags"),
    ],
)
def test_a_problem_says_where_and_what_to_do(body, sentence):
    found = said(body)

    assert len(found) == 1
    assert sentence in found[0]
    with pytest.raises(TemplateProblem, match=r"^Body"):
        compiled(body)


def test_all_problems_are_found_at_once_in_every_part():
    found = problems(
        Source("{{ a }}", "{{ b }}", "{{ c }}\n{{ d|nope }}\n{% include 'x' %}", "html", "{{ e }}"),
        NAMES,
        {},
    )

    places = [(problem.part, problem.line) for problem in found]
    assert places == [("subject", 1), ("preheader", 1), ("body", 2), ("body", 3), ("text", 1)]
    assert all(problem.code == "template_problem" for problem in found)


@pytest.mark.parametrize(
    ("body", "person", "sentence"),
    [
        ("x\n{{ age + 1 }}", {}, "Body, line 2: a value is missing ('age' is undefined)"),
        ("{{ 10 // age }}", {"age": 0}, "Body, line 1: it divides by zero"),
        ("\n\n{{ age > 3 }}", {"age": "old"}, "Body, line 3: this cannot be worked out"),
        ("{% for i in range(age) %}a{% endfor %}", {"age": 10_001}, "Body, line 1: the template"),
        ("{{ plan * age }}", {"plan": "x", "age": 9**9}, "makes a text of more than 512 kB"),
        ("{{ plan }}{{ plan }}", {"plan": "x" * 300_000}, "makes a body of more than"),
    ],
)
def test_what_goes_wrong_for_one_person_is_one_sentence_too(body, person, sentence):
    mail = compiled(body)

    with pytest.raises(TemplateProblem) as raised:
        mail.html.render(person)

    assert sentence in str(raised.value)


def test_a_subject_is_at_most_998_bytes():
    mail = compiled(subject="Hello {{ first_name }}")

    assert mail.subject.render({"first_name": "é" * 496}).endswith("é")
    with pytest.raises(TemplateProblem, match="makes a subject of more than 998 bytes"):
        mail.subject.render({"first_name": "é" * 497})


@pytest.mark.parametrize(
    ("body", "start"),
    [
        ("<html><body class='a > b'><p>x", "<html><body class='a > b'><div"),
        (
            "<BODY {% if age > 3 %}id='a'{% endif %}>x",
            "<BODY {% if age > 3 %}id='a'{% endif %}><div",
        ),
        ("<!-- <body> --><body><p>", "<!-- <body> --><body><div"),
        ("<html><head></head>x", "<html><head></head><div"),
        ("<!doctype html><p>", "<!doctype html><div"),
        ("<p>x", "<div"),
    ],
)
def test_the_preheader_is_hidden_right_behind_the_body_tag(body, start):
    mail = compiled(body, preheader="News & more\nfor {{ first_name }}")

    html = mail.html.render({"first_name": "<Ana>", "age": 4})

    start = start.replace("{% if age > 3 %}", "").replace("{% endif %}", "")
    assert html.startswith(start + ' style="display:none;')
    assert ">News &amp; more for &lt;Ana&gt;&zwnj;&nbsp;" in html
    assert "News" not in mail.text.render({"first_name": "<Ana>"})


def test_lines_are_counted_as_written_with_a_preheader_too():
    mail = compiled("<body>\n{{ age + 1 }}", preheader="a\nb\nc")

    with pytest.raises(TemplateProblem, match="Body, line 2"):
        mail.html.render({})


@pytest.mark.parametrize(
    ("body", "has"),
    [
        ("{{ unsubscribe_url }}", True),
        ("<a href='{% if age %}{{ unsubscribe_url }}?a{% endif %}'>x</a>", True),
        ("{% set unsubscribe = unsubscribe_url %}{{ unsubscribe }}", True),
        ("unsubscribe_url", False),
        ("{# {{ unsubscribe_url }} #}", False),
        ("{% raw %}{{ unsubscribe_url }}{% endraw %}", False),
    ],
)
def test_the_unsubscribe_link_is_found(body, has):
    source = Source("x", "", body, "html", "{{ unsubscribe_url }}")

    assert has_unsubscribe_link(source) is has
    assert has_unsubscribe_link(compile_source(source, names=NAMES, constants={})) is has


def test_threads_share_one_compiled_mail():
    mail = compiled("{% set n = first_name %}{% for i in range(50) %}{{ n }},{% endfor %}{{ age }}")

    def wrong(number: int) -> int:
        name = f"n{number}"
        expected = f"{name}," * 50 + str(number)
        person = {"first_name": name, "age": number}
        return sum(mail.html.render(person) != expected for _ in range(50))

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(wrong, range(16))) == 0


def test_the_budget_is_for_one_render_not_for_the_template():
    mail = compiled("{% for i in range(9000) %}{% endfor %}{{ age }}")

    assert [mail.html.render({"age": age}) for age in range(3)] == ["0", "1", "2"]
