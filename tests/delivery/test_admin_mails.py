"""Mail sent by API in the admin: the list, one mail, and what can be done with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from delivery.models import Attachment, Mail, Message, MessageType
from delivery.providers.base import Unavailable
from delivery.sending import send_slice
from emailplatform.models import ApiKey
from tests import make, scripted
from tests.calling import Api
from tests.pages import member, text, use_own_cache
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db
LIST = "/admin/delivery/mailmessage/"


@pytest.fixture(autouse=True)
def _ready(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    use_own_cache(settings)
    scripted.install(monkeypatch)


def mail(to: str = "ana@gmail.com", **fields: Any) -> Message:
    """A mail as a program asks for it."""
    asked = {
        "from": "shop@example.com",
        "to": [to],
        "subject": "Your order",
        "html": "<p>Thanks, Ana.</p>",
        **fields,
    }
    answer = Api().post("email/send", asked)
    assert answer.status == 202, answer.data
    return Message.objects.latest("pk")


def page(client: Client, message: Message) -> str:
    return text(client.get(f"/admin/delivery/message/{message.pk}/change/"))


def press(client: Client, name: str, message: Message) -> Any:
    return client.post(f"{LIST}{message.pk}/{name}/", follow=True)


# --- The list ----------------------------------------------------------------------------


def test_the_list_holds_mail_by_api_and_leads_to_its_pages(admin_client):
    message = mail(subject="Your order 7")
    make.message(make.launched(), make.subscriber("newsletter@gmail.com"))

    shown = text(admin_client.get(LIST))

    assert "Your order 7" in shown
    assert "newsletter@gmail.com" not in shown
    assert f"/admin/delivery/message/{message.pk}/change/" in shown


def test_it_is_narrowed_by_stream_state_type_and_provider(admin_client):
    reset = MessageType.objects.get(name="password_reset")
    account = scripted.account("Alpha")
    mail("ana@gmail.com", type="password_reset", stream="critical")
    failed = mail("bo@gmail.com")
    Message.objects.filter(pk=failed.pk).update(status="failed", provider=account)

    for query, who, not_who in (
        ("stream__exact=critical", "ana@", "bo@"),
        ("status__exact=failed", "bo@", "ana@"),
        (f"type={reset.pk}", "ana@", "bo@"),
        (f"provider={account.pk}", "bo@", "ana@"),
    ):
        shown = text(admin_client.get(f"{LIST}?{query}"))
        assert who in shown, query
        assert not_who not in shown, query


def test_it_is_searched_by_address_and_by_our_id(admin_client):
    ana, bo = mail("ana@gmail.com"), mail("bo@gmail.com")

    for term, found, missed in (
        ("Ana@Gmail.com", ana, bo),
        (bo.token, bo, ana),
    ):
        shown = text(admin_client.get(LIST, {"q": term}))
        assert f"/message/{found.pk}/" in shown
        assert f"/message/{missed.pk}/" not in shown
    assert f"/message/{ana.pk}/" not in text(admin_client.get(LIST, {"q": "ana"}))


def test_the_list_asks_as_often_for_fifty_as_for_one(admin_client):
    def asked() -> int:
        with CaptureQueriesContext(connection) as queries:
            text(admin_client.get(LIST))
        return len(queries)

    mail()
    asked()
    before = asked()
    for number in range(10):
        mail(f"p{number}@gmail.com", type="invoice")

    assert asked() == before


# --- One mail ----------------------------------------------------------------------------


def test_the_page_says_who_asked_for_what(admin_client):
    message = mail(
        cc=["bo@example.org"],
        bcc=["archive@example.com"],
        tags=["order"],
        metadata={"order": "A-17"},
        type="order_confirmation",
        attachments=[{"filename": "invoice.txt", "content": "aGVsbG8="}],
    )
    key = ApiKey.objects.latest("pk")

    shown = page(admin_client, message)

    for part in (key.name, "bo@example.org", "archive@example.com", "A-17", "invoice.txt"):
        assert part in shown, part
    assert "a provider should have it within 2 min" in shown


def test_every_try_is_told_with_its_reason(admin_client):
    message = mail()
    alpha = scripted.account("Alpha")
    Scripted.whole[alpha.pk] = scripted.raising(Unavailable("503: down"))
    send_slice(5)
    Scripted.whole.clear()
    alpha.resume()
    Message.objects.update(due_at=timezone.now())
    send_slice(5)

    shown = page(admin_client, message)

    assert "Try 1 of 2: Not taken by Alpha" in shown
    assert "503: down" in shown
    assert "Try 2 of 2: Accepted by Alpha" in shown
    calls = Api().get(f"email/messages/{message.token}/").data["calls"]
    assert [each["status"] for each in calls] == ["refused", "done"]


def test_a_kept_and_a_missed_promise_are_told_apart(admin_client):
    message = mail(type="password_reset")
    scripted.account("Alpha")
    send_slice(5)
    assert ">kept</span>" in page(admin_client, message)

    Message.objects.update(sent_at=timezone.now() + timedelta(minutes=5))

    assert ">missed</span>" in page(admin_client, message)


def test_the_preview_is_the_mail_in_a_frame_that_may_do_nothing(admin_client):
    hostile = "<p>Thanks, Ana.</p><script>alert(1)</script>"
    message = mail(html=hostile)

    shown = admin_client.post(f"{LIST}{message.pk}/preview/").json()

    assert (shown["subject"], shown["problems"]) == ("Your order", [])
    assert shown["html"].endswith(hostile)
    assert "default-src 'none'" in shown["html"]
    assert 'sandbox=""' in page(admin_client, message)


def test_attached_pictures_are_shown_where_the_mail_has_them(admin_client):
    message = mail(html='<img src="cid:logo"><img src="cid:other">')
    picture = {"content_id": "logo", "content_type": "image/png", "content": b"\x89PNG"}
    Attachment.objects.create(mail_id=message.pk, filename="logo.png", **picture)

    shown = admin_client.post(f"{LIST}{message.pk}/preview/").json()["html"]

    assert '<img src="data:image/png;base64,iVBORw==">' in shown
    assert "cid:other" in shown


def test_attachments_are_saved_and_never_shown(admin_client):
    message = mail()
    file = Attachment.objects.create(
        mail_id=message.pk,
        filename='evil".html',
        content_type="text/html",
        content=b"<script>alert(1)</script>",
    )

    answer = admin_client.get(f"{LIST}{message.pk}/files/{file.pk}/")

    assert answer.content == b"<script>alert(1)</script>"
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"].startswith("attachment;")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer["Content-Security-Policy"]


def test_a_file_of_another_mail_is_not_found(admin_client):
    mine, other = mail(), mail("bo@gmail.com")
    file = Attachment.objects.create(
        mail_id=other.pk, filename="a.txt", content_type="text/plain", content=b"a"
    )

    assert admin_client.get(f"{LIST}{mine.pk}/files/{file.pk}/").status_code == 404


# --- Deeds -------------------------------------------------------------------------------


def test_a_queued_mail_is_cancelled(admin_client):
    message = mail()
    assert f"{LIST}{message.pk}/cancel/" in page(admin_client, message)

    answer = press(admin_client, "cancel", message)

    message.refresh_from_db()
    assert message.status == "cancelled"
    assert "it is not sent" in text(answer)


@pytest.mark.parametrize("status", ["failed", "expired"])
def test_a_failed_mail_is_tried_again(admin_client, status):
    message = mail()
    Message.objects.update(status=status, error="550")
    scripted.account("Alpha")

    press(admin_client, "retry", message)
    send_slice(5)

    message.refresh_from_db()
    assert message.status == "sent"


def test_what_was_sent_is_not_tried_again_but_sent_once_more(admin_client):
    message = mail()
    scripted.account("Alpha")
    send_slice(5)

    assert "only one that failed is tried again" in text(press(admin_client, "retry", message))
    press(admin_client, "resend", message)

    copy = Mail.objects.get(resend_of=message)
    assert copy.message.status == "queued"
    assert copy.message.token in page(admin_client, message)


# --- Rights ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["Viewer", "Marketer"])
def test_what_a_mail_says_is_not_for_everybody(role):
    message = mail(subject="Your code is 123456")
    client = member(role)

    shown = page(client, message)

    assert "123456" not in shown
    assert "there may be a password in it" in shown
    assert client.get(LIST).status_code == 403
    for name in ("preview", "cancel", "retry", "resend"):
        assert client.post(f"{LIST}{message.pk}/{name}/").status_code == 403
    message.refresh_from_db()
    assert message.status == "queued"


def test_operators_see_and_mend():
    message = mail()
    client = member("Operator")

    assert "Your order" in text(client.get(LIST))
    assert press(client, "cancel", message).status_code == 200
    message.refresh_from_db()
    assert message.status == "cancelled"
