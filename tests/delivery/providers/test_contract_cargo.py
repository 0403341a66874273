"""One suite for every provider: files, copies, metadata, tags and headers arrive as promised."""

import json
from typing import Any

import pytest

from delivery.providers import smtp_session
from delivery.providers.base import (
    Address,
    Attachment,
    Batch,
    Fault,
    Recipient,
    Result,
    Skeleton,
    Unavailable,
    Verdict,
)
from tests.delivery.providers import wire
from tests.delivery.providers.esps import HTTP_KINDS, Esp, File, Letter, PostmarkModel, SmtpModel
from tests.delivery.providers.esps import esp as running
from tests.delivery.providers.letters import person, small

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
INVOICE = Attachment("invoice.pdf", "application/pdf", b"%PDF-1.7\r\n.\r\n" + PNG)
LOGO = Attachment("logo.png", "image/png", PNG, content_id="logo@example.org")
NAMES = ["Rechnung für März – 日本.pdf", 'a "quoted"; name.pdf', "x" * 150 + "ü.pdf", "=?x?=.pdf"]
COPIES: dict[str, Any] = {
    "more_to": [Address("bo@example.com", "Bo, Dr."), Address("cy@example.com")],
    "cc": [Address("dan@bücher.example", "Dän")],
    "bcc": [Address("eve@example.com", "Eve")],
}


def send(esp: Esp, batch: Batch) -> list[Result]:
    return list(esp.provider.send(batch))


def alone(**changes: Any) -> Recipient:
    """Return the person of a transactional mail: nothing to be merged."""
    return person(subject=(), html=(), text=(), **changes)


def mail(people: list[Recipient] | None = None, **changes: Any) -> Batch:
    """Return a transactional mail."""
    texts = {
        "subject": Skeleton(("Your order",)),
        "html": Skeleton(('<p>Dear customer,</p>\n<img src="cid:logo@example.org">\n',)),
        "text": Skeleton(("Dear customer,\n",)),
    }
    return small(people or [alone()], **{**texts, "is_transactional": True, **changes})


def only_letter(esp: Esp) -> Letter:
    [letter] = esp.letters()
    return letter


# --- Files --------------------------------------------------------------------------------


def test_files_arrive_byte_for_byte_beside_the_text(esp: Esp) -> None:
    [result] = send(esp, mail(attachments=[INVOICE, LOGO]))

    assert result.verdict is Verdict.ACCEPTED
    letter = only_letter(esp)
    assert letter.html == '<p>Dear customer,</p>\n<img src="cid:logo@example.org">\n'
    assert letter.text == "Dear customer,\n"
    invoice, logo = sorted(letter.files, key=lambda file: file.content_id)
    assert invoice == File("invoice.pdf", "application/pdf", INVOICE.content)
    assert (logo.kind, logo.content, logo.content_id) == ("image/png", PNG, "logo@example.org")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_keeps_its_name(esp: Esp, name: str) -> None:
    send(esp, mail(attachments=[Attachment(name, "application/pdf", b"x")]))

    [file] = only_letter(esp).files
    assert file.name == (name.replace('"', "'") if esp.kind == "mailgun" else name)


def test_a_kind_with_parameters_keeps_them_where_the_provider_can(esp: Esp) -> None:
    event = Attachment("event.ics", "text/calendar; method=REQUEST", b"BEGIN:VCALENDAR\r\n")

    send(esp, mail(attachments=[event]))

    [file] = only_letter(esp).files
    assert file.content == event.content
    assert file.kind.startswith("text/calendar")
    assert ("method" in file.kind.lower()) is (esp.kind != "sendgrid")


def test_a_mail_inside_a_mail_arrives_as_a_file(esp: Esp) -> None:
    inside = b"Subject: Inside\r\n\r\nHello\r\n"

    send(esp, mail(attachments=[Attachment("inside.eml", "message/rfc822", inside)]))

    [file] = only_letter(esp).files
    assert file == File("inside.eml", "application/octet-stream", inside)


