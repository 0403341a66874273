"""SendGrid's dialect: the real client gets through, and what the real one refuses is refused."""

import base64
import json
from typing import Any

import pytest
import requests
from anymail.exceptions import AnymailRequestsAPIError
from anymail.message import AnymailMessage
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.core.mail import get_connection

from delivery.sandbox.server import Sandbox

pytestmark = pytest.mark.filterwarnings("ignore:django-anymail has dropped official support")


def connection(sandbox: Sandbox) -> Any:
    return get_connection(
        "anymail.backends.sendgrid.EmailBackend",
        api_key="SG.key",
        api_url=f"{sandbox.url}/sendgrid/v3/",
    )


def campaign_mail(sandbox: Sandbox, people: list[tuple[str, str]]) -> AnymailMessage:
    message = AnymailMessage(
        subject="Hello -x7h0x-",
        body="Dear -x7h0x-",
        from_email="News <news@news.example>",
        to=[f"{name} <{email}>" for name, email in people],
        headers={"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"},
        connection=connection(sandbox),
    )
    html = '<p>Dear -x7h0x-, <a href="https://shop.example/">shop</a>'
    message.attach_alternative(html, "text/html")
    message.esp_extra = {"merge_field_format": "-x7{}x-"}
    message.merge_data = {email: {"h0": name} for name, email in people}
    message.merge_metadata = {email: {"message_id": f"m-{name}"} for name, email in people}
    message.merge_headers = {
        email: {"List-Unsubscribe": f"<https://news.example/u/{len(name)}>"}
        for name, email in people
    }
    message.tags = ["campaign-7"]
    return message


def call(sandbox: Sandbox, data: Any, key: str = "SG.key") -> requests.Response:
    return requests.post(
        f"{sandbox.url}/sendgrid/v3/mail/send",
        json=data,
        headers={"Authorization": f"Bearer {key}"},
        timeout=10,
    )


def body(**changes: Any) -> dict[str, Any]:
    return {
        "from": {"email": "news@news.example"},
        "subject": "Hello",
        "content": [{"type": "text/plain", "value": "Hello"}],
        "personalizations": [{"to": [{"email": "anna@example.com"}]}],
        **changes,
    }


def to(*emails: str, **rest: Any) -> list[dict[str, Any]]:
    return [{"to": [{"email": email}], **rest} for email in emails]


def test_a_batch_becomes_one_filled_message_per_person(sandbox):
    people = [("Anna", "anna@example.com"), ("Björn", "bjoern@example.org")]

    campaign_mail(sandbox, people).send()

    first, second = sandbox.messages()
    assert (first["recipient"], first["subject"], first["text"]) == (
        ("anna@example.com", "Hello Anna", "Dear Anna")
    )
    assert second["html"] == '<p>Dear Björn, <a href="https://shop.example/">shop</a>'
    assert second["to"] == "Björn <bjoern@example.org>"
    assert second["headers"] == {
        "List-Unsubscribe": "<https://news.example/u/5>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert (first["message_id"], second["message_id"]) == ("m-Anna", "m-Björn")
    assert first["from"] == "News <news@news.example>"


def test_wrong_credentials_are_refused_in_the_real_shape(sandbox):
    answer = call(sandbox, body(), key="SG.other")

    assert answer.status_code == 401
    assert answer.json()["errors"][0]["message"] == (
        "The provided authorization grant is invalid, expired, or revoked"
    )
    assert sandbox.stats()["refusals"] == {"sendgrid": {"401": 1}}


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"personalizations": []}, 400, "personalizations"),
        ({"personalizations": to("no-domain")}, 400, "personalizations.0.to.0.email"),
        (
            {"personalizations": to("a@example.com", "b@example.com", "A@example.com")},
            400,
            "personalizations.2.to",
        ),
        (
            {"personalizations": to(*[f"p{n}@example.com" for n in range(1001)])},
            400,
            "personalizations",
        ),
        (
            {"personalizations": to("a@example.com", substitutions={"-k-": "x" * 10_000})},
            400,
            "personalizations.0.substitutions",
        ),
        (
            {"personalizations": to("a@example.com", headers={"Subject": "x"})},
            400,
            "personalizations.0.headers",
        ),
        (
            {"personalizations": to("a@example.com", headers={"X-A": "x\r\nBcc: b@c.de"})},
            400,
            "personalizations.0.headers.X-A",
        ),
        ({"personalizations": to("a@example.com", custom_args={"n": 7})}, 400, None),
        ({"subject": ""}, 400, "subject"),
        ({"content": [{"type": "text/plain", "value": ""}]}, 400, "content.0.value"),
        ({"content": []}, 400, "content"),
        ({"categories": [f"c{n}" for n in range(11)]}, 400, "categories"),
        ({"from": {"email": "other@elsewhere.example"}}, 403, "from"),
        ({"from": {}}, 400, "from.email"),
        ({"template_id": "d-1"}, 400, "template_id"),
    ],
)
def test_what_sendgrid_refuses_is_refused_whole(sandbox, changes, status, field):
    answer = call(sandbox, body(**changes))

    assert answer.status_code == status
    assert answer.json()["errors"][0]["field"] == field
    assert sandbox.stats()["messages"] == 0


