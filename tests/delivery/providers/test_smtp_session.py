"""Every row of SMTP's table of failures, against a server that fails at just that stage."""

import pytest

from delivery.providers.base import (
    OutcomeUnknown,
    Provider,
    ProviderError,
    Result,
    Unavailable,
    Verdict,
)
from tests.delivery.providers import esps, wire
from tests.delivery.providers.esps import check_not_connected, failure_of
from tests.delivery.providers.letters import small
from tests.delivery.providers.wire import SmtpServer

pytestmark = pytest.mark.usefixtures("_impatient")

BYE = "421 4.3.2 too busy"
SMTP_ERRORS = [
    ("connect", "554 no service here", Unavailable, False),
    ("connect", BYE, Unavailable, False),
    ("connect", wire.DROP, Unavailable, False),
    ("connect", wire.SILENCE, Unavailable, False),
    ("EHLO", BYE, Unavailable, False),
    ("EHLO", wire.DROP, Unavailable, False),
    ("MAIL", "451 later", Unavailable, False),
    ("MAIL", "550 5.7.1 sender not allowed", Unavailable, False),
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
def test_fails_for_all_who_are_left(
    stage: str, said: str, kind: type[ProviderError], is_account_fault: bool, extensions: list[str]
) -> None:
    with wire.smtp_server(script={stage: [said] * 3}, extensions=extensions) as server:
        error = failure_of(smtp_provider(server), people=1)

    assert isinstance(error, kind)
    assert getattr(error, "is_account_fault", False) is is_account_fault


@either_way
def test_a_refused_sender_is_not_the_account_s_fault(extensions: list[str]) -> None:
    script = {"MAIL": ["550 5.7.1 sender not allowed"] * 3}
    with wire.smtp_server(script=script, extensions=extensions) as server:
        error = failure_of(smtp_provider(server), people=1)

    assert isinstance(error, Unavailable)
    assert error.is_sender_fault


@either_way
@pytest.mark.parametrize(("stage", "said", "verdict"), SMTP_RESULTS)
def test_refuses_one_and_goes_on(
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
def test_a_refusal_stands_even_if_the_server_then_hangs_up(
    after: str, extensions: list[str]
) -> None:
    script = {"RCPT": ["550 5.1.1 no such user"], after: [wire.DROP]}
    with wire.smtp_server(script=script, extensions=extensions) as server:
        results = list(smtp_provider(server).send(small(2)))

    assert [result.verdict for result in results] == [Verdict.REJECTED, Verdict.ACCEPTED]
    assert server.connections == 2


def test_doubt_about_one_message_leaves_the_later_ones_certainly_unsent() -> None:
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
def test_tries_a_new_connection_when_a_used_one_is_gone_before_the_message(
    stage: str, said: str, extensions: list[str]
) -> None:
    script = {stage: ["250 ok", said]}
    with wire.smtp_server(script=script, extensions=extensions) as server:
        results = list(smtp_provider(server).send(small(2)))

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    assert server.connections == 2
    assert len(server.taken) == 2


@either_way
def test_never_sends_again_what_is_in_doubt(extensions: list[str]) -> None:
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
def test_login_refused(said: str, is_account_fault: bool) -> None:
    extensions = ["AUTH PLAIN"]
    with wire.smtp_server(script={"AUTH": [said] * 2}, extensions=extensions) as server:
        error = failure_of(smtp_provider(server, username="u", password=esps.SECRET))

    assert isinstance(error, Unavailable)
    assert error.is_account_fault is is_account_fault
    assert esps.SECRET not in str(error)


def test_never_sends_in_the_clear_when_tls_is_wanted() -> None:
    with wire.smtp_server() as server:
        error = failure_of(smtp_provider(server, security="starttls"))

    assert isinstance(error, Unavailable)
    assert error.is_account_fault
    assert "STARTTLS" in str(error)
    assert "MAIL" not in server.verbs


@pytest.mark.parametrize(("field", "value"), [("port", "x"), ("port", "0"), ("security", "maybe")])
def test_settings_that_cannot_be(field: str, value: str) -> None:
    with wire.smtp_server() as server:
        error = failure_of(smtp_provider(server, **{field: value}))

    assert isinstance(error, Unavailable)
    assert field in str(error)


def test_connection_refused() -> None:
    with wire.smtp_server() as server:
        error = failure_of(smtp_provider(server, port=str(wire.closed_port())))

    check_not_connected(error, "connection refused")


def test_connecting_takes_too_long() -> None:
    with wire.smtp_server() as server, wire.deaf_port() as port:
        error = failure_of(smtp_provider(server, port=str(port)))

    check_not_connected(error, "time-out")


def test_a_certificate_that_nobody_vouches_for() -> None:
    with wire.smtp_server() as server, wire.untrusted_port() as port:
        error = failure_of(smtp_provider(server, security="tls", port=str(port)))

    check_not_connected(error, "certificate")
