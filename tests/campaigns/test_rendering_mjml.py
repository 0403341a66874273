from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.explaining import TemplateProblem
from campaigns.mjml import html_of
from campaigns.rendering import Source, compile_source, problems

NAMES = ["first_name", "vip", "url", "colour", "unsubscribe_url"]
CONSTANTS = {"columns": ["one", "two"]}


def compiled(body, preheader=""):
    return compile_source(Source("x", preheader, body, "mjml"), names=NAMES, constants=CONSTANTS)


def mjml(body, head=""):
    return f"<mjml><mj-head>{head}</mj-head>\n<mj-body>{body}</mj-body></mjml>"


def section(content):
    return f"<mj-section><mj-column>{content}</mj-column></mj-section>"


def said(body):
    return [str(problem) for problem in problems(Source("x", "", body, "mjml"), NAMES, CONSTANTS)]


def test_jinja_survives_in_texts_attributes_and_between_elements():
    mail = compiled(
        mjml(
            "{% if vip %}"
            + section(
                '<mj-text color="{{ colour }}">Hi {{ first_name|default("fri>end") }}</mj-text>'
            )
            + "{% else %}"
            + section('<mj-button href="{{ url ~ "?a=1&b=2" }}">Go</mj-button>')
            + "{% endif %}"
        )
    )

    member = mail.html.render({"vip": True, "colour": "#123456"})
    other = mail.html.render({"vip": False, "url": "https://x.test/"})

    assert "Hi fri&gt;end</div>" in member
    assert "color:#123456" in member
    assert "Go</a>" not in member
    assert 'href="https://x.test/?a=1&amp;b=2"' in other
    assert "Hi" not in other
    assert "jtag" not in member + other


def test_a_branch_that_is_not_taken_leaves_no_trace():
    """The markup around both branches is what MJML makes of each alone."""
    first, second = section("<mj-text>one</mj-text>"), section("<mj-text>two</mj-text>")
    mail = compiled(mjml(f"{{% if vip %}}{first}{{% else %}}{second}{{% endif %}}"))

    assert mail.html.render({"vip": 1}) == compiled(mjml(first)).html.render({})
    assert mail.html.render({}) == compiled(mjml(second)).html.render({})


PLACES = [
    "{}" + section("<mj-text>x</mj-text>"),
    "<mj-wrapper>{}" + section("<mj-text>x</mj-text>") + "</mj-wrapper>",
    "<mj-section>{}<mj-column></mj-column></mj-section>",
    "<mj-section><mj-group>{}<mj-column></mj-column></mj-group></mj-section>",
    section("{}<mj-text>x</mj-text>"),
    "<mj-hero>{}<mj-text>x</mj-text></mj-hero>",
    section('<mj-navbar>{}<mj-navbar-link href="a">x</mj-navbar-link></mj-navbar>'),
    section('<mj-social>{}<mj-social-element name="facebook">x</mj-social-element></mj-social>'),
    section("<mj-accordion>{}<mj-accordion-element></mj-accordion-element></mj-accordion>"),
    section("<mj-text>{}</mj-text>"),
    section("<mj-text><p>{}</p><!-- {} --></mj-text>"),
    section("<mj-button>{}</mj-button>"),
    section("<mj-table>{}<tr><td>x</td></tr></mj-table>"),
    section('<mj-image src="a" alt="{}" />'),
    section('<mj-text><a href="{}">x</a></mj-text>'),
    "<mj-raw><p>{}</p></mj-raw>",
    '<mj-section background-color="{}"></mj-section>',
]


@pytest.mark.parametrize("place", PLACES)
def test_a_tag_is_kept_wherever_mjml_shows_something(place):
    mail = compiled(
        mjml(place.replace("{}", "{% if vip %}{{ 'a' ~ first_name ~ 'b' }}{% endif %}"))
    )

    assert "aAnab" in mail.html.render({"first_name": "Ana", "vip": True})
    assert "aAnab" not in mail.html.render({"first_name": "Ana"})


@pytest.mark.parametrize("head", ["mj-title", "mj-style", "mj-raw"])
def test_a_tag_is_kept_in_the_head_too(head):
    mail = compiled(mjml(section(""), f"<{head}>a{{{{ first_name }}}}b</{head}>"))

    assert "aAnab" in mail.html.render({"first_name": "Ana"})


