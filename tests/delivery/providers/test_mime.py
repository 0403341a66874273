"""MIME messages made as bytes, read by strict readers and by a real SMTP server."""

import re
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from hypothesis import given
from hypothesis import strategies as st

from delivery.providers import connections, registry
from delivery.providers.base import (
    Account,
    Address,
    Attachment,
    Batch,
    Recipient,
    Skeleton,
    Verdict,
)
from delivery.providers.mime import MAX_LINE, MimeSkeleton, encode_words, mailbox
from delivery.providers.returning import message_returned, return_path
from tests.delivery.providers import wire
from tests.delivery.providers.esps import SmtpModel, read_mime
from tests.delivery.providers.letters import newsletter, person, small

DATE = "Mon, 23 Nov 2026 04:00:00 +0000"
STRICT = policy.SMTP.clone(raise_on_defect=True)


def made(batch: Batch, *, is_8bit: bool = True) -> bytes:
    """Return the message of the batch's first person."""
    return MimeSkeleton(batch, is_8bit=is_8bit).message(batch.recipients[0], DATE)


def read(data: bytes) -> EmailMessage:
    message = message_from_bytes(data, policy=STRICT)
    assert isinstance(message, EmailMessage)
    return message


def of_texts(html: str, text: str, **changes: Any) -> Batch:
    return small(
        [person(html=(html,), text=(text,), **changes)],
        html=Skeleton(("", "")),
        text=Skeleton(("", "")),
    )


def lines_of(data: bytes) -> list[bytes]:
    return data.split(b"\r\n")


def check_sound(data: bytes) -> None:
    """Check what RFC 5322 wants of every message on the wire."""
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", data)
    assert max(map(len, lines_of(data))) <= MAX_LINE
    assert data.endswith(b"\r\n")
    head = data.partition(b"\r\n\r\n")[0]
    assert head.isascii()
    for name in (b"From", b"To", b"Subject", b"Date", b"Message-ID", b"MIME-Version"):
        assert len(re.findall(rb"(?mi)^" + name + b":", head)) == 1


def test_a_campaign_mail_has_text_first_and_each_header_once() -> None:
    data = made(small(1, reply_to="answers@example.org"))

    check_sound(data)
    mail = read(data)
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    assert mail["From"] == "Example Press <news@example.org>"
    assert mail["To"] == "Ana Lee 0 <ana0@example.com>"
    assert mail["Reply-To"] == "answers@example.org"
    assert mail["Date"] == DATE
    assert mail["Message-ID"] == "<m0@example.org>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Feedback-ID"] == "7:example"


def test_a_mail_without_a_message_id_gets_one_made_of_ours() -> None:
    mail = read(made(small([person(headers={})])))

    assert mail["Message-ID"] == "<m1@example.org>"


@given(
    html=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=300),
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=300),
    repeats=st.sampled_from([1, 20]),
    is_8bit=st.booleans(),
)
def test_any_text_arrives_as_it_was(html: str, text: str, repeats: int, is_8bit: bool) -> None:
    html, text = html * repeats, text * repeats

    data = made(of_texts(html, text), is_8bit=is_8bit)

    check_sound(data)
    letter = read_mime(data)
    assert letter.html == unix(html)
    assert letter.text == unix(text)
    assert is_8bit or data.isascii()


def unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=1500))
def test_any_subject_and_name_arrive_as_they_were(text: str) -> None:
    batch = small([person(subject=(text,), name=text)])

    data = made(batch)

    check_sound(data)
    raw = message_from_bytes(data, policy=policy.compat32)
    assert decoded(raw["Subject"]) == f"Hello {text}!"
    assert raw["To"].endswith("<ana1@example.com>")


def decoded(header: str) -> str:
    """Return a header's text: encoded words decoded, folding undone (RFC 2047, RFC 5322)."""
    unfolded = re.sub(r"\r?\n(?=[ \t])", "", header)
    return str(make_header(decode_header(unfolded))) if "=?" in unfolded else unfolded


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        ("plain\n", "7bit"),
        ("größer\n", "8bit"),
        ("x" * 999, "quoted-printable"),
        ("x" * 998, "7bit"),
        ("ü" * 600, "quoted-printable"),
    ],
)
def test_the_encoding_is_the_plainest_that_fits(body: str, encoding: str) -> None:
    mail = read(made(of_texts(body, "plain\n")))

    parts = {part.get_content_type(): part for part in mail.walk()}
    assert parts["text/html"]["Content-Transfer-Encoding"] == encoding
    assert parts["text/plain"]["Content-Transfer-Encoding"] == "7bit"


def test_what_looks_like_an_encoded_word_is_encoded() -> None:
    assert encode_words("=?utf-8?q?fake?=") != "=?utf-8?q?fake?="
    assert mailbox("=?utf-8?q?fake?=", "a@example.com").startswith("=?utf-8?b?")


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60))
def test_a_display_name_never_becomes_another_address(name: str) -> None:
    parsed = read(f"To: {mailbox(name, 'a@example.com')}\r\n\r\n".encode())["To"].addresses

    assert [address.addr_spec for address in parsed] == ["a@example.com"]


# --- Files ---------------------------------------------------------------------------------

PICTURE = Attachment("logo.png", "image/png", bytes(range(256)) * 20, content_id="logo@example.org")
PAPER = Attachment("Rechnung für März – 日本語の長い名前.pdf", "application/pdf", b"%PDF\r\n.\r\n")