@pytest.mark.parametrize("part", ["html", "text"])
def test_a_mail_with_one_part_may_have_files_too(esp: Esp, part: str) -> None:
    empty = {"html": "text", "text": "html"}[part]
    nothing: dict[str, Any] = {empty: Skeleton(("",))}

    send(esp, mail(attachments=[INVOICE], **nothing))

    letter = only_letter(esp)
    assert getattr(letter, empty) == ""
    assert getattr(letter, part) == getattr(mail(), part).fill(())
    assert [file.content for file in letter.files] == [INVOICE.content]


def test_everybody_of_a_batch_gets_the_file_and_the_own_text(esp: Esp) -> None:
    batch = small(3, attachments=[INVOICE])

    results = send(esp, batch)

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    letters = {letter.our_id: letter for letter in esp.letters()}
    for to in batch.recipients:
        assert letters[to.message_id].html == batch.html.fill(to.html)
        assert [file.content for file in letters[to.message_id].files] == [INVOICE.content]


@pytest.mark.parametrize(("kind", "calls"), [("sendgrid", 1), ("mailgun", 1), ("postmark", 1)])
def test_a_batch_with_a_file_is_one_call_where_calls_can_carry_files(kind: str, calls: int) -> None:
    with running(kind) as esp:
        send(esp, small(5, attachments=[INVOICE]))

        assert esp.calls == calls


def test_files_count_against_the_bytes_of_a_call() -> None:
    with running("postmark") as esp:
        large = Attachment("large.bin", "application/octet-stream", b"\0" * 6_000_000)
        results = send(esp, small(8, attachments=[large]))

        assert {result.verdict for result in results} == {Verdict.ACCEPTED}
        assert max(len(request.body) for request in esp.server.requests) < 50_000_000
        assert esp.calls == 2


# --- Copies -------------------------------------------------------------------------------


def test_copies_are_in_the_same_mail_and_the_blind_one_is_not_seen(esp: Esp) -> None:
    [result] = send(esp, mail([alone(**COPIES)]))

    assert result.verdict is Verdict.ACCEPTED
    assert result.refused_copies == {}
    letter = only_letter(esp)
    assert letter.to == ("ana1@example.com", "bo@example.com", "cy@example.com")
    assert letter.cc == ("dan@xn--bcher-kva.example",)
    assert letter.bcc == ("eve@example.com",)
    assert letter.our_id == "m1"
    assert "bcc" not in {name.lower() for name in letter.headers}


def test_a_blind_copy_is_nowhere_in_what_readers_get() -> None:
    for kind in ("ses", "smtp"):
        with running(kind) as esp:
            send(esp, mail([alone(bcc=[Address("eve@example.com", "Eve")])]))

            assert "eve" not in str(only_letter(esp).headers).lower()


def test_a_mail_with_copies_is_a_call_of_its_own(esp: Esp) -> None:
    batch = small([person(0), person(1, cc=[Address("dan@example.com")]), person(2)])

    results = send(esp, batch)

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    letters = {letter.our_id: letter for letter in esp.letters()}
    assert [letters[f"m{n}"].cc for n in range(3)] == [(), ("dan@example.com",), ()]
    assert letters["m1"].html == batch.html.fill(batch.recipients[1].html)
    assert letters["m1"].subject == batch.subject.fill(batch.recipients[1].subject)


def test_whoever_is_named_twice_is_named_once_where_it_is_seen_best(esp: Esp) -> None:
    person_twice = alone(
        more_to=[Address("ANA1@example.com"), Address("bo@example.com")],
        cc=[Address("Bo@Example.com"), Address("dan@example.com")],
        bcc=[Address("dan@example.com"), Address("ana1@example.com")],
    )

    send(esp, mail([person_twice]))

    letter = only_letter(esp)
    assert letter.to == ("ana1@example.com", "bo@example.com")
    assert letter.cc == ("dan@example.com",)
    assert letter.bcc == ()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"cc": [Address("no address")]}, Fault.ADDRESS),
        ({"bcc": [Address("x@example.com\r\nX: y")]}, Fault.ADDRESS),
        ({"cc": [Address("x@example.com", "X\r\nBcc: y@example.com")]}, Fault.CONTENT),
        ({"bcc": [Address(f"x{n}@example.com") for n in range(50)]}, Fault.CONTENT),
    ],
    ids=["not an address", "injected", "name", "too many"],
)
def test_copies_that_cannot_be_stop_the_mail_before_any_call(
    esp: Esp, changes: dict[str, Any], fault: Fault
) -> None:
    [result] = send(esp, mail([alone(**changes)]))

    assert (result.verdict, result.fault) == (Verdict.REJECTED, fault)
    assert result.reason.endswith(".")
    assert esp.calls == 0


