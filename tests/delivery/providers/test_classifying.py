"""Every row of the table of failures, against servers that fail at just that stage."""

import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.providers.base import (
    OutcomeUnknown,
    Provider,
    ProviderError,
    Rejected,
    Unavailable,
    Verdict,
)
from delivery.providers.classifying import refusal, retry_after
from delivery.providers.wording import clip
from tests.delivery.providers import esps, wire
from tests.delivery.providers.esps import Esp, check_not_connected, failure_of
from tests.delivery.providers.letters import person, small
from tests.delivery.providers.wire import Answer

pytestmark = pytest.mark.usefixtures("_impatient")


# --- HTTP: no connection ------------------------------------------------------------------

URL_FIELD = {"ses": "endpoint_url"}


def at(esp: Esp, url: str) -> Provider:
    return esp.build(**{URL_FIELD.get(esp.kind, "api_url"): url})


def test_connection_refused(http_esp: Esp) -> None:
    error = failure_of(at(http_esp, f"http://127.0.0.1:{wire.closed_port()}/"))

    check_not_connected(error, "connection refused")


def test_a_name_that_does_not_exist(http_esp: Esp, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    check_not_connected(failure_of(at(http_esp, "http://api.example.test/")), "DNS")


def test_connecting_takes_too_long(http_esp: Esp) -> None:
    with wire.deaf_port() as port:
        error = failure_of(at(http_esp, f"http://127.0.0.1:{port}/"))

    check_not_connected(error, "time-out while connecting")


def test_no_tls_where_tls_is_wanted(http_esp: Esp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=answer_in_plain_text, args=(listener,), daemon=True).start()
        error = failure_of(at(http_esp, f"https://127.0.0.1:{listener.getsockname()[1]}/"))

    check_not_connected(error, "TLS")


def answer_in_plain_text(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_a_certificate_that_nobody_vouches_for(http_esp: Esp) -> None:
    with wire.untrusted_port() as port:
        error = failure_of(at(http_esp, f"https://127.0.0.1:{port}/"))

    check_not_connected(error, "certificate")


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/"])
def test_an_address_of_the_api_that_is_none(http_esp: Esp, url: str) -> None:
    error = failure_of(at(http_esp, url))

    assert isinstance(error, (Unavailable, Rejected))


# --- HTTP: no answer ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [wire.says_nothing, wire.resets, wire.closes, wire.is_cut_off(200, b'{"id": ')],
    ids=["read time-out", "reset", "closed", "2xx cut off"],
)
def test_no_answer_after_sending(http_esp: Esp, answer: Answer) -> None:
    http_esp.will(answer)

    error = failure_of(http_esp.provider)

    assert isinstance(error, OutcomeUnknown)
    assert http_esp.calls == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[]",
        b'"yes"',
        b"[{}, {}]",
        b'{"BulkEmailEntryResults": []}',
        b"null",
    ],
    ids=repr,
)
def test_an_acceptance_that_cannot_be_read(http_esp: Esp, body: bytes) -> None:
    http_esp.will(wire.says(200, body))

    assert isinstance(failure_of(http_esp.provider), OutcomeUnknown)


def test_an_answer_for_another_number_of_people(http_esp: Esp) -> None:
    answers = {
        "postmark": b'[{"ErrorCode": 0, "MessageID": "x"}]',
        "ses": b'{"BulkEmailEntryResults": [{"Status": "SUCCESS", "MessageId": "x"}]}',
    }
    http_esp.will(wire.says(200, answers.get(http_esp.kind, b"[1]")))

    assert isinstance(failure_of(http_esp.provider), OutcomeUnknown)


# --- HTTP: by status ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "is_account_fault"),
    [
        (400, Rejected, False),
        (401, Unavailable, True),
        (402, Unavailable, True),
        (403, Unavailable, True),
        (404, Unavailable, True),
        (408, Unavailable, False),
        (413, Rejected, False),
        (422, Rejected, False),
        (429, Unavailable, False),
        (500, OutcomeUnknown, False),
        (502, OutcomeUnknown, False),
        (503, Unavailable, False),
        (504, OutcomeUnknown, False),
        (520, OutcomeUnknown, False),
    ],
)
def test_by_status(
    http_esp: Esp, status: int, kind: type[ProviderError], is_account_fault: bool
) -> None:
    http_esp.will(wire.says(status, b'{"message": "Because."}', Retry_After="3"))

    error = failure_of(http_esp.provider)

    assert type(error) is kind
    assert getattr(error, "is_account_fault", False) is is_account_fault
    assert str(status) in str(error)
    assert "Because." in str(error)
    if status in (429, 503):
        assert isinstance(error, Unavailable)
        assert error.retry_after == timedelta(seconds=3)


@pytest.mark.parametrize(
    ("code", "kind", "is_account_fault"),
    [
        ("TooManyRequestsException", Unavailable, False),
        ("ThrottlingException", Unavailable, False),
        ("LimitExceededException", Unavailable, True),
        ("AccountSuspendedException", Unavailable, True),
        ("SendingPausedException", Unavailable, True),
        ("MailFromDomainNotVerifiedException", Unavailable, False),
        ("MessageRejected", Unavailable, True),
        ("SignatureDoesNotMatch", Unavailable, True),
        ("InvalidClientTokenId", Unavailable, True),
        ("NotFoundException", Unavailable, True),
        ("BadRequestException", Rejected, False),
    ],
)
def test_ses_by_code(code: str, kind: type[ProviderError], is_account_fault: bool) -> None:
    with esps.esp("ses") as esp:
        esp.will(wire.says(400, b'{"message": "Why."}', x_amzn_ErrorType=code))
        error = failure_of(esp.provider)

    assert type(error) is kind
    assert getattr(error, "is_account_fault", False) is is_account_fault
    assert f"{code}: Why." in str(error)


