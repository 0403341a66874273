"""`POST /api/v1/email/send`: what is taken, what is refused with which words, and once only."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from delivery import accepting, sending
from delivery.models import Attachment, Mail, Message, Submission
from delivery.providers.base import Fault, Rejected, Result, Verdict
from emailplatform.models import AuditEntry
from subscribers.models import Suppression
from tests import make, scripted
from tests.calling import Api
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 60


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.install(monkeypatch)


def order(**fields: Any) -> dict[str, Any]:
    """A complete mail."""
    mail = {
        "from": "Shop <orders@shop.example>",
        "to": "ana@gmail.com",
        "subject": "Your order",
        "text": "Thank you.",
        **fields,
    }
    return {name: value for name, value in mail.items() if value is not None}


def file(content: bytes, name: str = "file.bin", **fields: Any) -> dict[str, Any]:
    return {"filename": name, "content": base64.b64encode(content).decode(), **fields}


# --- What is taken ------------------------------------------------------------------------


def test_a_mail_is_stored_before_the_answer_and_then_sent_as_it_was_asked_for():
    account = scripted.account()
    answer = Api().post(
        "email/send",
        order(
            to=[{"email": "Ana@Gmail.com", "name": "Ana Gil"}, "bo@example.com"],
            cc=["Cy <cy@example.com>"],
            bcc="dee@example.com",
            reply_to="help@shop.example",
            html="<p>Thank you.</p>",
            headers={"X-Order": "77", "In-Reply-To": "<a@b>"},
            tags=["order", "eu"],
            metadata={"order": "77"},
            attachments=[file(b"%PDF-1.4 invoice", "Rechnung März.pdf")],
            type="order_confirmation",
            tracking="provider",
            track_opens=True,
        ),
    )

    assert answer.status == 202, answer.data
    message = Message.objects.get()
    assert answer.data["id"] == message.token
    assert answer.data["status_url"].endswith(f"/api/v1/email/messages/{message.token}/")
    assert (message.status, message.stream, message.mailbox) == ("queued", "transactional", "gmail")

    sending.send_slice(5)

    [batch] = Scripted.calls[account.pk]
    [person] = batch.recipients
    assert (person.email, person.name) == ("ana@gmail.com", "Ana Gil")
    assert [each.email for each in person.copies] == [
        "bo@example.com",
        "cy@example.com",
        "dee@example.com",
    ]
    assert (batch.from_name, batch.from_email) == ("Shop", "orders@shop.example")
    assert batch.reply_to == "help@shop.example"
    assert batch.headers == {"X-Order": "77", "In-Reply-To": "<a@b>"}
    assert (batch.all_tags, batch.metadata) == (["order", "eu"], {"order": "77"})
    [attachment] = batch.attachments
    assert (attachment.filename, attachment.content) == ("Rechnung März.pdf", b"%PDF-1.4 invoice")
    assert attachment.content_type == "application/pdf"
    assert (batch.is_transactional, batch.track_opens, batch.track_clicks) == (True, True, False)
    assert person.headers == {"Message-ID": f"<{message.token}@{settings.MESSAGE_ID_DOMAIN}>"}
    message.refresh_from_db()
    assert (message.status, message.attempts) == ("sent", 1)


def test_a_template_is_filled_in_as_it_was_when_the_mail_was_accepted():
    account = scripted.account()
    template = make.template(
        name="reset",
        subject="Hello {{ first_name }}",
        body="<p>{{ reset_url }} {% for item in items %}{{ item.name }};{% endfor %}</p>",
        variables=["reset_url", "items"],
    )
    items = [{"name": "A"}, {"name": "B"}]
    wish = order(
        to="Ana Gil <ana@gmail.com>",
        subject=None,
        text=None,
        template="reset",
        context={"reset_url": "https://shop.example/r?a=1&b=2", "items": items},
        type="password_reset",
    )

    assert Api().post("email/send", wish).status == 202
    template.body = "<p>changed afterwards</p>"
    template.save()
    sending.send_slice(5)

    [batch] = Scripted.calls[account.pk]
    assert batch.subject.static == ("Hello Ana",)
    assert "https://shop.example/r?a=1&amp;b=2 A;B;" in batch.html.static[0]
    assert Message.objects.get().stream == "critical"


@pytest.mark.parametrize(
    ("locale", "subject"), [("de-AT", "Oida"), ("de-CH", "Hallo"), ("fr", "Hello"), ("", "Hello")]
)
def test_a_template_named_for_the_locale_comes_first(locale, subject):
    account = scripted.account()
    for name, text in (("hi", "Hello"), ("hi.de", "Hallo"), ("hi.de-at", "Oida")):
        make.template(name=name, subject=text)
    wish = order(subject=None, text=None, template="hi", **({"locale": locale} if locale else {}))

    assert Api().post("email/send", wish).status == 202
    sending.send_slice(5)

    assert Scripted.calls[account.pk][0].subject.static == (subject,)


def test_a_mail_waits_for_its_time_and_is_not_sent_when_it_is_too_late():
    scripted.account()
    now = timezone.now()
    api = Api()
    later = api.post("email/send", order(send_at=(now + timedelta(hours=1)).isoformat()))
    late = api.post("email/send", order(expires_at=(now + timedelta(minutes=1)).isoformat()))
    assert (later.status, late.status) == (202, 202)
    Message.objects.filter(due_at__lte=now + timedelta(minutes=5)).update(expires_at=now)

    sending.send_slice(5)

    states = {message.token: message.status for message in Message.objects.all()}
    assert states == {later.data["id"]: "queued", late.data["id"]: "expired"}


@pytest.mark.parametrize(
    ("stream", "reason", "is_sent"),
    [
        ("critical", "unsubscribed", True),
        ("critical", "complained", True),
        ("critical", "bounced", False),
        ("transactional", "unsubscribed", True),
        ("transactional", "complained", False),
        ("marketing", "unsubscribed", False),
    ],
)
def test_each_stream_stops_at_its_own_suppressions(stream, reason, is_sent):
    scripted.account()
    make.suppression("ana@gmail.com", Suppression.Reason(reason))

    assert Api().post("email/send", order(stream=stream)).status == 202
    sending.send_slice(5)

    message = Message.objects.get()
    assert message.status == ("sent" if is_sent else "skipped")
    assert message.error == ("" if is_sent else "suppressed")


def test_copies_to_suppressed_addresses_are_left_out_and_the_others_go():
    account = scripted.account()
    make.suppression("bo@example.com", Suppression.Reason.BOUNCED)

    Api().post("email/send", order(cc=["bo@example.com", "cy@example.com"]))
    sending.send_slice(5)

    [person] = Scripted.calls[account.pk][0].recipients
    assert [each.email for each in person.copies] == ["cy@example.com"]


def test_a_copy_that_the_server_refuses_is_told_and_the_mail_is_sent():
    account = scripted.account()
    Scripted.answer[account.pk] = lambda to: Result(
        to.message_id, Verdict.ACCEPTED, refused_copies={"cy@example.com": "550 no such user"}
    )
    api = Api()
    sent = api.post("email/send", order(cc="cy@example.com")).data

    sending.send_slice(5)

    told = api.get(f"email/messages/{sent['id']}/").data
    assert told["status"] == "sent"
    assert told["refused_copies"] == {"cy@example.com": "550 no such user"}


@pytest.mark.parametrize("fault", list(Fault))
def test_what_is_refused_for_good_says_what_was_wrong(fault):
    account = scripted.account()
    Scripted.whole[account.pk] = scripted.raising(Rejected("never", kind=fault))
    Api().post("email/send", order())

    sending.send_slice(5)

    message = Message.objects.get()
    assert (message.status, message.fault, message.error) == ("failed", fault, "never")


def test_marketing_mail_by_api_can_be_unsubscribed_with_one_click():
    account = scripted.account()

    Api().post("email/send", order(stream="marketing"))
    sending.send_slice(5)

    [person] = Scripted.calls[account.pk][0].recipients
    assert person.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_critical_mail_goes_before_what_was_there_first():
    account = scripted.account()
    campaign = make.launched()
    for _ in range(3):
        make.message(campaign)
    api = Api()
    for number in range(3):
        api.post("email/send", order(to=f"t{number}@gmail.com"))
    api.post("email/send", order(to="reset@gmail.com", stream="critical"))

    sending.send_slice(5)

    sent = Scripted.sent_to(account)
    assert sent[0] == "reset@gmail.com"
    assert set(sent[1:4]) == {"t0@gmail.com", "t1@gmail.com", "t2@gmail.com"}


def test_critical_mail_that_comes_during_a_turn_goes_before_the_next_lane_has_its_own():
    account, campaign, api = scripted.account(), make.launched(), Api()
    for address in ("one@gmail.com", "two@yahoo.com"):
        make.message(campaign, make.subscriber(address))

    def ask_for_a_reset(_batch: Any) -> None:
        Scripted.whole.clear()
        api.post("email/send", order(to="reset@gmail.com", stream="critical"))

    Scripted.whole[account.pk] = ask_for_a_reset
    sending.send_slice(5)

    sent = Scripted.sent_to(account)
    assert len(sent) == 3
    assert sent[1] == "reset@gmail.com"


def test_mail_that_no_provider_may_carry_keeps_back_no_other_however_much_it_is(monkeypatch):
    monkeypatch.setattr(sending, "LOOK_AHEAD", 2)
    account = scripted.account(sending_domains=["shop.example"])
    api = Api()
    for number in range(3):
        api.post("email/send", order(to=f"p{number}@gmail.com", **{"from": "a@lost.example"}))
    api.post("email/send", order(to="ana@gmail.com"))

    sending.send_slice(2)

    assert Scripted.sent_to(account) == ["ana@gmail.com"]


# --- What is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"to": None}, "to", "required"),
        ({"to": []}, "to", "empty"),
        ({"to": "nobody"}, "to.0", "nobody"),
        ({"to": {"address": "a@b.co"}}, "to.0", "email and name"),
        ({"to": ["a@example.com", "A@Example.com"]}, "to", "twice"),
        ({"to": [f"p{n}@example.com" for n in range(51)]}, "to", "50 addresses"),
        ({"from": None}, "from", "required"),
        ({"subject": None}, "subject", "subject"),
        ({"subject": "\n"}, "subject", "blank"),
        ({"text": None}, "html", "html, text"),
        ({"template": 12345}, "template", "no such template"),
        ({"template": "x" * 500}, "template", "no such template"),
        ({"context": {"a": 1}}, "context", "for templates"),
        ({"context": [1]}, "context", "object"),
        ({"context": {"a": ["b\0"]}}, "context", "NUL"),
        ({"context": {"a\0": 1}}, "context", "NUL"),
        ({"template": "a\0"}, "template", "NUL"),
        ({"type": "a\0"}, "type", "name"),
        ({"to": "a\ud800@example.com"}, None, "surrogate"),
        ({"a\ud800": 1}, None, "surrogate"),
        ({"headers": {"Bcc": "x@example.com"}}, "headers", "Bcc"),
        ({"headers": {"X-SMTPAPI": "{}"}}, "headers", "X-SMTPAPI"),
        ({"headers": {"X-Metadata-order": "7"}}, "headers", "X-Metadata-order"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers", "twice"),
        ({"headers": {"X-A": "b\r\nBcc: x@example.com"}}, "headers", "line break"),
        ({"tags": ["two words"]}, "tags.0", "64 letters"),
        ({"metadata": {"message_id": "m1"}}, "metadata", "taken"),
        ({"type": "no_such"}, "type", "no_such"),
        ({"stream": "express"}, "stream", "express"),
        ({"send_at": "soon"}, "send_at", ""),
        ({"send_at": "2199-01-01T00:00:00Z"}, "send_at", "within a year"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at", "too late"),
        ({"unknown": 1}, "unknown", "no such field"),
        ({"attachments": [{"filename": "a.txt", "content": "%%%"}]}, "attachments.0.content", "64"),
        ({"attachments": [file(b"x", "run.exe")]}, "attachments.0.filename", ".exe"),
        ({"attachments": [file(b"\x7fELF...", "a.txt")]}, "attachments.0.content", "program"),
        (
            {"attachments": [file(b"%PDF-1.4 ...", "a.png", content_type="image/png")]},
            "attachments.0.content_type",
            "application/pdf",
        ),
        ({"attachments": [file(b"x", "..")]}, "attachments.0.filename", "name"),
        ({"attachments": [file(b"x")] * 21}, "attachments", "20 files"),
    ],
)
def test_a_mistake_is_named_at_its_place_and_nothing_is_stored(fields, param, words):
    answer = Api().post("email/send", order(**fields))

    assert answer.status == 400, answer.data
    assert answer.error["param"] == param
    assert words in answer.error["message"]
    assert not Message.objects.exists()


def test_a_variable_that_is_missing_is_named():
    make.template(name="reset", body="<p>{{ reset_url }}</p>", variables=["reset_url"])

    answer = Api().post("email/send", order(subject=None, text=None, template="reset"))

    assert answer.status == 400
    assert answer.error["param"] == "context"
    assert "reset_url" in answer.error["message"]


def test_files_together_have_a_limit(settings):
    settings.MAX_ATTACHMENTS_MB = 1
    files = [file(b"x" * 600_000, "a.txt"), file(b"x" * 600_000, "b.txt")]

    answer = Api().post("email/send", order(attachments=files))

    assert (answer.status, answer.error["param"]) == (400, "attachments")
    assert "1.1 MB together" in answer.error["message"]


def test_a_key_needs_the_scope_to_send():
    answer = Api(make.api_key("read", "manage")).post("email/send", order())

    assert answer.status == 403
    assert "send" in answer.error["message"]


# --- Once ---------------------------------------------------------------------------------


def test_the_same_key_with_the_same_payload_gives_the_same_answer_and_sends_once():
    api = Api()
    headers = {"Idempotency-Key": "order-77"}
    first = api.post("email/send", order(), headers=headers)

    again = api.post("email/send/", order(), headers=headers)

    assert (again.status, again.data) == (202, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert Message.objects.count() == 1


def test_the_same_key_with_another_payload_is_a_conflict():
    api = Api()
    headers = {"Idempotency-Key": "order-77"}
    api.post("email/send", order(), headers=headers)

    answer = api.post("email/send", order(text="Something else"), headers=headers)

    assert (answer.status, answer.error["code"]) == (409, "idempotency_key_reused")
    assert Message.objects.count() == 1


def test_keys_of_others_do_not_collide_and_a_refused_call_may_be_mended():
    headers = {"Idempotency-Key": "order-77"}
    api = Api()
    assert api.post("email/send", order(to="nobody"), headers=headers).status == 400

    assert api.post("email/send", order(), headers=headers).status == 202
    assert Api().post("email/send", order(text="other"), headers=headers).status == 202
    assert Message.objects.count() == Submission.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_fifty_equal_calls_at_once_make_one_mail():
    plain = make.api_key()

    def call(_: int) -> Any:
        try:
            return Api(plain).post("email/send", order(), headers={"Idempotency-Key": "k"})
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(call, range(50)))

    assert {answer.status for answer in answers} == {202}
    assert len({answer.data["id"] for answer in answers}) == 1
    assert Message.objects.count() == Mail.objects.count() == 1


# --- Batches ------------------------------------------------------------------------------


def test_each_mail_of_a_batch_is_taken_or_refused_by_itself_in_its_order():
    entries = [order(to="a@example.com"), order(to="nobody"), order(to="b@example.com")]

    answer = Api().post("email/batch", {"messages": entries})

    assert answer.status == 202
    assert (answer.data["accepted"], answer.data["refused"]) == (2, 1)
    first, second, third = answer.data["results"]
    assert second["status"] == "refused"
    assert second["error"]["param"] == "to.0"
    rows = {message.token: message.email for message in Message.objects.all()}
    assert rows == {first["id"]: "a@example.com", third["id"]: "b@example.com"}
    assert AuditEntry.objects.get().action == "mail.batch"


def test_a_thousand_mails_are_stored_with_few_statements(django_assert_max_num_queries):
    entries = [order(to=f"p{number}@example.com") for number in range(1000)]
    api = Api()

    with django_assert_max_num_queries(25):
        answer = api.post("email/batch", {"messages": entries})

    assert answer.data["accepted"] == Message.objects.count() == 1000


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": {}}, [], {"mails": [1]}])
def test_a_batch_that_is_none_says_how_it_looks(body):
    answer = Api().post("email/batch", body)

    assert (answer.status, answer.error["param"]) == (400, "messages")


def test_more_than_a_thousand_are_refused_as_a_whole():
    answer = Api().post("email/batch", {"messages": [order()] * 1001})

    assert answer.status == 400
    assert not Message.objects.exists()


# --- Afterwards ---------------------------------------------------------------------------


def test_a_mail_is_found_by_its_id_with_what_became_of_it():
    account = scripted.account("First")
    api = Api()
    sent = api.post("email/send", order(tags=["a"], metadata={"order": "7"})).data
    sending.send_slice(5)

    answer = api.get(f"email/messages/{sent['id']}/")

    assert answer.status == 200
    assert answer.data["status"] == "sent"
    assert answer.data["to"] == [{"email": "ana@gmail.com", "name": ""}]
    assert answer.data["provider"] == account.name
    assert answer.data["provider_message_id"] == f"at-{sent['id']}"
    assert parse_datetime(answer.data["sent_at"])
    assert [each["provider"] for each in answer.data["calls"]] == ["First"]
    assert answer.data["events"] == []


@pytest.mark.parametrize("token", ["m0", "mffffff", "m1x", "12"])
def test_an_id_that_is_none_is_not_found(token):
    assert Api().get(f"email/messages/{token}/").status == 404


def test_the_list_is_filtered():
    api = Api()
    for number, stream in enumerate(["critical", "transactional", "transactional"]):
        api.post(
            "email/send", order(to=f"p{number}@example.com", stream=stream, tags=[f"t{number}"])
        )
    Message.objects.filter(email="p1@example.com").update(status="failed")

    def found(**query: Any) -> list[str]:
        return [
            each["to"][0]["email"] for each in api.get("email/messages/", **query).data["results"]
        ]

    assert found() == ["p2@example.com", "p1@example.com", "p0@example.com"]
    assert found(stream="critical") == ["p0@example.com"]
    assert found(status="failed") == ["p1@example.com"]
    assert found(to="P2@example.com") == ["p2@example.com"]
    assert found(to="?") == []
    assert found(tag="t1") == ["p1@example.com"]
    assert found(created_after="2999-01-01T00:00:00Z") == []


def test_a_queued_mail_can_be_cancelled_and_a_sent_one_cannot():
    scripted.account()
    api = Api()
    first = api.post("email/send", order()).data["id"]

    cancelled = api.post(f"email/messages/{first}/cancel/")
    sending.send_slice(5)
    again = api.post(f"email/messages/{first}/cancel/")

    assert cancelled.data["status"] == "cancelled"
    assert Message.objects.get().status == "cancelled"
    assert (again.status, again.error["code"]) == (409, "invalid_transition")


def test_a_mail_is_sent_again_as_one_of_its_own_with_all_it_had():
    account = scripted.account()
    api = Api()
    first = api.post("email/send", order(attachments=[file(PNG, "a.png")], cc="c@example.com")).data
    sending.send_slice(5)

    answer = api.post(f"email/messages/{first['id']}/resend/")
    sending.send_slice(5)

    assert answer.status == 202
    assert answer.data["id"] != first["id"]
    assert answer.data["resend_of"] == first["id"]
    one, two = Scripted.calls[account.pk]
    assert one.attachments == two.attachments
    assert one.recipients[0].copies == two.recipients[0].copies
    assert Attachment.objects.count() == 2


def test_to_send_again_is_done_once_for_a_key():
    scripted.account()
    api = Api()
    first = api.post("email/send", order()).data
    headers = {"Idempotency-Key": "again-1"}
    path = f"email/messages/{first['id']}/resend/"

    one, two = api.post(path, headers=headers), api.post(path, headers=headers)

    assert (one.status, one.data) == (two.status, two.data)
    assert two.headers["Idempotent-Replayed"] == "true"
    assert Message.objects.count() == 2


def test_keys_are_forgotten_after_three_days():
    api = Api()
    api.post("email/send", order(), headers={"Idempotency-Key": "old"})
    Submission.objects.update(created_at=timezone.now() - timedelta(hours=73))
    api.post("email/send", order(), headers={"Idempotency-Key": "young"})

    assert accepting.forget_keys(timezone.now()) == 1

    assert Submission.objects.get().key == "young"
    assert Message.objects.count() == 2