@pytest.mark.parametrize("extensions", [["8BITMIME"], ["8BITMIME", "PIPELINING"]])
def test_a_copy_that_smtp_refuses_is_told_and_stops_nobody(extensions: list[str]) -> None:
    script = {"RCPT": ["250 ok", "550 5.1.1 no such user", "451 4.7.1 greylisted", "250 ok"]}
    with wire.smtp_server(script=script, extensions=extensions) as server:
        esp = SmtpModel(server)
        cc = [Address("dan@example.com"), Address("fay@example.com"), Address("gus@example.com")]
        [result] = send(esp, mail([alone(cc=cc)]))

        assert result.verdict is Verdict.ACCEPTED
        assert result.provider_message_id == "Q1"
        assert set(result.refused_copies) == {"dan@example.com", "fay@example.com"}
        assert "550" in result.refused_copies["dan@example.com"]
        [taken] = server.taken
        assert taken.recipients == ["ana1@example.com", "gus@example.com"]


@pytest.mark.parametrize("extensions", [["8BITMIME"], ["8BITMIME", "PIPELINING"]])
def test_nobody_gets_a_mail_whose_main_recipient_smtp_refuses(extensions: list[str]) -> None:
    script = {"RCPT": ["550 5.1.1 no such user"]}
    with wire.smtp_server(script=script, extensions=extensions) as server:
        esp = SmtpModel(server)
        results = send(esp, mail([alone(cc=[Address("dan@example.com")])]))
        results += send(esp, mail())

        assert [result.verdict for result in results] == [Verdict.REJECTED, Verdict.ACCEPTED]
        assert results[0].fault is Fault.ADDRESS
        assert [taken.recipients for taken in server.taken] == [["ana1@example.com"]]
        assert server.verbs.count("DATA") == 1


def test_a_server_that_dawdles_over_the_copies_has_taken_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtp_session, "READ_TIMEOUT_S", 0.0)
    with wire.smtp_server() as server, pytest.raises(Unavailable) as raised:
        send(SmtpModel(server), mail([alone(cc=[Address("dan@example.com")])]))

    assert "copies" in str(raised.value)
    assert "DATA" not in server.verbs


@pytest.mark.parametrize(
    ("inactive", "verdict"),
    [("dan@example.com", Verdict.ACCEPTED), ("ana1@example.com", Verdict.REJECTED)],
)
def test_whom_postmark_leaves_out_of_a_mail_it_takes_is_told(
    inactive: str, verdict: Verdict
) -> None:
    words = (
        f"Message OK, but will not deliver to these inactive addresses: {inactive}. Inactive"
        " recipients are ones that have generated a hard bounce, a spam complaint, or a manual"
        " suppression."
    )
    entry = {"ErrorCode": 0, "Message": words, "MessageID": "pm-1"}
    with running("postmark") as esp:
        esp.will(wire.says(200, json.dumps([entry]).encode()))
        [result] = send(esp, mail([alone(cc=[Address("dan@example.com")])]))

    assert result.verdict is verdict
    assert result.provider_message_id == "pm-1"
    if verdict is Verdict.ACCEPTED:
        assert list(result.refused_copies) == [inactive]
    else:
        assert result.fault is Fault.ADDRESS
        assert result.reason.endswith("The copies were sent.")


# --- Metadata, tags, streams --------------------------------------------------------------

METADATA = {"order": "A-1007", "type": "bounce", "email": "x", "event": "delivered"}


@pytest.mark.parametrize("people", [1, 3])
@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_metadata_rides_along_and_never_replaces_our_id(kind: str, people: int) -> None:
    with running(kind) as esp:
        send(esp, small(people, metadata=METADATA))
        send(esp, mail([alone(cc=[Address("dan@example.com")])], metadata=METADATA))

        letters = esp.letters()
        assert [letter.our_id for letter in letters] == [f"m{n}" for n in range(people)] + ["m1"]
        assert all(letter.metadata == METADATA for letter in letters)


