"""One suite for every provider's sending half: whatever is sent, what is promised holds."""

import json
from typing import Any

import pytest

from delivery.providers.base import (
    Batch,
    OutcomeUnknown,
    ProviderError,
    Recipient,
    Rejected,
    Result,
    Skeleton,
    Unavailable,
    Verdict,
)
from tests.delivery.providers import wire
from tests.delivery.providers.esps import SECRET, Esp, Letter
from tests.delivery.providers.esps import esp as running
from tests.delivery.providers.letters import full_render, newsletter, person, small


def send(esp: Esp, batch: Batch) -> list[Result]:
    return list(esp.provider.send(batch))


def sent_before_error(esp: Esp, batch: Batch) -> tuple[list[Result], ProviderError]:
    """Return the results that came, and the error that ended them."""
    results: list[Result] = []
    try:
        results += esp.provider.send(batch)
    except ProviderError as error:
        return results, error
    raise AssertionError(f"No error came, but {results}.")


def by_email(letters: list[Letter]) -> dict[str, Letter]:
    assert len({letter.email for letter in letters}) == len(letters)
    return {letter.email: letter for letter in letters}


def check_letter(esp: Esp, batch: Batch, to: Recipient, letter: Letter) -> None:
    assert letter.our_id == to.message_id
    assert letter.name == to.name
    assert letter.subject == batch.subject.fill(to.subject)
    assert letter.html == batch.html.fill(to.html)
    assert letter.text == batch.text.fill(to.text)
    headers = {name.lower(): value for name, value in letter.headers.items()}
    for name, value in {**batch.headers, **to.headers}.items():
        if name != "Message-ID":
            assert headers[name.lower()] == value


# --- What arrives -------------------------------------------------------------------------


def test_every_person_of_a_batch_is_accepted_in_one_call(esp: Esp) -> None:
    batch = small(5)

    results = send(esp, batch)

    assert [result.message_id for result in results] == ["m0", "m1", "m2", "m3", "m4"]
    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    assert all(result.provider_message_id for result in results)
    assert esp.calls == (5 if esp.kind == "smtp" else 1)


def test_everybody_gets_just_what_a_full_render_gives(esp: Esp) -> None:
    batch = newsletter(50)

    send(esp, batch)

    letters = by_email(esp.letters())
    assert len(letters) == 50
    for number, to in enumerate(batch.recipients):
        check_letter(esp, batch, to, letters[to.email])
        assert letters[to.email].html == full_render(number)


def test_one_person_alone_gets_the_same(esp: Esp) -> None:
    batch = small(1)

    [result] = send(esp, batch)

    [letter] = esp.letters()
    assert result.verdict is Verdict.ACCEPTED
    check_letter(esp, batch, batch.recipients[0], letter)


@pytest.mark.parametrize(
    "name", ['Zoë "Z" Ångström', "O'Neill & Söhne", "日本 太郎", "a\\b", "=?x?="]
)
def test_names_arrive_as_they_are_written(esp: Esp, name: str) -> None:
    batch = small([person(name=name)], from_name=name)

    send(esp, batch)

    [letter] = esp.letters()
    assert letter.name == name


def test_a_name_with_commas_loses_them_only_where_the_provider_forbids_them(esp: Esp) -> None:
    send(esp, small([person(name="Lee, Ana; Dr.")]))

    [letter] = esp.letters()
    assert letter.name == ("Lee  Ana  Dr." if esp.kind == "sendgrid" else "Lee, Ana; Dr.")


def test_a_domain_outside_ascii_is_encoded(esp: Esp) -> None:
    batch = small([person(email="ana@bücher.example")])

    [result] = send(esp, batch)

    assert result.verdict is Verdict.ACCEPTED
    assert [letter.email for letter in esp.letters()] == ["ana@xn--bcher-kva.example"]


@pytest.mark.parametrize("part", ["html", "text"])
def test_a_mail_may_have_one_part_only(esp: Esp, part: str) -> None:
    parts = {"html": Skeleton(("",)), "text": Skeleton(("",))}
    parts[part] = Skeleton(("All the same to everybody.\n",))
    batch = small([person(html=(), text=())], **parts)

    send(esp, batch)

    [letter] = esp.letters()
    other = {"html": "text", "text": "html"}[part]
    assert getattr(letter, part) == "All the same to everybody.\n"
    assert getattr(letter, other) == ""


HAZARDS = (
    "{{h0}} {{{h0}}} {{#if x}} }} } { \\{{x}} {",
    "}{{ {{{{ }}}} {\\",
    "%recipient.t0% %unsubscribe_url% %mailing_list_unsubscribe_url% %tag_unsubscribe_url%",
    "{{{ pm:unsubscribe }}} {{#pm:x}}",
    "-xh0- [unsubscribe] <%asm_group_unsubscribe_raw_url%>",
    ".\n..\n.dots\n",
)


def readable(text: str) -> str:
    """Return a text as its reader sees it: without what was put in to defuse it."""
    for entity, character in (("&#37;", "%"), ("&#123;", "{")):
        text = text.replace(entity, character)
    return text.replace("\u2060", "")


