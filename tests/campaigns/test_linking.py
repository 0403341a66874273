"""Links that count: nothing else of a mail changes, and every address stays what it was."""

from __future__ import annotations

import re
from html import escape, unescape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from campaigns.linking import TRACKING, is_own, target_in
from campaigns.markup import attributes, pieces
from campaigns.rendering import Compiled, Source, Tracking, compile_source, links_of, tracked_mail

BASE = "https://links.example.com/c/1.2.AAAAAAAAAAAAAAAAAAAAAA"
PERSON = {
    "first_name": "Ana & Bo",
    "unsubscribe_url": "http://127.0.0.1:8000/u/token/",
    "tags": ["x", "y"],
    TRACKING: BASE,
}
NAMES = ["first_name", "unsubscribe_url", "preferences_url", "view_url", "tags"]
CONSTANTS = {"shop": "https://shop.example/", "post": "mailto:shop@example.com"}


def source(body: str) -> Source:
    return Source("x", "", body, "html")


def compiled(body: str, **wishes: bool) -> Compiled:
    numbers = {link.address: number for number, link in enumerate(links_of(source(body)), 1)}
    tracking = Tracking(numbers=numbers, **wishes)
    return compile_source(source(body), names=NAMES, constants=CONSTANTS, tracking=tracking)


def plain(body: str) -> str:
    return compile_source(source(body), names=NAMES, constants=CONSTANTS).html.render(PERSON)


def hrefs(html: str) -> list[str]:
    """Return the addresses of all links, as a browser reads them."""
    found = []
    for piece in pieces(html):
        if piece.kind == "open" and piece.name in ("a", "area"):
            start, end = attributes(piece.inside).get("href", (0, 0))
            found.append(unescape(piece.inside[start:end]))
    return found


def without_addresses(html: str) -> str:
    """Return the HTML with every address of a link taken out."""
    parts, position = [], 0
    for piece in pieces(html):
        if piece.kind == "open" and piece.name in ("a", "area"):
            start, end = attributes(piece.inside).get("href", (0, 0))
            offset = piece.start + 1 + len(piece.name)
            parts.append(html[position : offset + start])
            position = offset + end
    return "".join([*parts, html[position:]])


def led_to(href: str, body: str) -> str:
    """Return where a link leads in the end: what a counted one stands for, else itself."""
    if not href.startswith(BASE):
        return href
    number, _, sealed = href.removeprefix(f"{BASE}/").partition("/")
    if sealed:
        return target_in(BASE.rpartition("/")[2], int(number), sealed) or "forged"
    return links_of(source(body))[int(number) - 1].address


@pytest.mark.parametrize(
    "address",
    [
        "https://a.example/?x=1&amp;y=2#part",
        "HTTP://a.example",
        "https://a.example/{{ first_name }}?q={{ first_name|urlencode }}&amp;z=1#f",
        "{{ shop }}",
        "https://a.example/{% if tags %}yes{% else %}no{% endif %}",
        "  https://a.example/space ",
        "https://a.example/größe?name=é",
    ],
)
def test_a_link_leads_through_us_to_the_address_it_had(address):
    body = f'<body><a class="b" href="{address}" title="t">Go</a></body>'

    html = compiled(body, opens=False).html.render(PERSON)

    [counted], [before] = hrefs(html), hrefs(plain(body))
    assert counted.startswith(f"{BASE}/1")
    assert led_to(counted, body) == before.strip()
    assert without_addresses(html) == without_addresses(plain(body))


@pytest.mark.parametrize(
    "address",
    [
        "mailto:a@example.com",
        "mailto:{{ first_name }}@example.com",
        "{{ post }}",
        "tel:+351",
        "#top",
        "#{{ first_name }}",
        "/relative",
        "javascript:alert(1)",
        "",
        "{{ unsubscribe_url }}",
        "{{ preferences_url }}",
        "{{ view_url }}",
        "http://127.0.0.1:8000/u/abc/",
        "{% set leave = unsubscribe_url %}{{ leave }}",
    ],
)
def test_what_is_no_page_of_others_is_left_as_it_is(address):
    body = f'<body><a href="{address}">Go</a></body>'

    assert compiled(body, opens=False).html.render(PERSON) == plain(body)


def test_an_unsubscribe_link_under_another_name_is_not_counted():
    body = '{% set leave = unsubscribe_url %}<a href="{{ leave }}">Go</a>'

    assert compiled(body, opens=False).html.render(PERSON) == plain(body)


def test_in_a_loop_each_link_leads_to_its_own_address_under_one_number():
    body = '{% for tag in tags %}<a href="https://a.example/{{ tag }}">t</a>{% endfor %}'

    links = hrefs(compiled(body, opens=False).html.render(PERSON))

    assert [led_to(link, body) for link in links] == ["https://a.example/x", "https://a.example/y"]
    assert all(link.startswith(f"{BASE}/1/") for link in links)