def test_what_sendgrid_mixes_with_its_own_fields_has_names_of_its_own() -> None:
    with running("sendgrid") as esp:
        send(esp, mail(metadata=METADATA))

        call = json.loads(esp.server.requests[0].body)
        assert set(call["custom_args"]) == {f"meta_{name}" for name in METADATA}
        assert call["personalizations"][0]["custom_args"] == {"message_id": "m1"}


def test_metadata_a_provider_cannot_carry_is_left_out_and_the_mail_goes() -> None:
    much = {f"key{n}": "v" for n in range(20)} | {"long": "x" * 300, "free": "Ünï, code"}
    for kind, kept in (("postmark", 9), ("ses", 20), ("sendgrid", 22), ("mailgun", 22)):
        with running(kind) as esp:
            [result] = send(esp, mail(metadata=much))

            assert result.verdict is Verdict.ACCEPTED
            assert len(only_letter(esp).metadata) == kept


@pytest.mark.parametrize(
    "metadata",
    [
        {"Message_ID": "m9"},
        {"a b": "x"},
        {"": "x"},
        {"a": "x\r\ny"},
        {"a": "\ud800"},
        {"a": "x" * 9_000},
    ],
    ids=["ours", "space", "empty", "lines", "half", "large"],
)
def test_metadata_that_cannot_be_refuses_the_mail(esp: Esp, metadata: dict[str, str]) -> None:
    [result] = send(esp, mail(metadata=metadata))

    assert (result.verdict, result.fault) == (Verdict.REJECTED, Fault.CONTENT)
    assert esp.calls == 0


@pytest.mark.parametrize("kind", HTTP_KINDS)
def test_tags_are_carried_as_many_as_the_provider_knows(kind: str) -> None:
    with running(kind) as esp:
        send(esp, mail(tag="order", tags=["paid", "order", "eu"]))
        send(esp, small(2, tag="", tags=["paid", "eu"]))

        wanted = [("order", "paid", "eu"), *[("paid", "eu")] * 2]
        if kind == "postmark":
            wanted = [tags[:1] for tags in wanted]
        assert [letter.tags for letter in esp.letters()] == wanted


def test_more_tags_than_any_provider_takes_refuse_the_mail(esp: Esp) -> None:
    [result] = send(esp, mail(tags=[f"t{number}" for number in range(11)]))

    assert (result.verdict, result.fault) == (Verdict.REJECTED, Fault.CONTENT)
    assert esp.calls == 0


def test_a_header_of_the_person_s_is_not_given_by_the_mail_too(esp: Esp) -> None:
    [result] = send(esp, mail(headers={"message-id": "<m9@example.org>"}))

    assert (result.verdict, result.reason) == (Verdict.REJECTED, "A header is given twice.")


def test_postmark_keeps_campaigns_and_transactional_mail_apart() -> None:
    with running("postmark") as esp:
        assert isinstance(esp, PostmarkModel)
        streams = esp.streams
        send(esp, mail())
        send(esp, small(1))
        esp.provider = esp.build(message_stream="news", transactional_stream="receipts")
        send(esp, mail())
        send(esp, small(1))

        assert len(esp.letters()) == 4
        assert streams == ["outbound", "broadcast", "receipts", "news"]


# --- Headers ------------------------------------------------------------------------------