def test_variables_are_set_before_the_mjml():
    body = "{% set greeting = 'Hi ' ~ first_name %}\n" + mjml(
        section("<mj-text>{{ greeting }}{# never shown #}</mj-text>")
    )

    html = compiled(body).html.render({"first_name": "Ana"})

    assert ">Hi Ana<" in html
    assert html.startswith("<!doctype html>")


def test_mjmls_own_preview_is_the_preheader_unless_there_is_one():
    body = mjml(section(""), "<mj-preview>Own\n&amp; {{ first_name }}</mj-preview>")

    own = compiled(body).html.render({"first_name": "Ana"})
    given_ = compiled(body, "Given").html.render({"first_name": "Ana"})

    assert ">Own &amp; Ana&zwnj;" in own
    assert ">Given&zwnj;" in given_
    assert "Own" not in given_


def test_the_text_is_derived_from_what_mjml_shows():
    body = mjml(
        section(
            "{% for c in columns %}<mj-text><h1>{{ c }}</h1></mj-text>{% endfor %}"
            '<mj-button href="{{ unsubscribe_url }}">Leave</mj-button>'
        ),
        "<mj-title>title</mj-title><mj-preview>preview</mj-preview><mj-style>a{}</mj-style>",
    )

    text = compiled(body).text.render({"unsubscribe_url": "https://u.test"})

    assert text == "one\n\ntwo\n\nLeave (https://u.test)\n"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "Body, line 1: there is no <mjml>"),
        ("Hello\n<mjml></mjml>", "Body, line 1: something stands before <mjml>"),
        ("<mjml>\n<mj-body>\n", "Body, line 2: <mj-body> is never closed; add </mj-body>."),
        (
            "<mjml>\n<mj-body>\n<mj-section>\n</mj-body></mjml>",
            "Body, line 4: </mj-body> stands where </mj-section> (line 3) is due",
        ),
        (
            "<mjml></mj-body></mjml>",
            "Body, line 1: </mj-body> stands where </mjml> (line 1) is due",
        ),
        ("<mjml></mjml>\n</p>", "Body, line 2: </p> closes nothing; remove it."),
        (mjml("<mj-include path='/etc/passwd' />"), "Body, line 2: <mj-include> is not available"),
        (mjml("<MJ-INCLUDE path='x'></MJ-INCLUDE>"), "Body, line 2: <mj-include> is not available"),
        (mjml(section("<mj-text>1 < 2</mj-text>")), "Body, line 2: a < stands alone"),
        (
            mjml("\n<mj-section {% if vip %}a='b'{% endif %}></mj-section>"),
            "Body, line 3: {% if vip %} cannot stand among the attributes of <mj-section>",
        ),
        (mjml(section(""), "\n{{ vip }}"), "{{ vip }} cannot stand directly in <mj-head>"),
        (
            mjml('\n<mj-section><mj-column width="{{ vip }}"></mj-column></mj-section>'),
            "Body, line 3: MJML does not show {{ vip }} at this place",
        ),
        (
            mjml("é{{ first_name }}\n\n" + section("<mj-carousel><p></p></mj-carousel>")),
            "Body, line 4: this is not MJML (unexpected element)",
        ),
        (
            mjml(section("<mj-text>\n{{ frist_name }}</mj-text>")),
            "Body, line 3: there is no variable",
        ),
        (mjml("<mj-wrapper>" * 200), "Body, line 2: elements are nested too deeply here."),
    ],
)
def test_a_problem_says_where_and_what_to_do(body, sentence):
    found = said(body)

    assert len(found) == 1
    assert sentence in found[0]


ELEMENTS = "mjml mj-head mj-body mj-section mj-column mj-text mj-raw mj-carousel mj-image p br b"
PIECES = [
    *(f"<{name}>" for name in ELEMENTS.split()),
    *(f"</{name}>" for name in ELEMENTS.split()),
    *("<mj-image src='a'/>", "<", ">", "<!--", "-->", "&", "&amp;", "{{ vip }}", "{% if vip %}"),
    *("{% endif %}", "text", "é", "'", '"', " a='", "<![CDATA[", "]]>", "<?xml ?>", "\x00", "\n"),
]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), st.booleans())
def test_whatever_is_given_ends_in_html_or_in_one_sentence(source, is_framed):
    body = mjml(section(source)) if is_framed else source

    try:
        html = html_of(body)
    except TemplateProblem:
        return

    assert "jtag" not in html