def test_all_links_of_a_mail_are_one_value_in_static_text():
    body = '<a href="https://a.example/">a</a>{{ first_name }}<a href="https://b.example/">b</a>'

    part = compiled(body).html

    assert part.values(PERSON) == ("Ana &amp; Bo", BASE)
    assert part.order == (1, 0, 1, 1)
    assert part.join(part.values(PERSON)) == part.render(PERSON)


def test_the_text_part_says_where_its_links_lead():
    body = '<a href="https://a.example/">Offer</a>'

    assert compiled(body).text.render(PERSON) == "Offer (https://a.example/)\n"


def test_pixel_and_hidden_link_stand_at_the_end_of_the_body():
    html = compiled("<body><p>Hi</p></body>", has_trap=True).html.render(PERSON)

    rest = html.removeprefix("<body><p>Hi</p>").removesuffix("</body>")
    assert rest.startswith(f'<a href="{BASE}/0" style="display:none" aria-hidden="true"')
    assert f'tabindex="-1" rel="nofollow"></a><img src="{BASE}/o.gif" width="1"' in rest


def test_where_nobody_is_told_apart_a_personal_address_is_not_counted():
    body = '<a href="https://a.example/{{ first_name }}">a</a><a href="https://b.example/">b</a>'

    html = compiled(body, opens=False, is_personal=False).html.render(PERSON)

    assert hrefs(html) == ["https://a.example/Ana & Bo", f"{BASE}/2"]


def test_an_address_that_was_not_frozen_is_left_alone():
    tracking = Tracking(numbers={}, opens=False)
    body = '<a href="https://a.example/">a</a>'
    mail = compile_source(source(body), names=NAMES, constants={}, tracking=tracking)

    assert mail.html.render(PERSON) == body


def test_authors_cannot_use_the_filter_that_makes_links():
    with pytest.raises(Exception, match="tracked"):
        compile_source(source("{{ 'x'|tracked('y', 1) }}"), names=NAMES, constants={})


def test_a_seal_opens_for_its_own_mail_and_number_alone():
    html = tracked_mail(
        '<a href="https://a.example/?t=1">a</a>', Tracking(numbers={}, opens=False), BASE
    )
    [link] = hrefs(html)
    token, number, sealed = link.rsplit("/", 2)
    token = token.rpartition("/")[2]

    assert target_in(token, int(number), sealed) == "https://a.example/?t=1"
    assert target_in(token, 2, sealed) is None
    assert target_in("1.3.BBBBBBBBBBBBBBBBBBBBBB", 1, sealed) is None
    for place in range(len(sealed)):
        other = "B" if sealed[place] == "A" else "A"
        assert target_in(token, 1, sealed[:place] + other + sealed[place + 1 :]) is None


def test_our_own_pages_are_known_by_their_address():
    assert is_own("http://127.0.0.1:8000/u/x/")
    assert not is_own("http://127.0.0.1:8000/shop/u/")
    assert not is_own("https://elsewhere.example/u/x/")


ADDRESSES = st.one_of(
    st.builds(
        "{}://a.example/{}".format,
        st.sampled_from(["http", "https", "HTTPS", "ftp", "javascript"]),
        st.text(alphabet="abc/?&=#%;é+.-_~!$'()*, ", max_size=20),
    ),
    st.sampled_from(["#x", "mailto:x@example.com", "", "//a.example/", "https://"]),
)
TEXTS = st.text(alphabet="ab<>&\"'=é \n{%", max_size=10)
ANCHORS = st.builds(
    "<{} {}href={}{}{} {}>{}</{}>".format,
    st.sampled_from(["a", "A", "area"]),
    st.sampled_from(["", 'class="x" ', "title='>' ", "HREF "]),
    st.just('"'),
    ADDRESSES.map(escape),
    st.just('"'),
    st.sampled_from(["", "target=_blank", "data-href='https://no.example/'"]),
    TEXTS,
    st.just("a"),
)
MAILS = st.lists(
    st.one_of(
        ANCHORS, TEXTS, st.sampled_from(["<!-- <a href='https://c.example/'> -->", "</body>"])
    ),
    max_size=8,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(MAILS)
def test_whatever_the_html_every_link_leads_where_it_led_and_nothing_else_changes(mail):
    tracking = Tracking(numbers={}, opens=False)

    html = tracked_mail(mail, tracking, BASE)

    before, after = hrefs(mail), hrefs(html)
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        clean = re.sub(r"[\x00-\x1f\x7f]", "", old).strip()
        assert led_to(new, "") == (clean if new != old else old)
        assert (new != old) == bool(re.match(r"https?://[^/?#\s]", clean, re.IGNORECASE))
    assert without_addresses(html) == without_addresses(mail)


@settings(max_examples=200, deadline=None)
@given(MAILS)
def test_counting_twice_is_counting_once(mail):
    tracking = Tracking(numbers={}, opens=False)
    own = "http://127.0.0.1:8000/c/1.2.AAAAAAAAAAAAAAAAAAAAAA"

    once = tracked_mail(mail, tracking, own)

    assert tracked_mail(once, tracking, own) == once