def kinds_of(mail: EmailMessage) -> list[str]:
    return [part.get_content_type() for part in mail.walk()]


def test_pictures_stand_beside_the_text_that_shows_them_and_files_beside_both() -> None:
    data = made(small(1, attachments=[PAPER, PICTURE]))

    check_sound(data)
    mail = read(data)
    assert kinds_of(mail) == [
        "multipart/mixed",
        "multipart/related",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    related = next(part for part in mail.walk() if part.get_content_type() == "multipart/related")
    assert related.get_param("type") == "multipart/alternative"


def test_a_picture_without_html_is_a_plain_file() -> None:
    mail = read(made(small([person(html=())], html=Skeleton(("",)), attachments=[PICTURE])))

    assert kinds_of(mail) == ["multipart/mixed", "text/plain", "image/png"]


@given(
    content=st.binary(max_size=400),
    html=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=200),
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200),
    is_8bit=st.booleans(),
    content_id=st.sampled_from(["", "logo@example.org"]),
)
def test_any_file_and_text_arrive_as_they_were(
    content: bytes, html: str, name: str, is_8bit: bool, content_id: str
) -> None:
    file = Attachment(name, "application/octet-stream", content, content_id)
    batch = replace(of_texts(f"<p>{html}", "text\n"), attachments=[file])

    data = made(batch, is_8bit=is_8bit)

    check_sound(data)
    assert is_8bit or data.isascii()
    mail = message_from_bytes(data, policy=policy.SMTP)
    [got] = [part for part in mail.walk() if part.get_content_disposition()]
    assert got.get_payload(decode=True) == content
    texts = [part for part in mail.walk() if part.get_content_type() == "text/html"]
    assert bytes(texts[0].get_payload(decode=True)).decode().replace("\r\n", "\n") == unix(
        f"<p>{html}"
    )


# --- On the wire --------------------------------------------------------------------------


class Mailbox:
    """What aiosmtpd calls with each message."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[str], bytes]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        content = bytes(envelope.content)
        self.messages.append((envelope.mail_from, envelope.rcpt_tos, content))
        return "250 2.0.0 Ok: queued as 4135B3FC069"


@pytest.fixture
def aiosmtpd() -> Iterator[tuple[Mailbox, int]]:
    """A real SMTP server on loopback."""
    inbox = Mailbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=wire.closed_port())
    controller.start()
    try:
        yield inbox, controller.port
    finally:
        connections.close_all()
        controller.stop()


def test_a_real_server_takes_the_newsletter(aiosmtpd: tuple[Mailbox, int]) -> None:
    inbox, port = aiosmtpd
    values = {"host": "127.0.0.1", "port": str(port), "security": "none"}
    batch = newsletter(10)

    results = list(registry.build("smtp", Account(1, 1, values)).send(batch))

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    assert {result.provider_message_id for result in results} == {"4135B3FC069"}
    for to, (sender, recipients, content) in zip(batch.recipients, inbox.messages, strict=True):
        letter = read_mime(content)
        assert (sender, recipients) == ("news@example.org", [to.email])
        assert letter.html == batch.html.fill(to.html)
        assert letter.text == batch.text.fill(to.text)


def test_lines_that_begin_with_a_dot_are_stuffed_once(aiosmtpd: tuple[Mailbox, int]) -> None:
    inbox, port = aiosmtpd
    values = {"host": "127.0.0.1", "port": str(port), "security": "none"}
    dots = ".\n..\n.a\r\n.\r\nEND\n.\n"

    list(registry.build("smtp", Account(1, 1, values)).send(of_texts(dots, dots)))

    [(_, _, content)] = inbox.messages
    mail = read(content)
    for part in mail.iter_parts():
        assert part.get_content().replace("\r\n", "\n") == dots.replace("\r\n", "\n")


def smtp_mail(to: Recipient, extensions: list[str], **settings: str) -> wire.SmtpServer:
    with wire.smtp_server(extensions=extensions) as server:
        list(SmtpModel(server).build(**settings).send(small([to])))
    return server


def test_a_server_without_8bitmime_gets_ascii_only() -> None:
    server = smtp_mail(person(html=("ü", "ü")), ["HELP"])

    [taken] = server.taken
    assert taken.data.isascii()
    assert "ü" in read_mime(taken.data).html


def test_bounces_go_to_an_address_that_names_the_message() -> None:
    server = smtp_mail(person(), ["8BITMIME"], return_path_domain="bounces.example.org")

    [sender] = [taken.sender for taken in server.taken]
    assert sender == return_path("m1", "bounces.example.org")
    assert message_returned(sender) == "m1"


def test_a_real_server_hands_a_mail_with_files_to_all_whom_it_names(
    aiosmtpd: tuple[Mailbox, int],
) -> None:
    inbox, port = aiosmtpd
    values = {"host": "127.0.0.1", "port": str(port), "security": "none"}
    to = person(cc=[Address("dan@example.com", "Dän")], bcc=[Address("eve@example.com")])

    list(registry.build("smtp", Account(1, 1, values)).send(small([to], attachments=[PAPER])))

    [(_, recipients, content)] = inbox.messages
    assert recipients == ["ana1@example.com", "dan@example.com", "eve@example.com"]
    assert b"eve@" not in content
    assert [file.content for file in read_mime(content).files] == [PAPER.content]
