"""Amazon SES's dialect, spoken by boto3: signatures, inline templates, results, notifications."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import boto3
import pytest
import requests
from anymail.message import AnymailMessage
from anymail.webhooks.amazon_ses import AmazonSESTrackingWebhookView
from botocore.config import Config
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from django.core.mail import get_connection
from django.test import RequestFactory

from delivery.sandbox.server import Sandbox

Pair = tuple[str, str]

SIGNED = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")


def client(sandbox: Sandbox, key: str = "AKIASANDBOX", secret: str = "secret-ses") -> Any:
    return boto3.session.Session().client(
        "sesv2",
        endpoint_url=f"{sandbox.url}/ses",
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


@pytest.fixture
def ses(sandbox):
    made = client(sandbox)
    yield made
    made.close()


def destination(
    email: str, *, headers: Sequence[Pair] = (), tags: Sequence[Pair] = (), **values: str
) -> dict[str, Any]:
    return {
        "Destination": {"ToAddresses": [email]},
        "ReplacementEmailContent": {
            "ReplacementTemplate": {"ReplacementTemplateData": json.dumps(values)}
        },
        "ReplacementHeaders": [{"Name": name, "Value": value} for name, value in headers],
        "ReplacementTags": [{"Name": name, "Value": value} for name, value in tags],
    }


def bulk(entries: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    html = "<p>Dear {{h0}} <a href='https://shop.example/'>"
    content = {"Subject": "Hello {{h0}}", "Text": "Dear {{ h0 }}", "Html": html}
    template = {"TemplateContent": content, "TemplateData": "{}"}
    return {
        "FromEmailAddress": "News <news@news.example>",
        "DefaultContent": {"Template": template},
        "BulkEmailEntries": entries,
        **changes,
    }


def error(call: Callable[..., Any], **keywords: Any) -> str:
    """Return the name of the error that the call raises."""
    with pytest.raises(ClientError) as raised:
        call(**keywords)
    return str(raised.value.response["Error"]["Code"])


def test_a_bulk_call_fills_an_inline_template_for_each_entry(sandbox, ses):
    entries = [
        destination("Anna <anna@example.com>", h0="Anna", tags=[("message_id", "m-1")]),
        destination(
            "bo@example.org", h0="{{h0}} & Bo", headers=[("X-Metadata", '{"message_id": "m-2"}')]
        ),
    ]

    results = ses.send_bulk_email(**bulk(entries))["BulkEmailEntryResults"]

    first, second = sandbox.messages()
    assert [item["Status"] for item in results] == ["SUCCESS", "SUCCESS"]
    assert [item["MessageId"] for item in results] == [
        first["provider_message_id"],
        second["provider_message_id"],
    ]
    assert (first["subject"], first["text"]) == ("Hello Anna", "Dear Anna")
    assert second["html"].startswith("<p>Dear {{h0}} & Bo <a")
    assert (first["message_id"], second["message_id"]) == ("m-1", "m-2")
    assert first["recipient"] == "anna@example.com"


def test_a_raw_message_from_anymail_is_read(sandbox):
    message = AnymailMessage(
        subject="Grüße",
        body="Hällo",
        from_email="news@news.example",
        to=["anna@example.com"],
        headers={"X-Person": "Anna"},
        connection=get_connection(
            "anymail.backends.amazon_ses.EmailBackend",
            client_params={
                "endpoint_url": f"{sandbox.url}/ses",
                "region_name": "us-east-1",
                "aws_access_key_id": "AKIASANDBOX",
                "aws_secret_access_key": "secret-ses",
            },
        ),
    )
    message.attach_alternative("<p>Hällo", "text/html")
    message.metadata = {"message_id": "m-1"}

    message.send()

    (found,) = sandbox.messages()
    assert (found["subject"], found["text"].strip(), found["html"].strip()) == (
        ("Grüße", "Hällo", "<p>Hällo")
    )
    assert (found["message_id"], found["headers"]["X-Person"]) == ("m-1", "Anna")
    assert found["provider_message_id"] == message.anymail_status.message_id


def test_a_simple_message_is_no_template(sandbox, ses):
    ses.send_email(
        FromEmailAddress="news@news.example",
        Destination={"ToAddresses": ["anna@example.com"]},
        Content={"Simple": {"Subject": {"Data": "{{x}}"}, "Body": {"Text": {"Data": "{{y}}"}}}},
        EmailTags=[{"Name": "message_id", "Value": "m-1"}],
    )

    (found,) = sandbox.messages()
    assert (found["subject"], found["text"], found["message_id"]) == ("{{x}}", "{{y}}", "m-1")


def test_wrong_credentials_are_refused(sandbox):
    entries = bulk([destination("anna@example.com", h0="Anna")])

    assert error(client(sandbox, secret="other").send_bulk_email, **entries) == (
        "SignatureDoesNotMatch"
    )
    assert error(client(sandbox, key="AKIAOTHER").send_bulk_email, **entries) == (
        "InvalidClientTokenId"
    )
    unsigned = requests.post(f"{sandbox.url}/ses/v2/email/outbound-emails", json={}, timeout=10)
    assert unsigned.status_code == 403
    assert sandbox.stats()["messages"] == 0


def test_a_signed_call_cannot_be_changed_or_kept(sandbox, ses):
    signed: dict[str, Any] = {}
    ses.meta.events.register("before-send", lambda request, **_: signed.update(request=request))
    ses.send_bulk_email(**bulk([destination("anna@example.com", h0="Anna")]))
    request = signed["request"]

    changed = requests.post(
        request.url, request.body.replace(b"anna@", b"bert@"), headers=request.headers, timeout=10
    )

    assert changed.headers["x-amzn-ErrorType"] == "SignatureDoesNotMatch"
    old = {**request.headers, "X-Amz-Date": "20200101T000000Z"}
    kept = requests.post(request.url, request.body, headers=old, timeout=10)
    assert "Signature expired" in kept.json()["message"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"FromEmailAddress": "x@elsewhere.example"}, "MessageRejected"),
        (
            {"BulkEmailEntries": [destination(f"p{n}@example.com") for n in range(51)]},
            "BadRequestException",
        ),
        ({"DefaultContent": {"Template": {"TemplateName": "stored"}}}, "NotFoundException"),
        ({"DefaultEmailTags": [{"Name": "a b", "Value": "c"}]}, "BadRequestException"),
        (
            {"BulkEmailEntries": [destination("a@example.com", headers=[("X-A", "ä")])]},
            "BadRequestException",
        ),
        (
            {"BulkEmailEntries": [destination("a@example.com", headers=[("X-A", "b")] * 16)]},
            "BadRequestException",
        ),
        (
            {"BulkEmailEntries": [destination("a@example.com", h0="x" * 1024 * 1024)]},
            "BadRequestException",
        ),
    ],
)
def test_what_ses_refuses_is_refused_whole(sandbox, ses, changes, expected):
    unchecked = boto3.session.Session().client(
        "sesv2",
        endpoint_url=f"{sandbox.url}/ses",
        region_name="us-east-1",
        aws_access_key_id="AKIASANDBOX",
        aws_secret_access_key="secret-ses",
        config=Config(parameter_validation=False, retries={"total_max_attempts": 1}),
    )
    entries = [destination("anna@example.com", h0="Anna")]

    assert error(unchecked.send_bulk_email, **bulk(entries, **changes)) == expected
    assert sandbox.stats()["messages"] == 0


def test_a_bad_address_fails_its_entry_alone(sandbox, ses):
    entries = [destination(to, h0="x") for to in ("anna@example.com", "nobody", "b o@example.com")]

    results = ses.send_bulk_email(**bulk(entries))["BulkEmailEntryResults"]

    assert [item["Status"] for item in results] == [
        "SUCCESS",
        "INVALID_PARAMETER",
        "INVALID_PARAMETER",
    ]
    assert results[1]["Error"] == "Missing final '@domain'"
    assert sandbox.stats()["messages"] == 1


def heard_events(platform: Any, keys: dict[str, dict[str, str]]) -> list[Any]:
    """Return what Anymail reads from each notification, after checking its RSA signature."""
    view = AmazonSESTrackingWebhookView(webhook_secret="u:p")
    events: list[Any] = []
    for heard in platform.of("/ses"):
        message = heard.json()
        verify(message, SIGNED, keys["ses"]["certificate"])
        request = RequestFactory().post(
            "/",
            heard.body,
            content_type="text/plain",
            headers={
                "x-amz-sns-message-type": heard.headers["x-amz-sns-message-type"],
                "x-amz-sns-message-id": heard.headers["x-amz-sns-message-id"],
            },
        )
        view.validate_request(request)
        events += view.parse_events(request)
    return events


def verify(message: dict[str, str], fields: Sequence[str], certificate: str) -> None:
    text = "".join(f"{name}\n{message[name]}\n" for name in fields if name in message)
    public = x509.load_pem_x509_certificate(certificate.encode()).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    signature = base64.b64decode(message["Signature"])
    assert message["SignatureVersion"] == "2"
    public.verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())


def test_events_come_as_signed_notifications_and_are_understood(sandbox, ses, platform, keys, wait):
    entries = [
        destination(
            to,
            h0="x",
            tags=[("message_id", to[0])],
            headers=[("X-Metadata", '{"message_id": "m"}')],
        )
        for to in ("click+a@example.com", "bounce+b@example.com", "complaint+c@example.com")
    ]
    entries.append(destination("anna@example.com"))

    ses.send_bulk_email(**bulk(entries, ConfigurationSetName="events"))

    wait(lambda: sandbox.stats()["pending_events"] == 0)
    told = {(event.recipient, event.event_type): event for event in heard_events(platform, keys)}
    assert {("click+a@example.com", kind) for kind in ("delivered", "opened", "clicked")} <= set(
        told
    )
    assert told["click+a@example.com", "clicked"].click_url == "https://shop.example/"
    assert told["click+a@example.com", "clicked"].metadata == {"message_id": "m"}
    bounce = told["bounce+b@example.com", "bounced"]
    assert bounce.description == "Permanent: General"
    assert bounce.esp_event["mail"]["tags"]["message_id"] == ["b"]
    assert ("complaint+c@example.com", "complained") in told
    assert ("anna@example.com", "failed") in told
    assert ("anna@example.com", "delivered") not in told


def test_the_certificate_is_served_where_the_notification_says(sandbox, ses, platform, keys, wait):
    ses.send_bulk_email(**bulk([destination("anna@example.com", h0="x")]))
    message = wait(lambda: platform.of("/ses"))[0].json()

    served = requests.get(message["SigningCertURL"], timeout=10)

    assert served.text == keys["ses"]["certificate"]


def test_a_subscription_is_confirmed_through_its_url(sandbox, platform, keys):
    answered = requests.post(f"{sandbox.url}/_sandbox/accounts/ses/confirm", timeout=10)

    (heard,) = platform.of("/ses")
    message = heard.json()
    assert answered.json() == {"answered": 200}
    assert message["Type"] == heard.headers["x-amz-sns-message-type"] == "SubscriptionConfirmation"
    fields = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
    verify(message, fields, keys["ses"]["certificate"])
    assert requests.get(message["SubscribeURL"], timeout=10).status_code == 200
    assert sandbox.stats()["confirmed_topics"] == [keys["ses"]["topic_arn"]]
