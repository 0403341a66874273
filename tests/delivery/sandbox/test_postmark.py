"""Postmark's dialect: the real client gets through, one result per entry, as the real one says."""

from typing import Any

import pytest
import requests
from anymail.exceptions import AnymailRecipientsRefused, AnymailRequestsAPIError
from anymail.message import AnymailMessage
from anymail.webhooks.postmark import PostmarkTrackingWebhookView
from django.core.mail import get_connection
from django.test import RequestFactory

from delivery.sandbox.server import Sandbox

HEADERS = {"Accept": "application/json", "X-Postmark-Server-Token": "token-postmark"}


def entry(to: str = "anna@example.com", **changes: Any) -> dict[str, Any]:
    return {
        "From": "News <news@news.example>",
        "To": to,
        "Subject": "Hello",
        "HtmlBody": '<p>Hello <a href="https://shop.example/">',
        "Metadata": {"message_id": f"m-{to}"},
        "Tag": "campaign-7",
        "TrackOpens": True,
        "TrackLinks": "HtmlAndText",
        **changes,
    }


def call(
    sandbox: Sandbox, data: Any, path: str = "email/batch", **headers: str
) -> requests.Response:
    url = f"{sandbox.url}/postmark/{path}"
    return requests.post(url, json=data, headers={**HEADERS, **headers}, timeout=10)


def mail(sandbox: Sandbox, to: list[str], token: str = "token-postmark") -> AnymailMessage:
    return AnymailMessage(
        subject="Hello",
        body="Hello",
        from_email="news@news.example",
        to=to,
        connection=get_connection(
            "anymail.backends.postmark.EmailBackend",
            server_token=token,
            api_url=f"{sandbox.url}/postmark/",
        ),
    )


def test_each_entry_of_a_batch_has_its_own_body(sandbox):
    long = "long words " * 400
    entries = [
        entry(f"p{number}@example.com", TextBody=f"Dear {number}, {long}") for number in range(50)
    ]

    results = call(sandbox, entries).json()

    found = sandbox.messages()
    assert [item["ErrorCode"] for item in results] == [0] * 50
    assert [item["MessageID"] for item in results] == [
        item["provider_message_id"] for item in found
    ]
    assert [item["text"] for item in found] == [item["TextBody"] for item in entries]
    assert found[7]["message_id"] == "m-p7@example.com"


def test_anymail_sends_one_message(sandbox):
    message = mail(sandbox, ["anna@example.com"])

    message.send()

    assert message.anymail_status.status == {"sent"}
    assert sandbox.messages()[0]["provider_message_id"] == message.anymail_status.message_id


def test_a_refused_entry_leaves_the_others_alone(sandbox):
    entries = [
        entry("anna@example.com"),
        entry("no at sign"),
        entry("bad@domain"),
        entry("inactive+bo@example.com"),
        entry("cara@example.com", From="x@elsewhere.example"),
        entry("dora@example.com", HtmlBody=""),
        entry("eva@example.com", Metadata={"a name of more than 20": "x"}),
        entry("fay@example.com", MessageStream="unknown"),
        entry(", ".join(f"p{number}@example.com" for number in range(51))),
        entry("gil@example.com"),
    ]

    answer = call(sandbox, entries)

    assert answer.status_code == 200
    codes = [item["ErrorCode"] for item in answer.json()]
    assert codes == [0, 300, 300, 406, 400, 300, 300, 1235, 300, 0]
    assert "inactive addresses: inactive+bo@example.com. Inactive" in answer.json()[3]["Message"]
    assert [found["recipient"] for found in sandbox.messages()] == [
        "anna@example.com",
        "gil@example.com",
    ]


def test_anymail_understands_inactive_and_invalid_recipients(sandbox):
    with pytest.raises(AnymailRecipientsRefused):
        mail(sandbox, ["inactive+bo@example.com"]).send()

    part = mail(sandbox, ["anna@example.com", "inactive+bo@example.com"])
    part.send()

    assert part.anymail_status.recipients["inactive+bo@example.com"].status == "rejected"
    assert sandbox.stats()["messages"] == 1


def test_who_bounced_is_inactive_from_then_on(sandbox, wait):
    call(sandbox, [entry("bounce+bo@example.com")])
    wait(lambda: sandbox.stats()["pending_events"] == 0)

    again = call(sandbox, [entry("bounce+bo@example.com")]).json()

    assert again[0]["ErrorCode"] == 406


@pytest.mark.parametrize(
    ("data", "path", "headers", "status", "code"),
    [
        ([entry()] * 501, "email/batch", {}, 422, 410),
        ([entry()], "email/batch", {"X-Postmark-Server-Token": "other"}, 401, 10),
        (entry(), "email/batch", {}, 422, 403),
        ([entry()], "email", {}, 422, 403),
        (entry(to=""), "email", {}, 422, 300),
        (entry(), "email", {"Accept": "text/html"}, 422, 409),
    ],
)
def test_a_whole_call_can_be_refused(sandbox, data, path, headers, status, code):
    answer = call(sandbox, data, path, **headers)

    assert (answer.status_code, answer.json()["ErrorCode"]) == (status, code)
    assert sandbox.stats()["messages"] == 0


def test_wrong_credentials_are_an_api_error_for_anymail(sandbox):
    with pytest.raises(AnymailRequestsAPIError) as refusal:
        mail(sandbox, ["anna@example.com"], token="other").send()

    assert refusal.value.status_code == 401


def test_events_come_with_basic_auth_and_are_understood(sandbox, platform, keys, wait):
    given = keys["postmark"]
    people = ["click+a@example.com", "bounce+b@example.com", "unsubscribe+c@example.com"]
    people += ["complaint+d@example.com", "defer+e@example.com", "drop+f@example.com"]

    call(sandbox, [entry(to) for to in people])

    wait(lambda: sandbox.stats()["pending_events"] == 0)
    view = PostmarkTrackingWebhookView(webhook_secret=f"{given['user']}:{given['password']}")
    told = {}
    for heard in platform.of("/postmark"):
        request = RequestFactory().post(
            "/",
            heard.body,
            content_type="application/json",
            headers={"Authorization": heard.headers["authorization"]},
        )
        view.run_validators(request)
        (event,) = view.parse_events(request)
        told[event.recipient, event.event_type] = event
    assert set(told) == {
        ("click+a@example.com", "delivered"),
        ("click+a@example.com", "opened"),
        ("click+a@example.com", "clicked"),
        ("bounce+b@example.com", "bounced"),
        ("unsubscribe+c@example.com", "delivered"),
        ("unsubscribe+c@example.com", "opened"),
        ("unsubscribe+c@example.com", "unsubscribed"),
        ("complaint+d@example.com", "delivered"),
        ("complaint+d@example.com", "complained"),
        ("defer+e@example.com", "deferred"),
        ("defer+e@example.com", "delivered"),
        ("drop+f@example.com", "rejected"),
    }
    clicked = told["click+a@example.com", "clicked"]
    assert clicked.click_url == "https://shop.example/"
    assert clicked.metadata == {"message_id": "m-click+a@example.com"}
    assert clicked.timestamp is not None
