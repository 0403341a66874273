"""Files, copies and streams: each dialect takes what the real one takes, and refuses the rest."""

import base64
from typing import Any

import pytest
import requests

from delivery.sandbox.server import Sandbox

FILE = base64.b64encode(b"%PDF-1.7 a file").decode()


def sendgrid(sandbox: Sandbox, *attachments: dict[str, Any], **part: Any) -> requests.Response:
    return requests.post(
        f"{sandbox.url}/sendgrid/v3/mail/send",
        json={
            "from": {"email": "news@news.example"},
            "subject": "Hello",
            "content": [{"type": "text/plain", "value": "Hello"}],
            "personalizations": [{"to": [{"email": "anna@example.com"}], **part}],
            **({"attachments": list(attachments)} if attachments else {}),
        },
        headers={"Authorization": "Bearer SG.key"},
        timeout=10,
    )


def postmark(sandbox: Sandbox, **changes: Any) -> dict[str, Any]:
    entry = {"From": "a@news.example", "To": "anna@example.com", "Subject": "Hi", "TextBody": "Hi"}
    answer = requests.post(
        f"{sandbox.url}/postmark/email/batch",
        json=[{**entry, **changes}],
        headers={"X-Postmark-Server-Token": "token-postmark", "Accept": "application/json"},
        timeout=30,
    )
    told: dict[str, Any] = answer.json()[0]
    return told


def mailgun(sandbox: Sandbox, files: list[Any], **form: Any) -> requests.Response:
    defaults = {"from": "a@news.example", "to": "anna@example.com", "subject": "Hi", "text": "Hi"}
    return requests.post(
        f"{sandbox.url}/mailgun/v3/news.example/messages",
        data={**defaults, **form},
        files=files,
        auth=("api", "key-mailgun"),
        timeout=10,
    )


@pytest.mark.parametrize(
    ("attachment", "field"),
    [
        ({"content": FILE}, "filename"),
        ({"content": FILE, "filename": "a\r\nX: y"}, "filename"),
        ({"filename": "a.pdf"}, "content"),
        ({"content": "no base64!", "filename": "a.pdf"}, "content"),
        ({"content": FILE, "filename": "a.pdf", "type": "text/calendar; method=REQUEST"}, "type"),
        ({"content": FILE, "filename": "a.pdf", "disposition": "aside"}, "disposition"),
        ({"content": FILE, "filename": "a.pdf", "disposition": "inline"}, "content_id"),
    ],
)
def test_sendgrid_refuses_a_file_that_is_not_whole(sandbox, attachment, field):
    answer = sendgrid(sandbox, attachment)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == f"attachments.0.{field}"
    assert sandbox.stats()["messages"] == 0


def test_sendgrid_refuses_whoever_is_named_twice(sandbox):
    answer = sendgrid(sandbox, cc=[{"email": "Anna@example.com"}])

    assert answer.status_code == 400
    assert "only be included once" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "attachment",
    [
        {"Name": "a.pdf", "ContentType": "application/pdf"},
        {"Name": "a.pdf", "ContentType": "application/pdf", "Content": "no base64!"},
        {"Name": "", "ContentType": "application/pdf", "Content": FILE},
        {"Name": "a.pdf", "ContentType": "pdf", "Content": FILE},
        {"Name": "a.png", "ContentType": "image/png", "Content": FILE, "ContentID": "logo"},
        "a.pdf",
    ],
)
def test_postmark_refuses_a_file_that_is_not_whole(sandbox, attachment):
    told = postmark(sandbox, Attachments=[attachment])

    assert told["ErrorCode"] in (300, 403)
    assert sandbox.stats()["messages"] == 0


def test_postmark_counts_files_as_they_travel(sandbox):
    def of(size: int) -> dict[str, str]:
        content = base64.b64encode(b"\0" * size).decode()
        return {"Name": "a.bin", "ContentType": "a/b", "Content": content}

    over = postmark(sandbox, Attachments=[of(7_900_000)])
    below = postmark(sandbox, Attachments=[of(7_800_000)])

    assert (over["ErrorCode"], over["Message"]) == (300, "The message is larger than 10 MB.")
    assert below["ErrorCode"] == 0


def test_postmark_says_who_of_several_is_inactive_and_delivers_to_the_others(sandbox):
    told = postmark(sandbox, Cc="inactive+dan@example.com, eve@example.com")

    assert told["ErrorCode"] == 0
    assert "inactive addresses: inactive+dan@example.com." in told["Message"]
    taken = [mail["recipient"] for mail in sandbox.messages()]
    assert taken == ["anna@example.com", "eve@example.com"]


def test_mailgun_shows_an_inline_file_under_its_name(sandbox):
    files = [("inline", ("logo.png", b"\x89PNG", "image/png")), ("attachment", ("ü.pdf", b"%PDF"))]

    assert mailgun(sandbox, files, cc="dan@example.com", bcc="eve@example.com").status_code == 200

    mails = sandbox.messages()
    assert [mail["recipient"] for mail in mails] == [
        "anna@example.com",
        "dan@example.com",
        "eve@example.com",
    ]
    for mail in mails:
        assert (mail["to"], mail["cc"]) == ("anna@example.com", "dan@example.com")
        shown = [(file["filename"], file["content_id"]) for file in mail["attachments"]]
        assert shown == [("logo.png", "logo.png"), ("ü.pdf", "")]


def test_a_file_sent_to_many_is_kept_once_and_forgotten_with_them(sandbox):
    attachment = {"Name": "a.pdf", "ContentType": "application/pdf", "Content": FILE}
    for number in range(3):
        postmark(sandbox, To=f"p{number}@example.com", Attachments=[attachment])
    digest = sandbox.messages()[0]["attachments"][0]["sha256"]

    assert sandbox.call(lambda office: office.inbox.file(digest)) == b"%PDF-1.7 a file"
    requests.delete(f"{sandbox.url}/_sandbox/messages", timeout=10)
    assert sandbox.call(lambda office: office.inbox.file(digest)) is None
