"""Mailgun's dialect: the real client gets through, and what the real one refuses is refused."""

import hashlib
import hmac
import json
from typing import Any

import pytest
import requests
from anymail.exceptions import AnymailRequestsAPIError
from anymail.message import AnymailMessage
from anymail.webhooks.mailgun import MailgunTrackingWebhookView
from django.core.mail import get_connection
from django.test import RequestFactory

from delivery.sandbox.server import Sandbox


def campaign_mail(
    sandbox: Sandbox, people: list[tuple[str, str]], api_key: str = "key-mailgun"
) -> AnymailMessage:
    message = AnymailMessage(
        subject="Hello %recipient.h0%",
        body="Dear %recipient.h0%, 100 % yours",
        from_email="News <news@news.example>",
        to=[f"{name} <{email}>" for name, email in people],
        connection=get_connection(
            "anymail.backends.mailgun.EmailBackend",
            api_key=api_key,
            api_url=f"{sandbox.url}/mailgun/v3",
        ),
    )
    html = (
        '<p>Dear %recipient.h0%, %recipient.unknown% <a href="https://shop.example/?a=1&amp;b=2">'
    )
    message.attach_alternative(html, "text/html")
    message.merge_data = {email: {"h0": name} for name, email in people}
    message.merge_metadata = {email: {"message_id": f"m-{name}"} for name, email in people}
    message.merge_headers = {email: {"X-Person": name} for name, email in people}
    message.tags = ["campaign-7"]
    return message


def call(
    sandbox: Sandbox, domain: str = "news.example", key: str = "key-mailgun", **form: Any
) -> requests.Response:
    defaults = {"from": "a@news.example", "to": "anna@example.com", "subject": "Hi", "text": "Hi"}
    return requests.post(
        f"{sandbox.url}/mailgun/v3/{domain}/messages",
        data={**defaults, **form},
        auth=("api", key),
        timeout=10,
    )


def test_a_batch_becomes_one_filled_message_per_person(sandbox):
    message = campaign_mail(sandbox, [("Anna", "anna@example.com"), ("Bo", "bo@example.org")])

    message.send()

    first, second = sandbox.messages()
    assert (first["subject"], first["text"]) == ("Hello Anna", "Dear Anna, 100 % yours")
    assert second["html"].startswith("<p>Dear Bo, %recipient.unknown% <a")
    assert second["to"] == "Bo <bo@example.org>"
    assert second["headers"]["X-Person"] == "Bo"
    assert (first["message_id"], second["message_id"]) == ("m-Anna", "m-Bo")
    assert second["metadata"] == {"message_id": "m-Bo"}
    assert first["provider_message_id"] == message.anymail_status.message_id


def test_an_attachment_makes_it_multipart_and_still_arrives(sandbox):
    message = campaign_mail(sandbox, [("Anna", "anna@example.com")])
    message.attach("note.txt", "A note", "text/plain")

    message.send()

    assert sandbox.messages()[0]["subject"] == "Hello Anna"


def test_without_recipient_variables_everybody_sees_everybody(sandbox):
    call(sandbox, to=["anna@example.com", "Bo <bo@example.org>"])

    assert [found["to"] for found in sandbox.messages()] == [
        "anna@example.com, Bo <bo@example.org>"
    ] * 2


def test_a_mime_message_is_read(sandbox):
    mime = b"From: a@news.example\r\nSubject: From MIME\r\nX-A: b\r\n\r\nHello"

    answer = requests.post(
        f"{sandbox.url}/mailgun/v3/news.example/messages.mime",
        data={"to": "anna@example.com"},
        files={"message": ("message.mime", mime)},
        auth=("api", "key-mailgun"),
        timeout=10,
    )

    assert answer.status_code == 200
    found = sandbox.messages()[0]
    assert (found["subject"], found["text"].strip(), found["headers"]) == (
        ("From MIME", "Hello", {"X-A": "b"})
    )


@pytest.mark.parametrize(
    ("form", "status", "message"),
    [
        (
            {"to": "nobody"},
            400,
            "'to' parameter is not a valid address. please check documentation",
        ),
        ({"to": ""}, 400, "to parameter is missing"),
        ({"from": ""}, 400, "from parameter is missing"),
        ({"text": ""}, 400, "Need at least one of 'text' or 'html' parameters specified"),
        ({"recipient-variables": "{"}, 400, "'recipient-variables' parameter is not a valid JSON"),
        ({"h:X-A": "x\r\nBcc: b@c.de"}, 400, "headers must not contain line breaks"),
        ({"domain": "other.example"}, 404, "Domain not found: other.example"),
        (
            {"to": [f"p{number}@example.com" for number in range(1001)]},
            400,
            "'to' parameter has more than 1000 recipients",
        ),
    ],
)
def test_what_mailgun_refuses_is_refused_whole(sandbox, form, status, message):
    answer = call(sandbox, **form)

    assert (answer.status_code, answer.json()) == (status, {"message": message})
    assert sandbox.stats()["messages"] == 0


def test_wrong_credentials_are_forbidden(sandbox):
    answer = call(sandbox, key="key-other")

    assert (answer.status_code, answer.text) == (401, "Forbidden")
    with pytest.raises(AnymailRequestsAPIError):
        campaign_mail(sandbox, [("Anna", "anna@example.com")], api_key="key-other").send()


def test_more_than_25_mb_are_too_large(sandbox):
    assert call(sandbox, text="x" * (25 * 1024 * 1024)).status_code == 413


def test_events_come_one_by_one_signed_and_are_understood(sandbox, platform, keys, wait):
    key = keys["mailgun"]["signing_key"]
    people = [("Anna", "click+anna@example.com"), ("Bo", "soft+bo@example.com")]

    message = campaign_mail(sandbox, people)
    message.track_opens = message.track_clicks = True
    message.send()

    wait(lambda: sandbox.stats()["pending_events"] == 0)
    view = MailgunTrackingWebhookView(webhook_signing_key=key)
    told = {}
    for heard in platform.of("/mailgun"):
        signature = heard.json()["signature"]
        signed = f"{signature['timestamp']}{signature['token']}".encode()
        expected = hmac.new(key.encode(), signed, hashlib.sha256).hexdigest()
        assert signature["signature"] == expected
        request = RequestFactory().post("/", heard.body, content_type="application/json")
        view.validate_request(request)
        (event,) = view.parse_events(request)
        told[event.recipient, event.event_type] = event
    assert set(told) == {
        ("click+anna@example.com", "delivered"),
        ("click+anna@example.com", "opened"),
        ("click+anna@example.com", "clicked"),
        ("soft+bo@example.com", "deferred"),
    }
    clicked = told["click+anna@example.com", "clicked"]
    assert clicked.click_url == "https://shop.example/?a=1&b=2"
    assert clicked.metadata == {"message_id": "m-Anna"}
    assert clicked.tags == ["campaign-7"]
    assert clicked.message_id == sandbox.messages()[0]["provider_message_id"]
    assert len({json.loads(heard.body)["event-data"]["id"] for heard in platform.heard}) == 4
