"""The SMTP relay, spoken to by smtplib."""

import smtplib
from email.message import EmailMessage

import pytest


@pytest.fixture
def relay(sandbox):
    client = smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=10)
    client.login("user", "word")
    yield client
    client.close()


def mail(to: str = "anna@example.com", **headers: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "news@news.example", to, "Grüße"
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("Hällo")
    message.add_alternative("<p>Hällo", subtype="html")
    return message


def test_a_message_arrives_as_it_was_sent(sandbox, relay):
    relay.send_message(mail(Message_ID="<m-1@news.example>", X_Person="Anna"))

    (found,) = sandbox.messages()
    assert (found["subject"], found["text"].strip(), found["html"].strip()) == (
        ("Grüße", "Hällo", "<p>Hällo")
    )
    assert found["message_id"] == "m-1"
    assert found["headers"]["X-Person"] == "Anna"


def test_metadata_names_our_id_before_the_message_id_does(sandbox, relay):
    relay.send_message(mail(X_Metadata='{"message_id": "m-2"}', Message_ID="<other@x.example>"))

    assert sandbox.messages()[0]["message_id"] == "m-2"


def test_without_login_nothing_is_taken(sandbox):
    with smtplib.SMTP("127.0.0.1", sandbox.smtp_port, timeout=10) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("user", "other")
        with pytest.raises(smtplib.SMTPSenderRefused) as refusal:
            client.send_message(mail())

    assert refusal.value.smtp_code == 530
    assert sandbox.stats()["messages"] == 0


def test_a_foreign_sender_is_refused_but_a_return_path_below_is_taken(relay):
    with pytest.raises(smtplib.SMTPSenderRefused):
        relay.send_message(mail(), from_addr="x@elsewhere.example")

    assert relay.send_message(mail(), from_addr="b+1@bounces.news.example") == {}


@pytest.mark.parametrize(
    ("address", "code", "enhanced"),
    [
        ("bounce+a@example.com", 550, b"5.1.1"),
        ("soft+a@example.com", 452, b"4.2.2"),
        ("block+a@example.com", 550, b"5.7.1"),
        ("defer+a@example.com", 451, b"4.7.1"),
    ],
)
def test_each_address_gets_its_own_reply(sandbox, relay, address, code, enhanced):
    refused = relay.send_message(mail(), to_addrs=["anna@example.com", address])

    assert refused[address][0] == code
    assert refused[address][1].startswith(enhanced)
    assert [found["recipient"] for found in sandbox.messages()] == ["anna@example.com"]


def test_who_is_greylisted_is_taken_the_second_time(sandbox, relay):
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        relay.send_message(mail("defer+a@example.com"))

    relay.send_message(mail("defer+a@example.com"))

    assert sandbox.stats()["messages"] == 1


def test_who_is_dropped_is_refused_after_the_content(sandbox, relay):
    with pytest.raises(smtplib.SMTPDataError) as refusal:
        relay.send_message(mail("drop+a@example.com"))

    assert refusal.value.smtp_code == 554
    assert sandbox.stats()["messages"] == 0


def test_too_large_a_message_is_refused_by_its_size(relay):
    large = mail().as_bytes() + b"x" * 26 * 1024 * 1024

    with pytest.raises(smtplib.SMTPSenderRefused) as refusal:
        relay.sendmail("news@news.example", "anna@example.com", large)

    assert refusal.value.smtp_code == 552


@pytest.mark.parametrize(("fault", "code"), [("429", 421), ("500", 451)])
def test_a_throttled_or_failing_relay_keeps_nothing(sandbox, relay, fault, code):
    sandbox.set_options(next_faults=[fault])

    with pytest.raises(smtplib.SMTPDataError) as refusal:
        relay.send_message(mail())

    assert refusal.value.smtp_code == code
    assert sandbox.stats()["messages"] == 0


@pytest.mark.parametrize("fault", ["hang", "reset"])
def test_silence_after_the_content_still_means_accepted(sandbox, relay, fault):
    sandbox.set_options(next_faults=[fault], hang=0.05)

    with pytest.raises(smtplib.SMTPServerDisconnected):
        relay.send_message(mail())

    assert sandbox.stats()["messages"] == 1