@pytest.mark.parametrize(
    ("code", "message", "verdict"),
    [
        (300, "Invalid 'To' address: 'x'.", Verdict.REJECTED),
        (406, "You tried to send to an inactive recipient.", Verdict.REJECTED),
        (300, "Invalid 'From' address: 'x'.", Verdict.UNAVAILABLE),
        (405, "Not allowed to send: out of credits.", Verdict.UNAVAILABLE),
        (412, "Account is pending.", Verdict.UNAVAILABLE),
        (100, "Maintenance.", Verdict.UNAVAILABLE),
    ],
)
def test_postmark_by_entry(code: int, message: str, verdict: Verdict) -> None:
    with esps.esp("postmark") as esp:
        good = {"ErrorCode": 0, "Message": "OK", "MessageID": "pm"}
        esp.will(esps.said(200, [good, {"ErrorCode": code, "Message": message}]))
        results = list(esp.provider.send(small(2)))

    assert [result.verdict for result in results] == [Verdict.ACCEPTED, verdict]
    assert str(code) in results[1].reason


@pytest.mark.parametrize(
    ("status", "text", "verdict"),
    [
        ("MESSAGE_REJECTED", "Address is on the suppression list.", Verdict.REJECTED),
        ("MESSAGE_REJECTED", "Email address is not verified.", Verdict.UNAVAILABLE),
        ("INVALID_PARAMETER", "Bad.", Verdict.REJECTED),
        ("FAILED", "", Verdict.REJECTED),
        ("ACCOUNT_THROTTLED", "", Verdict.UNAVAILABLE),
        ("TRANSIENT_FAILURE", "", Verdict.UNAVAILABLE),
        ("ACCOUNT_SUSPENDED", "", Verdict.UNAVAILABLE),
    ],
)
def test_ses_by_entry(status: str, text: str, verdict: Verdict) -> None:
    with esps.esp("ses") as esp:
        good = {"Status": "SUCCESS", "MessageId": "x"}
        bad = {"Status": status, "Error": text}
        esp.will(esps.said(200, {"BulkEmailEntryResults": [good, bad]}))
        results = list(esp.provider.send(small(2)))

    assert [result.verdict for result in results] == [Verdict.ACCEPTED, verdict]
    assert status in results[1].reason


def test_when_every_entry_fails_for_the_account_the_call_is_unavailable() -> None:
    with esps.esp("ses") as esp:
        bad = {"Status": "ACCOUNT_SENDING_PAUSED"}
        esp.will(esps.said(200, {"BulkEmailEntryResults": [bad, bad]}))
        error = failure_of(esp.provider)

    assert isinstance(error, Unavailable)
    assert error.is_account_fault


def test_a_key_with_letters_that_no_key_has_is_found_before_any_call(http_esp: Esp) -> None:
    name = next(name for name, value in http_esp.settings().items() if value == esps.SECRET)

    error = failure_of(http_esp.build(**{name: "SG.…"}))

    assert isinstance(error, Unavailable)
    assert error.is_account_fault
    assert http_esp.calls == 0


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            400,
            {"errors": [{"message": "Not a valid address.", "field": "from.email"}]},
        ),
        (403, {"errors": [{"message": "The from address does not match.", "field": "from"}]}),
        (422, {"ErrorCode": 400, "Message": "No sender signature."}),
        (422, {"ErrorCode": 401, "Message": "The sender signature is not confirmed."}),
        (400, {"message": "'from' parameter is not a valid address."}),
    ],
)
def test_a_refused_sender_is_not_the_account_s_fault(status: int, body: Any) -> None:
    error = refusal(status, body, {})

    assert isinstance(error, Unavailable)
    assert (error.is_sender_fault, error.is_account_fault) == (True, False)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("MailFromDomainNotVerifiedException", "Why."),
        ("MessageRejected", "Email address is not verified. The following identities failed."),
    ],
)
def test_ses_s_unverified_identity_is_the_sender_s_fault(code: str, text: str) -> None:
    with esps.esp("ses") as esp:
        esp.will(wire.says(400, json.dumps({"message": text}).encode(), x_amzn_ErrorType=code))
        error = failure_of(esp.provider)

    assert isinstance(error, Unavailable)
    assert (error.is_sender_fault, error.is_account_fault) == (True, False)


def test_ses_without_keys_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with esps.esp("ses") as esp:
        error = failure_of(esp.build(access_key_id="", secret_access_key=""))

    assert isinstance(error, Unavailable)
    assert error.is_account_fault
    assert "access key" in str(error)


# --- Words --------------------------------------------------------------------------------


@given(st.text(max_size=1000))
def test_a_reason_is_one_short_line(text: str) -> None:
    reason = clip(text)

    assert len(reason) <= 300
    assert reason.isprintable()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "999999999"}, 86400),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"X-RateLimit-Reset": "1"}, 0),
        ({}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: int | None) -> None:
    wait = retry_after(headers)

    assert (wait and wait.total_seconds()) == (seconds and float(seconds)) or wait == timedelta(0)


def test_how_long_to_wait_may_be_a_date() -> None:
    wait = retry_after({"Retry-After": format_datetime(datetime.now(UTC) + timedelta(minutes=5))})

    assert wait is not None
    assert timedelta(minutes=4) < wait <= timedelta(minutes=5)


def test_a_person_s_result_needs_no_bisecting() -> None:
    with esps.esp("sendgrid") as esp:
        esp.will(wire.says(400, esp.bad_recipient))
        [result] = esp.provider.send(small([person(5)]))

    assert (result.message_id, result.verdict) == ("m5", Verdict.REJECTED)