@pytest.mark.parametrize("text", HAZARDS)
def test_a_provider_s_own_language_is_only_text_in_ours(esp: Esp, text: str) -> None:
    static = Skeleton((text, text, text))
    values = (text, f"{text}v")
    batch = small(
        [person(0, html=values, text=values), person(1, html=values, text=values)],
        html=static,
        text=static,
    )

    send(esp, batch)

    wanted = static.fill(values)
    for letter in esp.letters():
        assert readable(letter.html) == wanted
        assert readable(letter.text) == wanted


def test_mailgun_and_postmark_find_nothing_of_their_own_to_fill() -> None:
    for kind, hazard in (("mailgun", "%unsubscribe_url%"), ("postmark", "{{{pm:unsubscribe}}}")):
        with running(kind) as esp:
            static = Skeleton((hazard, "", ""))
            send(esp, small([person(html=(hazard, "x"))], html=static))

            [letter] = esp.letters()
            assert hazard not in letter.html
            assert readable(letter.html) == f"{hazard}{hazard}x"


# --- What is refused before any call ------------------------------------------------------

INJECTIONS: list[dict[str, Any]] = [
    {"name": "Ana\r\nBcc: everybody@example.com"},
    {"name": "Ana\n"},
    {"subject": ("Ana\rX: y",)},
    {"subject": ("Ana\x00",)},
    {"email": "ana@example.com\r\nBcc: b@example.com"},
    {"email": "ana@example.com\n"},
    {"headers": {"List-Unsubscribe": "<https://x>\r\nX: y"}},
    {"headers": {"X: y\r\nList-Unsubscribe": "<https://x>"}},
    {"headers": {"": "x"}},
]
NOT_ADDRESSES = ["", "ana", "ana@", "@example.com", "a b@example.com", "ána@example.com", "a@-b.c"]


@pytest.mark.parametrize(
    "changes", [*INJECTIONS, *({"email": email} for email in NOT_ADDRESSES)], ids=repr
)
def test_who_must_not_be_sent_to_is_refused_alone(esp: Esp, changes: dict[str, Any]) -> None:
    batch = small([person(0), person(1, **changes), person(2)])

    results = {result.message_id: result for result in send(esp, batch)}

    assert results["m1"].verdict is Verdict.REJECTED
    assert results["m1"].reason.endswith(".")
    assert {results["m0"].verdict, results["m2"].verdict} == {Verdict.ACCEPTED}
    assert sorted(letter.our_id for letter in esp.letters()) == ["m0", "m2"]


@pytest.mark.parametrize(
    "changes",
    [
        {"from_name": "News\r\nX: y"},
        {"from_email": "news"},
        {"reply_to": "a b@c"},
        {"subject": Skeleton(("Hello\n", "!"))},
        {"headers": {"X-A": "1\r\nX-B: 2"}},
        {"tag": "with space"},
        {"html": Skeleton(("", "")), "text": Skeleton(("",))},
    ],
    ids=repr,
)
def test_what_no_mail_may_carry_refuses_everybody_without_a_call(
    esp: Esp, changes: dict[str, Any]
) -> None:
    results = send(esp, small(2, **changes))

    assert {result.verdict for result in results} == {Verdict.REJECTED}
    assert [result.message_id for result in results] == ["m0", "m1"]
    assert esp.calls == 0


# --- Several calls for one batch ----------------------------------------------------------


def test_an_address_given_twice_gets_two_mails_in_two_calls(http_esp: Esp) -> None:
    twins = [person(0, email="Ana@example.com"), person(1), person(2, email="ana@EXAMPLE.com")]

    results = send(http_esp, small(twins))

    assert sorted(result.message_id for result in results) == ["m0", "m1", "m2"]
    assert http_esp.calls == 2
    assert sorted(letter.our_id for letter in http_esp.letters()) == ["m0", "m1", "m2"]


def test_a_person_over_the_limit_is_sent_to_alone(esp: Esp) -> None:
    long = "<p>All your orders: ü “x” \\ {{n}}</p>\n" * 8_000
    batch = small([person(0), person(1, html=(long, "https://t.example/1")), person(2)])

    results = send(esp, batch)

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    letters = by_email(esp.letters())
    for to in batch.recipients:
        check_letter(esp, batch, to, letters[to.email])


def test_a_call_never_grows_over_its_bytes(http_esp: Esp) -> None:
    value = '“quoted” "quotes" & Größe\n' * 350
    people = [person(n, html=(value, value[:50])) for n in range(40)]
    batch = small(people)

    results = send(http_esp, batch)

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    letters = by_email(http_esp.letters())
    for to in batch.recipients:
        check_letter(http_esp, batch, to, letters[to.email])


@pytest.mark.usefixtures("_impatient")
def test_doubt_about_one_call_leaves_the_later_ones_certainly_unsent(http_esp: Esp) -> None:
    people = [person(0, email="ana@example.com"), person(1), person(2, email="ANA@example.com")]
    http_esp.will(wire.says_nothing)

    results, error = sent_before_error(http_esp, small(people))

    assert [(r.message_id, r.verdict) for r in results] == [
        ("m0", Verdict.UNKNOWN),
        ("m1", Verdict.UNKNOWN),
    ]
    assert isinstance(error, Unavailable)
    assert http_esp.calls == 1


