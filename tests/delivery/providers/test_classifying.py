"""Every row of the two tables of failures, against servers that fail at just that stage."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from delivery.providers.base import (
    OutcomeUnknown,
    Provider,
    ProviderError,
    Rejected,
    Result,
    Unavailable,
    Verdict,
)
from delivery.providers.classifying import clip, refusal, retry_after
from tests.delivery.providers import esps, wire
from tests.delivery.providers.esps import Esp
from tests.delivery.providers.letters import person, small
from tests.delivery.providers.wire import Answer, SmtpServer

pytestmark = pytest.mark.usefixtures("_impatient")


def failure_of(provider: Provider, people: int = 2) -> ProviderError:
    try:
        results = list(provider.send(small(people)))
    except ProviderError as error:
        return error
    raise AssertionError(f"No error came, but {results}.")


# --- HTTP: no connection ------------------------------------------------------------------

URL_FIELD = {"ses": "endpoint_url"}


def at(esp: Esp, url: str) -> Provider:
    return esp.build(**{URL_FIELD.get(esp.kind, "api_url"): url})


def check_not_connected(error: ProviderError, words: str) -> None:
    assert isinstance(error, Unavailable)
    assert not error.is_account_fault
    assert words in str(error)


def test_connection_refused(http_esp: Esp) -> None:
    error = failure_of(at(http_esp, f"http://127.0.0.1:{wire.closed_port()}/"))

    check_not_connected(error, "connection refused")


def test_a_name_that_does_not_exist(http_esp: Esp, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    check_not_connected(failure_of(at(http_esp, "http://api.example.test/")), "DNS")


@contextmanager
def deaf_port() -> Iterator[int]:
    """Give a port whose queue is full: connecting to it takes for ever."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(("127.0.0.1", port))
        try:
            yield port
        finally:
            for one in waiting:
                one.close()


def test_connecting_takes_too_long(http_esp: Esp) -> None:
    with deaf_port() as port:
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


