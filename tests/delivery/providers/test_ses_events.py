"""SES through SNS: what is signed, where certificates come from, and subscriptions."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
import responses

from delivery.providers import ses_events, sns
from delivery.providers.base import (
    Account,
    EventType,
    Forged,
    TooOld,
    Unavailable,
    Unparsable,
    WebhookRequest,
)
from tests.delivery.providers import posts
from tests.delivery.providers.posts import CERTIFICATE_URL, NOW, TOPIC

DELIVERY = json.dumps(posts.sample("ses", "delivery").payload)


def notification(**fields: Any) -> WebhookRequest:
    return posts.raw(posts.sign(posts.sns(Message=DELIVERY, **fields)))


@pytest.fixture
def unpinned() -> Iterator[Account]:
    """An account that fetches SNS's certificates, with none fetched yet."""
    sns.forget_certificates()
    yield posts.account("ses", sns_certificate="")
    sns.forget_certificates()


# --- Signatures --------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "kind", ["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
)
def test_both_versions_of_the_signature_verify_for_every_type(kind: str, version: str) -> None:
    fields: dict[str, Any] = {"Message": DELIVERY} if kind == "Notification" else {}
    message = posts.sns(kind, **fields)

    ses_events.verify(posts.account("ses"), posts.raw(posts.sign(message, version)))


@pytest.mark.parametrize(
    "field", ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
)
def test_a_changed_field_of_a_notification_is_forged(field: str) -> None:
    signed = json.loads(posts.sign(posts.sns(Message=DELIVERY, Subject="SES")))
    account = posts.account("ses", topic_arns=f"{TOPIC} {TOPIC}x")
    changed = {"TopicArn": f"{TOPIC}x", "Type": "SubscriptionConfirmation"}.get(
        field, signed[field] + "1"
    )

    with pytest.raises(Forged):
        ses_events.verify(account, posts.raw(json.dumps({**signed, field: changed}).encode()))


@pytest.mark.parametrize("field", ["Token", "SubscribeURL", "Message", "Timestamp", "Signature",
                                   "SignatureVersion", "TopicArn"])  # fmt: skip
@pytest.mark.parametrize("value", [None, 7, ["a"], ""])
def test_a_missing_or_odd_field_is_forged(field: str, value: object) -> None:
    signed = json.loads(posts.sign(posts.sns("SubscriptionConfirmation")))

    with pytest.raises(Forged):
        ses_events.verify(
            posts.account("ses"), posts.raw(json.dumps({**signed, field: value}).encode())
        )


def test_a_version_1_signature_is_not_taken_for_version_2() -> None:
    signed = json.loads(posts.sign(posts.sns(Message=DELIVERY), version="1"))

    with pytest.raises(Forged):
        ses_events.verify(
            posts.account("ses"),
            posts.raw(json.dumps({**signed, "SignatureVersion": "2"}).encode()),
        )


def test_a_topic_that_is_not_the_account_s_is_refused_before_anything_is_fetched(
    unpinned: Account,
) -> None:
    stranger = notification(TopicArn=f"{TOPIC}-of-a-stranger")

    with responses.RequestsMock() as network:
        with pytest.raises(Forged, match="another SNS topic"):
            ses_events.verify(unpinned, stranger)

        assert not network.calls


def test_a_certificate_out_of_date_is_refused() -> None:
    over = posts.certificate("first", NOW - timedelta(days=60), NOW - timedelta(days=1))
    early = posts.certificate("first", NOW + timedelta(days=1), NOW + timedelta(days=60))

    for certificate in (over, early):
        account = posts.account("ses", sns_certificate=posts.pem(certificate))
        with pytest.raises(Forged, match="not valid at this time"):
            ses_events.verify(account, notification())


def test_a_pinned_text_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(Forged, match="cannot be read"):
        ses_events.verify(posts.account("ses", sns_certificate="-----BEGIN"), notification())


# --- Certificates ------------------------------------------------------------------------

CERTIFICATE = posts.pem(posts.certificate("first"))


def test_a_certificate_is_fetched_once_and_kept(unpinned: Account) -> None:
    with responses.RequestsMock() as network:
        network.get(CERTIFICATE_URL, body=CERTIFICATE)
        for _ in range(3):
            ses_events.verify(unpinned, notification())

        assert len(network.calls) == 1


