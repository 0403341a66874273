"""The signatures verify with code that shares nothing with the signer."""

import base64
import hashlib
import hmac

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from delivery.sandbox.signing import (
    basic_auth,
    make_keys,
    sign_mailgun,
    sign_sendgrid,
    sign_sns,
    sns_string_to_sign,
)

NOTIFICATION = {
    "Type": "Notification",
    "MessageId": "m-1",
    "TopicArn": "arn:aws:sns:us-east-1:123456789012:topic",
    "Message": '{"eventType": "Delivery"}',
    "Timestamp": "2026-11-01T10:00:00.000Z",
}


def test_a_sendgrid_signature_covers_timestamp_and_body():
    keys = make_keys("sendgrid")

    signature = base64.b64decode(sign_sendgrid(keys["private_key"], "1700000000", b"[{}]\r\n"))

    public = serialization.load_der_public_key(base64.b64decode(keys["public_key"]))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, b"1700000000[{}]\r\n", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"1700000001[{}]\r\n", ec.ECDSA(hashes.SHA256()))


def test_a_mailgun_signature_is_the_hmac_of_timestamp_and_token():
    key = make_keys("mailgun")["signing_key"]

    signature = sign_mailgun(key, "1700000000", "token")

    assert signature == hmac.new(key.encode(), b"1700000000token", hashlib.sha256).hexdigest()


def test_postmark_identifies_itself_with_basic_auth():
    assert basic_auth("user", "pass") == "Basic dXNlcjpwYXNz"


@pytest.mark.parametrize(
    ("version", "digest"),
    [("1", hashes.SHA1()), ("2", hashes.SHA256())],  # noqa: S303
)
def test_an_sns_signature_verifies_with_the_certificate(version, digest):
    keys = make_keys("ses")

    signature = base64.b64decode(sign_sns(keys["private_key"], NOTIFICATION, version))

    public = x509.load_pem_x509_certificate(keys["certificate"].encode()).public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    expected = (
        'Message\n{"eventType": "Delivery"}\nMessageId\nm-1\nTimestamp\n2026-11-01T10:00:00.000Z\n'
        "TopicArn\narn:aws:sns:us-east-1:123456789012:topic\nType\nNotification\n"
    )
    public.verify(signature, expected.encode(), padding.PKCS1v15(), digest)


def test_the_subject_and_the_token_of_an_sns_message_are_signed_when_present():
    with_subject = sns_string_to_sign({**NOTIFICATION, "Subject": "Hello"})
    confirmation = sns_string_to_sign(
        {**NOTIFICATION, "Type": "SubscriptionConfirmation", "Token": "t", "SubscribeURL": "u"}
    )

    assert b"MessageId\nm-1\nSubject\nHello\nTimestamp" in with_subject
    assert b"MessageId\nm-1\nSubscribeURL\nu\nTimestamp" in confirmation
    assert b"Token\nt\nTopicArn" in confirmation


def test_keys_differ_from_account_to_account():
    for kind in ("sendgrid", "mailgun", "postmark", "ses"):
        assert make_keys(kind) != make_keys(kind)
    assert make_keys("smtp") == {}
