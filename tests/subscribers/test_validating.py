from __future__ import annotations

import csv
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from subscribers import flagging
from subscribers.flagging import Kind
from subscribers.validating import InvalidAddress, clean_address
from tests.subscribers.files import DEMO

EXPECTED = json.loads(
    (Path(__file__).parent / "data" / "subscribers.expected.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("ana@example.com", "ana@example.com"),
        ("  Ana.GIL@Example.COM\u00a0", "ana.gil@example.com"),
        ("\ufeffana@example.com\u200b", "ana@example.com"),
        ("Ana Gil <Ana@example.com>", "ana@example.com"),
        ("idn3@bücher3.example", "idn3@xn--bcher3-3ya.example"),
        ("idn3@BU\u0308CHER3.example", "idn3@xn--bcher3-3ya.example"),
        ("idn3@xn--bcher3-3ya.example", "idn3@xn--bcher3-3ya.example"),
        ("o'neill+news@sub.example.co.uk", "o'neill+news@sub.example.co.uk"),
        ("someone@intranet.local", "someone@intranet.local"),
    ],
)
def test_an_address_has_one_spelling(raw, clean):
    assert clean_address(raw) == clean
    assert clean_address(clean) == clean


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("   ", "no address"),
        ("plainaddress", "no @"),
        ("@example.com", "nothing before the @"),
        ("ana@", "nothing after the @"),
        ("two@@at.example", "more than one @"),
        ("spaces in@example.com", "a space in the address"),
        ("ana@exam ple.com", "a space in the address"),
        ('"quoted"@example.com', "quotes in the address"),
        ("a..b@example.com", "two dots in a row, or a dot at an end"),
        (".a@example.com", "two dots in a row, or a dot at an end"),
        ("a@dom..example", "two dots in a row, or a dot at an end"),
        ("no-tld@localhost", "no dot after the @"),
        ("x@[192.0.2.1]", "a number in place of a domain"),
        ("a@-dash.example", "a hyphen at the end of a part of the domain"),
        ("ä@example.com", "letters before the @ that few mail servers accept"),
        ("a" * 65 + "@example.com", "more than 64 characters before the @"),
        ("a@" + "d" * 64 + ".example", "more than 63 characters in a part of the domain"),
        ("a@" + ".".join(["d" * 60] * 5), "longer than 254 characters"),
        ("a\0b@example.com", "not a valid address"),
        ("a@192.0.2.1", "a number in place of a domain"),
    ],
)
def test_a_refusal_says_why(raw, reason):
    with pytest.raises(InvalidAddress, match=f"^{reason}$".replace("(", r"\(")):
        clean_address(raw)


def test_the_demo_file_counts_as_its_authors_counted():
    with DEMO.open(encoding="utf-8", newline="") as file:
        raw = [row[0] for row in csv.reader(file)][1:]

    valid: Counter[str] = Counter()
    invalid = 0
    for address in raw:
        try:
            valid[clean_address(address)] += 1
        except InvalidAddress:
            invalid += 1

    assert len(raw) == EXPECTED["rows"]
    assert len(valid) == EXPECTED["distinct_valid_addresses"]
    assert valid.total() - len(valid) == EXPECTED["duplicate_rows"]
    assert invalid == EXPECTED["invalid_rows"]
    assert sum("@xn--" in address for address in valid) == EXPECTED["idn_domains"]
    doubts = Counter(flag.kind for email in valid for flag in flagging.flags_of(email))
    assert doubts == {Kind.DISPOSABLE: EXPECTED["disposable"], Kind.ROLE: EXPECTED["role_accounts"]}


_alphabet = st.sampled_from("ab9._-+'@\"( )[]<>é\t")


@given(st.builds("{}@{}".format, st.text(_alphabet, max_size=8), st.text(_alphabet, max_size=8)))
def test_what_is_taken_is_what_email_validator_takes(raw):
    try:
        taken = clean_address(raw)
    except InvalidAddress:
        taken = ""
    try:
        valid = validate_email(
            raw.strip().lower(),
            check_deliverability=False,
            allow_smtputf8=False,
            globally_deliverable=False,
        )
        known = valid.ascii_email or ""
    except EmailNotValidError:
        known = ""
    domain = known.partition("@")[2]
    if "." in domain and not domain.rpartition(".")[2].isdecimal():
        assert taken == known.lower()
    elif "<" not in raw:
        assert not taken


@given(st.text(max_size=60))
def test_no_text_breaks_it(raw):
    with suppress(InvalidAddress):
        clean = clean_address(raw)
        assert clean == clean_address(clean) == clean.strip().lower()
        assert clean.isascii()