def test_a_certificate_is_fetched_again_after_a_day(
    unpinned: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    with responses.RequestsMock() as network:
        network.get(CERTIFICATE_URL, body=CERTIFICATE)
        ses_events.verify(unpinned, notification())
        monkeypatch.setattr(sns, "KEEP_CERTIFICATE_S", 0)
        ses_events.verify(unpinned, notification())

        assert len(network.calls) == 2


def test_a_message_signed_by_another_key_than_the_certificate_s_is_forged(
    unpinned: Account,
) -> None:
    with responses.RequestsMock() as network:
        network.get(CERTIFICATE_URL, body=posts.pem(posts.certificate("second")))
        with pytest.raises(Forged, match="not that of Amazon"):
            ses_events.verify(unpinned, notification())


PEM = "SimpleNotificationService-" + "0123456789abcdef" * 2 + ".pem"
HOSTILE_URLS = [
    f"http://sns.us-east-1.amazonaws.com/{PEM}",
    f"https://sns.us-east-1.amazonaws.com.evil.tld/{PEM}",
    f"https://sns.us-east-1.amazonaws.com.cn.evil.tld/{PEM}",
    f"https://evil.tld/sns.us-east-1.amazonaws.com/{PEM}",
    f"https://sns.us-east-1.amazonaws.com@evil.tld/{PEM}",
    f"https://user:x@sns.us-east-1.amazonaws.com/{PEM}",
    f"https://sns.us-east-1.amazonaws.com:8443/{PEM}",
    f"https://sns-us-east-1.s3.amazonaws.com/{PEM}",
    f"https://mybucket.s3.amazonaws.com/{PEM}",
    f"https://s3.us-east-1.amazonaws.com/sns/{PEM}",
    f"https://sns.us-east-1.amazonaws.com/../{PEM}",
    f"https://sns.us-east-1.amazonaws.com/{PEM}?x=1",
    f"https://sns.us-east-1.amazonaws.com/{PEM}#x",
    f"https://sns.us-east-1.amazonaws.com/{PEM}\n",
    "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
    "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription",
    f"https://sns.US-EAST-1.amazonaws.com/{PEM}",
    f"https://169.254.169.254/{PEM}",
    f"file:///{PEM}",
    "",
]


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_a_certificate_is_taken_from_nowhere_but_sns(unpinned: Account, url: str) -> None:
    with responses.RequestsMock() as network:
        with pytest.raises(Forged, match="SigningCertURL"):
            ses_events.verify(unpinned, notification(SigningCertURL=url))

        assert not network.calls


@pytest.mark.parametrize(
    "region", ["eu-central-1", "us-gov-west-1", "ap-southeast-7", "eusc-de-east-1"]
)
def test_certificates_of_every_region_are_taken(unpinned: Account, region: str) -> None:
    url = CERTIFICATE_URL.replace("us-east-1", region)
    with responses.RequestsMock() as network:
        network.get(url, body=CERTIFICATE)
        ses_events.verify(unpinned, notification(SigningCertURL=url))


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (302, {"location": "https://evil.tld/cert.pem"}, ""),
        (403, {}, "<Error/>"),
        (404, {}, ""),
        (200, {}, CERTIFICATE + "\n" * 20_001),
        (200, {}, "not a certificate"),
    ],
)
def test_what_is_no_certificate_is_forged_and_not_kept(
    unpinned: Account, status: int, headers: dict[str, str], body: str
) -> None:
    with responses.RequestsMock() as network:
        network.get(CERTIFICATE_URL, status=status, headers=headers, body=body)
        with pytest.raises(Forged):
            ses_events.verify(unpinned, notification())
        assert len(network.calls) == 1

        network.replace(responses.GET, CERTIFICATE_URL, body=CERTIFICATE)
        ses_events.verify(unpinned, notification())


@pytest.mark.parametrize("answer", [requests.ConnectionError(), requests.ReadTimeout(), 503, 429])
def test_a_certificate_that_cannot_be_fetched_now_is_no_forgery(
    unpinned: Account, answer: Exception | int
) -> None:
    """SNS repeats after a 5xx and gives up after a 4xx, so this must not be answered 400."""
    with responses.RequestsMock() as network:
        if isinstance(answer, int):
            network.get(CERTIFICATE_URL, status=answer)
        else:
            network.get(CERTIFICATE_URL, body=answer)
        with pytest.raises(Unavailable):
            ses_events.verify(unpinned, notification())


# --- Events ------------------------------------------------------------------------------


def test_the_event_s_own_time_counts_not_that_of_sns() -> None:
    late = notification(Timestamp="2026-11-23T04:59:00.000Z")

    [event] = ses_events.parse(replace(late, received_at=NOW + timedelta(hours=1)))

    assert event.occurred_at.isoformat() == "2026-11-23T04:00:00.592000+00:00"


def test_an_open_days_after_the_mail_has_the_time_of_the_open() -> None:
    payload = posts.sample("ses", "open").payload
    payload["mail"]["timestamp"] = "2026-11-12T09:00:00.000Z"

    [event] = ses_events.parse(posts.post("ses", payload))

    assert event.occurred_at.isoformat() == "2026-11-23T04:00:00.592000+00:00"


def test_the_same_sns_message_repeated_has_one_key_and_another_message_another() -> None:
    first, again = (ses_events.parse(notification())[0].dedupe_key for _ in range(2))
    other = ses_events.parse(notification(MessageId="another"))[0].dedupe_key

    assert first == again != other


def test_the_text_ses_publishes_when_a_topic_is_connected_is_no_event() -> None:
    request = posts.raw(posts.sign(posts.sns(Message=ses_events.VALIDATED)))

    assert ses_events.parse_each(request) == ([], [])


