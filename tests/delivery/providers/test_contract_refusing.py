"""One suite for every provider: what is told about a refusal, and about being too fast."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from delivery.providers.base import (
    Fault,
    ProviderError,
    Rejected,
    Result,
    Unavailable,
    Verdict,
)
from delivery.providers.blaming import fault_of_words
from tests.delivery.providers import wire
from tests.delivery.providers.esps import HTTP_KINDS, Esp, SmtpModel
from tests.delivery.providers.esps import esp as running
from tests.delivery.providers.letters import person, small

ADDRESS, CONTENT, OTHER = Fault.ADDRESS, Fault.CONTENT, Fault.OTHER


def answer(status: int, content: Any, **headers: str) -> wire.Answer:
    return wire.says(status, json.dumps(content).encode(), **headers)


def sendgrid(field: str | None, message: str) -> dict[str, Any]:
    return {"errors": [{"message": message, "field": field, "help": None}]}


def postmark(code: int, message: str) -> dict[str, Any]:
    return {"ErrorCode": code, "Message": message}


INVALID = "Does not contain a valid address."
REFUSALS: list[tuple[str, int, Any, Fault]] = [
    ("sendgrid", 400, sendgrid("personalizations.0.to.0.email", INVALID), ADDRESS),
    ("sendgrid", 400, sendgrid("personalizations.0.cc.0.email", INVALID), ADDRESS),
    ("sendgrid", 400, sendgrid("personalizations.0.headers", "It is reserved."), CONTENT),
    ("sendgrid", 400, sendgrid("attachments.0.content", "Not base64 encoded."), CONTENT),
    ("sendgrid", 400, sendgrid("content.0.value", "Must be a string."), CONTENT),
    ("sendgrid", 413, sendgrid(None, "The JSON payload is too large."), CONTENT),
    ("sendgrid", 400, sendgrid(None, "Bad Request"), OTHER),
    ("mailgun", 400, {"message": "'to' parameter is not a valid address. Check it."}, ADDRESS),
    ("mailgun", 400, {"message": "'bcc' parameter is not a valid address. Check it."}, ADDRESS),
    ("mailgun", 413, {"message": "Request Entity Too Large"}, CONTENT),
    ("mailgun", 400, {"message": "parameter o:deliverytime is wrong"}, OTHER),
    ("postmark", 422, postmark(300, "Invalid 'To' address: 'x'."), ADDRESS),
    ("postmark", 422, postmark(300, "Error parsing 'Cc': Illegal email address 'x'."), ADDRESS),
    ("postmark", 422, postmark(300, "Attachment 'a.exe' is of a forbidden type."), CONTENT),
    ("postmark", 422, postmark(406, "You tried to send to recipient(s) marked as x."), ADDRESS),
    ("postmark", 422, postmark(403, "Incompatible JSON."), OTHER),
    ("ses", 400, {"message": "Missing final '@domain'"}, ADDRESS),
    ("ses", 400, {"message": "Local address contains control or whitespace"}, ADDRESS),
    ("ses", 400, {"message": "The message is larger than 40 MB."}, CONTENT),
    ("ses", 400, {"message": "It cannot be."}, OTHER),
]
ENTRIES: list[tuple[str, Any, Fault]] = [
    ("postmark", [postmark(406, "You tried to send to an inactive recipient.")], ADDRESS),
    ("postmark", [postmark(300, "The message is larger than 10 MB.")], CONTENT),
    ("ses", {"Status": "MESSAGE_REJECTED", "Error": "It is on the suppression list."}, ADDRESS),
    ("ses", {"Status": "MESSAGE_REJECTED", "Error": "Message contains a virus."}, CONTENT),
    ("ses", {"Status": "INVALID_PARAMETER", "Error": "Illegal address"}, ADDRESS),
    ("ses", {"Status": "FAILED", "Error": ""}, OTHER),
]
REPLIES = [
    ("RCPT", "550 5.1.1 no such user", ADDRESS),
    ("RCPT", "550 no such user", ADDRESS),
    ("RCPT", "551 user not local", ADDRESS),
    ("RCPT", "553 mailbox name not allowed", ADDRESS),
    ("RCPT", "552 5.2.2 mailbox full", ADDRESS),
    ("RCPT", "552 5.2.3 too long for this mailbox", CONTENT),
    ("RCPT", "550 5.7.1 refused by policy", CONTENT),
    ("RCPT", "554 5.3.0 something", OTHER),
    ("RCPT", "554 your 192.5.1.1 is not wanted", OTHER),
    ("MAIL", "552 5.3.4 too big", CONTENT),
    ("content", "552 too big", CONTENT),
    ("content", "554 spam", CONTENT),
    ("content", "550 5.7.26 unauthenticated", CONTENT),
    ("content", "550 5.1.1 no such user", ADDRESS),
    ("content", "555 what", OTHER),
]


@contextmanager
def speaking(stage: str, said: str) -> Iterator[SmtpModel]:
    with wire.smtp_server(script={stage: [said]}) as server:
        yield SmtpModel(server)


def only_result(esp: Esp) -> Result:
    [result] = esp.provider.send(small(1))
    return result


def failure(esp: Esp, people: int = 2) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        list(esp.provider.send(small(people)))
    return raised.value


# --- What was wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "status", "content", "fault"), REFUSALS)
def test_a_refused_call_says_what_was_wrong(
    kind: str, status: int, content: Any, fault: Fault
) -> None:
    with running(kind) as esp:
        esp.will(answer(status, content))

        result = only_result(esp)
        error = failure(esp)

    assert (result.verdict, result.fault) == (Verdict.REJECTED, fault)
    assert isinstance(error, Rejected)
    assert error.kind is fault


@pytest.mark.parametrize(("kind", "entry", "fault"), ENTRIES)
def test_a_refused_entry_of_a_batch_says_what_was_wrong(
    kind: str, entry: Any, fault: Fault
) -> None:
    with running(kind) as esp:
        esp.will(answer(200, {"BulkEmailEntryResults": [entry]} if kind == "ses" else entry))

        result = only_result(esp)

    assert (result.verdict, result.fault) == (Verdict.REJECTED, fault)


@pytest.mark.parametrize(("stage", "said", "fault"), REPLIES)
def test_a_refusal_by_smtp_says_what_was_wrong(stage: str, said: str, fault: Fault) -> None:
    with speaking(stage, said) as esp:
        result = only_result(esp)

    assert (result.verdict, result.fault) == (Verdict.REJECTED, fault)


def test_an_address_that_is_none_is_the_address_s_fault(esp: Esp) -> None:
    [result] = esp.provider.send(small([person(email="nowhere")]))

    assert (result.verdict, result.fault) == (Verdict.REJECTED, ADDRESS)


def test_who_is_taken_or_put_off_has_no_fault(esp: Esp) -> None:
    assert only_result(esp).fault is None
    with speaking("RCPT", "451 4.2.1 later") as smtp:
        assert only_result(smtp).fault is None


def test_words_nobody_knows_blame_nobody() -> None:
    assert fault_of_words("The moon is full.") is OTHER


# --- Too fast -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "is_throttle"), [(429, True), (503, False), (408, False), (401, False)]
)
def test_only_a_throttle_is_one(http_esp: Esp, status: int, is_throttle: bool) -> None:
    http_esp.will(answer(status, {"message": "no"}, Retry_After="30"))

    error = failure(http_esp)

    assert isinstance(error, Unavailable)
    assert error.is_throttle is is_throttle


@pytest.mark.parametrize(
    ("name", "is_throttle"),
    [
        ("TooManyRequestsException", True),
        ("ThrottlingException", True),
        ("Throttling", True),
        ("ServiceUnavailable", False),
        ("LimitExceededException", False),
    ],
)
def test_amazon_names_its_throttle(name: str, is_throttle: bool) -> None:
    with running("ses") as esp:
        esp.will(answer(400, {"message": "no"}, X_Amzn_ErrorType=name))

        error = failure(esp)

    assert isinstance(error, Unavailable)
    assert error.is_throttle is is_throttle


def test_one_entry_may_be_throttled_alone() -> None:
    entries = [
        {"Status": "SUCCESS", "MessageId": "s1"},
        {"Status": "ACCOUNT_THROTTLED", "Error": "Maximum sending rate exceeded."},
        {"Status": "TRANSIENT_FAILURE"},
    ]
    with running("ses") as esp:
        esp.will(answer(200, {"BulkEmailEntryResults": entries}))

        results = list(esp.provider.send(small(3)))

    assert [result.is_throttle for result in results] == [False, True, False]
    assert results[1].verdict is Verdict.UNAVAILABLE


def test_postmark_s_own_code_for_too_fast_is_a_throttle() -> None:
    with running("postmark") as esp:
        esp.will(answer(422, postmark(429, "Rate limit exceeded.")))

        error = failure(esp)

    assert isinstance(error, Unavailable)
    assert error.is_throttle


@pytest.mark.parametrize(
    ("stage", "said", "is_throttle"),
    [
        ("RCPT", "450 4.7.1 greylisted", True),
        ("content", "451 4.7.28 too many of them", True),
        ("RCPT", "452 4.2.2 mailbox full", False),
        ("content", "451 4.3.0 later", False),
    ],
)
def test_a_mailbox_that_wants_us_slower_says_so(stage: str, said: str, is_throttle: bool) -> None:
    with speaking(stage, said) as esp:
        result = only_result(esp)

    assert (result.verdict, result.is_throttle) == (Verdict.UNAVAILABLE, is_throttle)


@pytest.mark.parametrize(
    ("stage", "said", "is_throttle"),
    [
        ("connect", "421 4.7.0 too many connections", True),
        ("MAIL", "421 too busy", True),
        ("MAIL", "451 4.7.1 slow down", True),
        ("MAIL", "451 4.3.0 later", False),
        ("DATA", "421 4.3.2 going down", True),
        ("content", "421 4.7.0 too fast", True),
        ("connect", "554 no service", False),
    ],
)
def test_a_server_that_wants_us_slower_says_so(stage: str, said: str, is_throttle: bool) -> None:
    with speaking(stage, said) as esp:
        error = failure(esp, people=1)

    assert isinstance(error, Unavailable)
    assert error.is_throttle is is_throttle


def test_every_http_provider_was_asked() -> None:
    assert {kind for kind, *_ in REFUSALS} == set(HTTP_KINDS)