def test_a_thousand_people_and_10000_bytes_are_still_taken(sandbox):
    people = [f"p{number}@example.com" for number in range(1000)]
    data = body(personalizations=to(*people, substitutions={"-k-": "x" * 9_997}))

    answer = call(sandbox, data)

    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.headers["X-Message-Id"]
    assert sandbox.stats()["distinct"] == 1000


def test_garbled_json_is_a_bad_request_not_a_crash(sandbox):
    headers = {"Authorization": "Bearer SG.key", "Content-Type": "application/json"}
    url = f"{sandbox.url}/sendgrid/v3/mail/send"

    for data in (b"{", b"[]", json.dumps(body(personalizations=[7])).encode(), b'{"from": 1}'):
        assert requests.post(url, data=data, headers=headers, timeout=10).status_code == 400


def test_more_than_30_mb_are_too_large(sandbox):
    data = body(content=[{"type": "text/plain", "value": "x" * (30 * 1024 * 1024)}])

    assert call(sandbox, data).status_code == 413


def test_anymail_sees_a_refusal_as_an_api_error(sandbox):
    message = campaign_mail(sandbox, [("Anna", "anna@example.com")])
    message.from_email = "news@elsewhere.example"

    with pytest.raises(AnymailRequestsAPIError) as refusal:
        message.send()

    assert refusal.value.status_code == 403


def test_events_come_signed_in_arrays_with_our_id(sandbox, platform, keys, wait):
    people = [("Anna", "click+anna@example.com"), ("Bo", "bounce+bo@example.com")]

    campaign_mail(sandbox, people).send()

    wait(lambda: sandbox.stats()["pending_events"] == 0)
    events = [event for heard in platform.of("/sendgrid") for event in heard.json()]
    told = {(event["email"], event["event"]) for event in events}
    assert told == {
        ("click+anna@example.com", "processed"),
        ("click+anna@example.com", "delivered"),
        ("click+anna@example.com", "open"),
        ("click+anna@example.com", "click"),
        ("bounce+bo@example.com", "processed"),
        ("bounce+bo@example.com", "bounce"),
    }
    by_name = {event["event"]: event for event in events}
    assert by_name["click"]["url"] == "https://shop.example/"
    assert by_name["click"]["message_id"] == "m-Anna"
    assert by_name["open"]["sg_machine_open"] is False
    assert (by_name["bounce"]["type"], by_name["bounce"]["status"]) == ("bounce", "5.1.1")
    assert by_name["delivered"]["category"] == ["campaign-7"]
    assert len({event["sg_event_id"] for event in events}) == len(events)
    for heard in platform.of("/sendgrid"):
        verify(heard, keys["sendgrid"]["public_key"])


def verify(heard: Any, public_key: str, changed: bytes = b"") -> None:
    public = serialization.load_der_public_key(base64.b64decode(public_key))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    timestamp = heard.headers["x-twilio-email-event-webhook-timestamp"].encode()
    signature = base64.b64decode(heard.headers["x-twilio-email-event-webhook-signature"])
    public.verify(signature, timestamp + heard.body + changed, ec.ECDSA(hashes.SHA256()))


def test_a_changed_body_does_not_verify(sandbox, platform, keys, wait):
    call(sandbox, body())
    heard = wait(lambda: platform.of("/sendgrid"))[0]

    with pytest.raises(InvalidSignature):
        verify(heard, keys["sendgrid"]["public_key"], changed=b" ")