def test_a_header_of_the_caller_s_arrives(esp: Esp) -> None:
    headers = {"X-Order": "A-1007", "X-Wide": "Größe 日本", "In-Reply-To": "<a@example.com>"}

    send(esp, mail(headers=headers))
    send(esp, mail([alone(cc=[Address("dan@example.com")])], headers=headers))

    for letter in esp.letters():
        told = {name.lower(): value for name, value in letter.headers.items()}
        for name, value in headers.items():
            assert told[name.lower()] == value


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "1\r\nBcc: everybody@example.com"},
        {"X-A": "1\n"},
        {"X-A": "1\r"},
        {"X-A": "nul\0"},
        {"X-A": "bell\x07"},
        {"X-A": "del\x7f"},
        {"X-A": "half \ud800"},
        {"X A": "1"},
        {"X(A)": "1"},
        {"X-Ä": "1"},
        {"X-A:": "1"},
        {"X-A\r\nX-B": "1"},
        {"Bcc": "everybody@example.com"},
        {"TO": "everybody@example.com"},
        {"Content-Type": "text/html"},
        {"Return-Path": "<x@example.com>"},
        {"X-SES-Message-Tags": "message_id=m9"},
        {"X-Mailgun-Variables": '{"message_id": "m9"}'},
        {"x-smtpapi": "{}"},
        {"X-PM-KeepID": "true"},
        {"X-Metadata": '{"message_id": "m9"}'},
        {"X-A": "1", "x-a": "2"},
    ],
    ids=ascii,
)
@pytest.mark.parametrize("whose", ["shared", "own"])
def test_no_header_smuggles_anything_in(esp: Esp, headers: dict[str, str], whose: str) -> None:
    batch = mail(headers=headers) if whose == "shared" else mail([alone(headers=headers)])

    [result] = send(esp, batch)

    assert (result.verdict, result.fault) == (Verdict.REJECTED, Fault.CONTENT)
    assert result.reason.endswith(".")
    assert esp.calls == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "a\r\nX: y.pdf"},
        {"filename": ""},
        {"filename": "x" * 300},
        {"content_type": "pdf"},
        {"content_type": "text/plain\r\nX: y"},
        {"content_type": 'text/plain; name="x"; y'},
        {"content_type": "multipart/mixed"},
        {"content_id": "<logo>"},
        {"content_id": "a\r\nb"},
    ],
    ids=ascii,
)
def test_a_file_that_cannot_be_named_refuses_the_mail(esp: Esp, changes: dict[str, Any]) -> None:
    fields = {"filename": "a.pdf", "content_type": "application/pdf", "content": b"x", **changes}

    [result] = send(esp, mail(attachments=[Attachment(**fields)]))

    assert (result.verdict, result.fault) == (Verdict.REJECTED, Fault.CONTENT)
    assert esp.calls == 0


# --- Size ---------------------------------------------------------------------------------


def test_a_mail_that_is_too_large_is_refused_in_plain_words_without_a_call(http_esp: Esp) -> None:
    most = http_esp.provider.max_message_bytes
    size = most * 3 // 4

    [result] = send(http_esp, mail(attachments=[Attachment("a.bin", "a/b", b"\0" * size)]))

    assert (result.verdict, result.fault) == (Verdict.REJECTED, Fault.CONTENT)
    assert f"{most // 1_000_000} MB at most" in result.reason
    assert http_esp.provider.label in result.reason
    assert http_esp.calls == 0


def test_what_smtp_s_server_says_it_takes_is_believed() -> None:
    with wire.smtp_server(extensions=["8BITMIME", "SIZE 100000"]) as server:
        esp = SmtpModel(server)
        large = mail(attachments=[Attachment("a.bin", "a/b", b"\0" * 80_000)])
        results = [*send(esp, large), *send(esp, mail())]

        assert [result.verdict for result in results] == [Verdict.REJECTED, Verdict.ACCEPTED]
        assert results[0].fault is Fault.CONTENT
        assert "0.1 MB at most" in results[0].reason
        assert server.verbs.count("MAIL") == 1
        assert server.connections == 1


@pytest.mark.parametrize("kind", ["sendgrid", "mailgun", "postmark"])
def test_a_mail_just_below_the_limit_goes(kind: str) -> None:
    with running(kind) as esp:
        size = esp.provider.max_message_bytes * 3 // 4 - 1_000_000

        [result] = send(esp, mail(attachments=[Attachment("a.bin", "a/b", b"\0" * size)]))

        assert result.verdict is Verdict.ACCEPTED
        assert [len(file.content) for file in only_letter(esp).files] == [size]


@pytest.mark.usefixtures("_impatient")
def test_a_large_mail_is_given_the_time_that_a_slow_line_takes(http_esp: Esp) -> None:
    large = Attachment("a.bin", "a/b", bytes(6_000_000))
    send(http_esp, mail())  # So that there is a connection with the shorter time-out.
    http_esp.server.pause_s = 0.02

    [result] = send(http_esp, mail(attachments=[large]))

    assert result.verdict is Verdict.ACCEPTED
    assert [len(file.content) for file in http_esp.letters()[-1].files] == [6_000_000]