@pytest.mark.parametrize("text", ["hello", "[]", "7", ""])
def test_a_notification_that_is_not_from_ses_is_unparsable(text: str) -> None:
    with pytest.raises(Unparsable):
        ses_events.parse(posts.raw(posts.sign(posts.sns(Message=text))))


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_a_subscription_message_holds_no_events(kind: str) -> None:
    assert ses_events.parse(posts.raw(posts.sign(posts.sns(kind)))) == []


def test_a_redacted_complaint_is_about_the_mail_s_destination() -> None:
    payload = posts.sample("ses", "complaint").payload
    payload["complaint"]["complainedRecipients"] = []

    [event] = ses_events.parse(posts.post("ses", payload))

    assert (event.type, event.recipient) == (EventType.COMPLAINED, "ada@example.com")


# --- Subscriptions -----------------------------------------------------------------------

ANSWER = b"""<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">
<ConfirmSubscriptionResult><SubscriptionArn>arn:aws:sns:eu-central-1:123456789012:t:1</SubscriptionArn>
</ConfirmSubscriptionResult></ConfirmSubscriptionResponse>"""
REFUSAL = b"""<ErrorResponse><Error><Type>Sender</Type><Code>AuthorizationError</Code>
<Message>not allowed</Message></Error></ErrorResponse>"""
TOPIC_ABROAD = "arn:aws:sns:eu-central-1:123456789012:ses-events"


class SNS(HTTPServer):
    """A loopback stand-in for the SNS API; it keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[tuple[dict[str, list[str]], str]] = []
        self.answer = (200, ANSWER)
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: SNS

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        self.server.calls.append((parse_qs(body), self.headers["authorization"]))
        status, answer = self.server.answer
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing: pytest shows what matters."""


@pytest.fixture
def amazon() -> Iterator[SNS]:
    with SNS() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def subscriber(amazon: SNS) -> Account:
    keys = {"access_key_id": "AKIATEST", "secret_access_key": "secret", "region": "us-east-1"}
    return posts.account("ses", topic_arns=TOPIC_ABROAD, endpoint_url=amazon.url, **keys)


def test_a_subscription_is_confirmed_by_the_api_in_the_topic_s_region(amazon: SNS) -> None:
    message = posts.sns("SubscriptionConfirmation", TopicArn=TOPIC_ABROAD)
    request, account = posts.raw(posts.sign(message)), subscriber(amazon)

    ses_events.verify(account, request)
    assert ses_events.confirm(account, request) is True

    [(asked, authorization)] = amazon.calls
    assert asked["Action"] == ["ConfirmSubscription"]
    assert asked["TopicArn"] == [TOPIC_ABROAD]
    assert asked["Token"] == [message["Token"]]
    assert asked["AuthenticateOnUnsubscribe"] == ["true"]
    assert "/eu-central-1/sns/" in authorization


def test_the_address_of_a_vpc_endpoint_of_ses_is_not_asked_for_subscriptions(
    amazon: SNS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a certificate of its own an account has no SNS of its own."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", amazon.url)
    account = subscriber(amazon)
    values = {**account.values, "sns_certificate": "", "endpoint_url": "http://127.0.0.1:9"}
    request = posts.raw(posts.sign(posts.sns("SubscriptionConfirmation", TopicArn=TOPIC_ABROAD)))

    assert ses_events.confirm(replace(account, values=values), request) is True
    assert len(amazon.calls) == 1


def test_a_confirmation_amazon_refuses_is_told_and_can_be_repeated(amazon: SNS) -> None:
    request = posts.raw(posts.sign(posts.sns("SubscriptionConfirmation", TopicArn=TOPIC_ABROAD)))
    amazon.answer = (403, REFUSAL)

    with pytest.raises(Unavailable, match="AuthorizationError"):
        ses_events.confirm(subscriber(amazon), request)

    assert len(amazon.calls) == 1


def test_a_region_nobody_knows_is_never_made_into_a_host_name(amazon: SNS) -> None:
    for topic in ("arn:aws:sns:evil-host-1:123456789012:t", "arn:aws:sns:x/../y:123456789012:t"):
        request = posts.raw(posts.sign(posts.sns("SubscriptionConfirmation", TopicArn=topic)))
        with pytest.raises(Forged, match="TopicArn"):
            ses_events.confirm(subscriber(amazon), request)

    assert amazon.calls == []


def test_an_unsubscribe_message_is_a_hand_shake_that_calls_nobody(amazon: SNS) -> None:
    request = posts.raw(posts.sign(posts.sns("UnsubscribeConfirmation", TopicArn=TOPIC_ABROAD)))

    assert ses_events.confirm(subscriber(amazon), request) is True
    assert amazon.calls == []


def test_a_notification_is_no_hand_shake(amazon: SNS) -> None:
    assert ses_events.confirm(subscriber(amazon), notification()) is False
    assert amazon.calls == []


def test_an_old_confirmation_is_too_old(amazon: SNS) -> None:
    message = posts.sns("SubscriptionConfirmation", NOW - timedelta(hours=2), TopicArn=TOPIC_ABROAD)

    with pytest.raises(TooOld):
        ses_events.verify(subscriber(amazon), posts.raw(posts.sign(message)))
