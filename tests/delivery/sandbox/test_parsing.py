"""What the sandbox reads from outside: addresses and forms, whatever is in them."""

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from delivery.sandbox.addresses import is_valid, parse, parse_all
from delivery.sandbox.calls import Incoming
from delivery.sandbox.forms import read_form

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
fields = st.lists(st.tuples(st.sampled_from(["to", "v:a", "h:X-B", "text"]), texts), min_size=1)


@given(st.text())
def test_no_text_breaks_the_reading_of_addresses(text):
    name, email = parse(text)

    assert isinstance(name, str)
    assert is_valid(email) in (True, False)
    assert isinstance(parse_all(text), list)


@given(st.from_regex(r"[a-z0-9.+-]{1,20}@[a-z]{1,10}\.[a-z]{2,5}", fullmatch=True), texts)
def test_an_address_is_found_behind_any_quoted_name(email, name):
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')

    assert parse(f'"{quoted}" <{email}>')[1] == email


@pytest.mark.parametrize(
    "email",
    [
        *("anna", "anna@", "@example.com", "anna@example", "an na@example.com", "a@b@c.de"),
        *("a..b@example.com", ".a@example.com", "a.@example.com", "ä@example.com"),
        f"{'a' * 65}@example.com",
    ],
)
def test_a_wrong_address_is_known(email):
    assert not is_valid(email)


@given(fields)
def test_a_form_is_read_the_same_however_it_is_encoded(pairs):
    expected: dict[str, list[str]] = {}
    for name, value in pairs:
        expected.setdefault(name, []).append(value)
    encoded = requests.Request("POST", "http://x/", data=pairs).prepare()
    files = [(name, (None, value.encode())) for name, value in pairs]
    multipart = requests.Request("POST", "http://x/", files=files).prepare()

    for request in (encoded, multipart):
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert read_form(Incoming("/", headers, body)) == expected