@pytest.fixture
def own_certificate(tmp_path: Path) -> ssl.SSLContext:
    """A TLS context with a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "own.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def shake_hands(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    try:
        context.wrap_socket(connection, server_side=True).close()
    except OSError:
        connection.close()


def test_a_certificate_that_nobody_vouches_for(
    http_esp: Esp, own_certificate: ssl.SSLContext
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=shake_hands, args=(listener, own_certificate), daemon=True).start()
        error = failure_of(at(http_esp, f"https://127.0.0.1:{listener.getsockname()[1]}/"))

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
        ("MailFromDomainNotVerifiedException", Unavailable, True),
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


def test_sendgrid_s_refused_sender_is_the_account_s_fault() -> None:
    body = {"errors": [{"message": "Does not contain a valid address.", "field": "from.email"}]}

    error = refusal(400, body, {})

    assert isinstance(error, Unavailable)
    assert error.is_account_fault


def test_ses_without_keys_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with esps.esp("ses") as esp:
        error = failure_of(esp.build(access_key_id="", secret_access_key=""))

    assert isinstance(error, Unavailable)
    assert error.is_account_fault
    assert "access key" in str(error)


# --- SMTP ---------------------------------------------------------------------------------

BYE = "421 4.3.2 too busy"
SMTP_ERRORS = [
    ("connect", "554 no service here", Unavailable, False),
    ("connect", BYE, Unavailable, False),
    ("connect", wire.DROP, Unavailable, False),
    ("connect", wire.SILENCE, Unavailable, False),
    ("EHLO", BYE, Unavailable, False),
    ("EHLO", wire.DROP, Unavailable, False),
    ("MAIL", "451 later", Unavailable, False),
    ("MAIL", "550 5.7.1 sender not allowed", Unavailable, True),
    ("MAIL", "530 5.7.0 authentication required", Unavailable, True),
    ("MAIL", wire.DROP, Unavailable, False),
    ("MAIL", wire.SILENCE, Unavailable, False),
    ("MAIL", "gibberish", Unavailable, False),
    ("RCPT", "554 5.7.1 relay access denied", Unavailable, True),
    ("RCPT", BYE, Unavailable, False),
    ("RCPT", wire.DROP, Unavailable, False),
    ("DATA", BYE, Unavailable, False),
    ("DATA", wire.DROP, Unavailable, False),
    ("content", BYE, Unavailable, False),
    ("content", wire.DROP, OutcomeUnknown, False),
    ("content", wire.SILENCE, OutcomeUnknown, False),
    ("content", "gibberish", OutcomeUnknown, False),
]
SMTP_RESULTS = [
    ("MAIL", "552 5.3.4 message too big", Verdict.REJECTED),
    ("RCPT", "550 5.1.1 no such user", Verdict.REJECTED),
    ("RCPT", "450 4.2.0 greylisted", Verdict.UNAVAILABLE),
    ("DATA", "554 no", Verdict.REJECTED),
    ("DATA", "451 later", Verdict.UNAVAILABLE),
    ("content", "554 5.7.1 spam", Verdict.REJECTED),
    ("content", "452 4.3.1 disk full", Verdict.UNAVAILABLE),
]


PLAIN = ["8BITMIME", "SIZE 10000000"]
either_way = pytest.mark.parametrize(
    "extensions", [PLAIN, [*PLAIN, "PIPELINING"]], ids=["one by one", "pipelining"]
)


def smtp_provider(server: SmtpServer, **changes: str) -> Provider:
    return esps.SmtpModel(server).build(**changes)


@either_way
@pytest.mark.parametrize(("stage", "said", "kind", "is_account_fault"), SMTP_ERRORS)
def test_smtp_fails_for_all_who_are_left(
    stage: str, said: str, kind: type[ProviderError], is_account_fault: bool, extensions: list[str]
) -> None:
    with wire.smtp_server(script={stage: [said] * 3}, extensions=extensions) as server:
        error = failure_of(smtp_provider(server), people=1)

    assert isinstance(error, kind)
    assert getattr(error, "is_account_fault", False) is is_account_fault


@either_way
@pytest.mark.parametrize(("stage", "said", "verdict"), SMTP_RESULTS)
def test_smtp_refuses_one_and_goes_on(
    stage: str, said: str, verdict: Verdict, extensions: list[str]
) -> None:
    with wire.smtp_server(script={stage: [said]}, extensions=extensions) as server:
        results = list(smtp_provider(server).send(small(2)))

    assert [result.verdict for result in results] == [verdict, Verdict.ACCEPTED]
    assert said[:3] in results[0].reason
    assert [taken.recipient for taken in server.taken if taken.data] == ["ana1@example.com"]
    assert server.connections == 1


@pytest.mark.parametrize(
    ("after", "extensions"),
    [("RSET", PLAIN), ("RSET", [*PLAIN, "PIPELINING"]), ("DATA", [*PLAIN, "PIPELINING"])],
)
def test_smtp_a_refusal_stands_even_if_the_server_then_hangs_up(
    after: str, extensions: list[str]
) -> None:
    script = {"RCPT": ["550 5.1.1 no such user"], after: [wire.DROP]}
    with wire.smtp_server(script=script, extensions=extensions) as server:
        results = list(smtp_provider(server).send(small(2)))

    assert [result.verdict for result in results] == [Verdict.REJECTED, Verdict.ACCEPTED]
    assert server.connections == 2


def test_smtp_doubt_about_one_message_leaves_the_later_ones_certainly_unsent() -> None:
    script = {"content": ["250 2.0.0 Ok: queued as A1", wire.SILENCE]}
    results: list[Result] = []
    with wire.smtp_server(script=script) as server, pytest.raises(Unavailable):
        results.extend(smtp_provider(server).send(small(4)))

    assert [(r.message_id, r.verdict) for r in results] == [
        ("m0", Verdict.ACCEPTED),
        ("m1", Verdict.UNKNOWN),
    ]
    assert results[0].provider_message_id == "A1"
    assert server.verbs.count("MAIL") == 2


@either_way
@pytest.mark.parametrize("said", [wire.DROP, BYE])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT"])
def test_smtp_tries_a_new_connection_when_a_used_one_is_gone_before_the_message(
    stage: str, said: str, extensions: list[str]
) -> None:
    script = {stage: ["250 ok", said]}
    with wire.smtp_server(script=script, extensions=extensions) as server:
        results = list(smtp_provider(server).send(small(2)))

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    assert server.connections == 2
    assert len(server.taken) == 2


@either_way
def test_smtp_never_sends_again_what_is_in_doubt(extensions: list[str]) -> None:
    script = {"content": ["250 ok", wire.DROP]}
    with wire.smtp_server(script=script, extensions=extensions) as server:
        provider = smtp_provider(server)
        list(provider.send(small(1)))
        error = failure_of(provider, people=1)

    assert isinstance(error, OutcomeUnknown)
    assert len(server.taken) == 2


@pytest.mark.parametrize(
    ("said", "is_account_fault"), [("535 5.7.8 bad password", True), ("454 4.7.0 later", False)]
)
def test_smtp_login_refused(said: str, is_account_fault: bool) -> None:
    extensions = ["AUTH PLAIN"]
    with wire.smtp_server(script={"AUTH": [said] * 2}, extensions=extensions) as server:
        error = failure_of(smtp_provider(server, username="u", password=esps.SECRET))

    assert isinstance(error, Unavailable)
    assert error.is_account_fault is is_account_fault
    assert esps.SECRET not in str(error)


def test_smtp_never_sends_in_the_clear_when_tls_is_wanted() -> None:
    with wire.smtp_server() as server:
        error = failure_of(smtp_provider(server, security="starttls"))

    assert isinstance(error, Unavailable)
    assert error.is_account_fault
    assert "STARTTLS" in str(error)
    assert "MAIL" not in server.verbs


@pytest.mark.parametrize(("field", "value"), [("port", "x"), ("port", "0"), ("security", "maybe")])
def test_smtp_settings_that_cannot_be(field: str, value: str) -> None:
    with wire.smtp_server() as server:
        error = failure_of(smtp_provider(server, **{field: value}))

    assert isinstance(error, Unavailable)
    assert field in str(error)


def test_smtp_connection_refused() -> None:
    with wire.smtp_server() as server:
        error = failure_of(smtp_provider(server, port=str(wire.closed_port())))

    check_not_connected(error, "connection refused")


def test_smtp_connecting_takes_too_long() -> None:
    with wire.smtp_server() as server, deaf_port() as port:
        error = failure_of(smtp_provider(server, port=str(port)))

    check_not_connected(error, "time-out")


def test_smtp_a_certificate_that_nobody_vouches_for(own_certificate: ssl.SSLContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, wire.smtp_server() as server:
        Thread(target=shake_hands, args=(listener, own_certificate), daemon=True).start()
        port = str(listener.getsockname()[1])
        error = failure_of(smtp_provider(server, security="tls", port=port))

    check_not_connected(error, "certificate")


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