@pytest.mark.usefixtures("_impatient")
def test_results_of_a_call_are_told_before_the_next_call_is_made(http_esp: Esp) -> None:
    people = [person(0, email="ana@example.com"), person(1, email="ANA@example.com")]
    results = http_esp.provider.send(small(people))

    first = next(results)

    assert (first.message_id, http_esp.calls) == ("m0", 1)
    http_esp.will(wire.says_nothing)
    with pytest.raises(OutcomeUnknown):
        next(results)
    assert http_esp.calls == 2


# --- What the provider refuses ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["postmark", "ses"])
def test_one_bad_person_does_not_harm_the_others_where_the_provider_says_who(kind: str) -> None:
    with running(kind) as esp:
        esp.refused = {"ana1@example.com"}

        results = {result.message_id: result for result in send(esp, small(3))}

    assert results["m1"].verdict is Verdict.REJECTED
    assert results["m1"].reason
    assert {results["m0"].verdict, results["m2"].verdict} == {Verdict.ACCEPTED}


def test_a_refused_call_is_rejected_as_a_whole(http_esp: Esp) -> None:
    http_esp.will(wire.says(http_esp.bad_recipient_status, http_esp.bad_recipient))

    results, error = sent_before_error(http_esp, small(3))

    assert isinstance(error, Rejected)
    assert not results
    assert str(http_esp.bad_recipient_status) in str(error)


def test_a_refused_call_for_one_person_is_that_person_s_result(http_esp: Esp) -> None:
    http_esp.will(wire.says(http_esp.bad_recipient_status, http_esp.bad_recipient))

    [result] = send(http_esp, small(1))

    assert result.verdict is Verdict.REJECTED


def test_throttling_says_how_long_to_wait(http_esp: Esp) -> None:
    http_esp.will(wire.says(429, b'{"message": "slow down"}', Retry_After="17"))

    results, error = sent_before_error(http_esp, small(3))

    assert isinstance(error, Unavailable)
    assert error.retry_after is not None
    assert error.retry_after.total_seconds() == 17
    assert not error.is_account_fault
    assert not results


def test_wrong_credentials_are_the_account_s_fault(http_esp: Esp) -> None:
    status, body = http_esp.bad_login
    http_esp.will(wire.says(status, body))

    results, error = sent_before_error(http_esp, small(3))

    assert isinstance(error, Unavailable)
    assert error.is_account_fault
    assert not results
    http_esp.accept()
    assert len(send(http_esp, small(3))) == 3


@pytest.mark.usefixtures("_impatient")
def test_silence_after_sending_is_doubt_and_the_call_is_made_once(
    http_esp: Esp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_NEW_RETRIES_2026", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    http_esp.will(wire.says_nothing)

    results, error = sent_before_error(http_esp, small(3))

    assert isinstance(error, OutcomeUnknown)
    assert not results
    assert http_esp.calls == 1


def test_after_a_failure_the_next_batch_goes_over_a_new_connection(http_esp: Esp) -> None:
    send(http_esp, small(1))
    http_esp.will(wire.resets)
    sent_before_error(http_esp, small(1))
    http_esp.accept()

    assert [result.verdict for result in send(http_esp, small(1))] == [Verdict.ACCEPTED]


def test_connections_are_kept_from_batch_to_batch(esp: Esp) -> None:
    for _ in range(3):
        send(esp, small(2))

    server: Any = esp.smtp if esp.kind == "smtp" else esp.server  # type: ignore[attr-defined]
    assert server.connections == 1


@pytest.mark.parametrize("status", [400, 401, 403, 422, 429, 500, 503])
def test_no_error_tells_a_secret_or_drags_one_along(http_esp: Esp, status: int) -> None:
    text = f"token of somebody@example.com {'x' * 1000}"
    http_esp.will(wire.says(status, json.dumps({"message": text, "Message": text}).encode()))

    _, error = sent_before_error(http_esp, small(2))

    assert SECRET not in str(error)
    assert "somebody@" not in str(error)
    assert len(str(error)) <= 300
    assert error.__context__ is None
    assert error.__cause__ is None


def test_a_redirect_is_not_followed(http_esp: Esp) -> None:
    http_esp.will(wire.says(302, Location=f"{http_esp.server.url}elsewhere"))

    _, error = sent_before_error(http_esp, small(2))

    assert isinstance(error, Unavailable)
    assert error.is_account_fault
    assert http_esp.calls == 1


# --- The table of settings ----------------------------------------------------------------


def test_secrets_are_marked_and_names_are_unique(esp: Esp) -> None:
    names = [field.name for field in esp.provider.fields]

    assert len(set(names)) == len(names)
    assert set(esp.settings()) <= set(names)
    secret = {field.name for field in esp.provider.fields if field.is_secret}
    assert {name for name, value in esp.settings().items() if value == SECRET} <= secret
    assert 1 <= esp.provider.default_batch <= esp.provider.max_batch
