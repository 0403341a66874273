"""Mail somebody waits for: what is in doubt is sent once more, by the one who may have it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from delivery import resending, sending
from delivery.models import Handoff, Message
from delivery.providers.base import OutcomeUnknown, Unavailable
from tests import make, scripted
from tests.calling import Api
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db

LATER = timedelta(seconds=61)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.install(monkeypatch)


def in_doubt(**fields: Any) -> Message:
    """Send a mail whose provider never answers; another provider stands by."""
    first = scripted.account("first")
    Scripted.whole[first.pk] = scripted.raising(OutcomeUnknown("silence"))
    mail = {"from": "a@shop.example", "to": "ana@gmail.com", "subject": "Hi", "text": "Hi"}
    assert Api().post("email/send", {**mail, **fields}).status == 202
    sending.send_slice(5)
    scripted.account("second")
    message = Message.objects.get()
    assert message.status == "unknown"
    return message


def answer_again() -> None:
    Scripted.whole.clear()
    for account in type(make.account()).objects.all():
        account.resume()


def test_it_is_sent_again_by_the_same_provider_with_the_same_ids():
    message = in_doubt()
    answer_again()
    now = timezone.now()

    assert resending.resend_doubtful(now) == 0  # evidence may still come
    assert resending.resend_doubtful(now + LATER) == 1
    Message.objects.update(due_at=now)
    sending.send_slice(5)

    message.refresh_from_db()
    assert (message.status, message.doubts, message.attempts) == ("sent", 1, 2)
    assert message.provider
    one, two = Scripted.calls[message.provider.pk]
    assert one.recipients == two.recipients
    assert {each.provider.name for each in Handoff.objects.all()} == {"first"}


def test_it_waits_for_that_provider_rather_than_go_to_another():
    message = in_doubt()
    answer_again()
    assert message.provider
    Scripted.whole[message.provider.pk] = scripted.raising(Unavailable("down"))

    resending.resend_doubtful(timezone.now() + LATER)
    Message.objects.update(due_at=timezone.now())
    sending.send_slice(5)

    message.refresh_from_db()
    assert (message.status, str(message.provider)) == ("queued", "first")
    assert list(Scripted.calls) == [message.provider.pk]


def test_only_once_and_never_when_it_is_too_late():
    message = in_doubt()
    now = timezone.now()
    assert resending.resend_doubtful(now + timedelta(days=2)) == 0
    assert resending.resend_doubtful(now + LATER) == 1
    Message.objects.update(due_at=now)
    for account in type(make.account()).objects.all():
        account.resume()
    sending.send_slice(5)
    message.refresh_from_db()
    assert (message.status, message.doubts) == ("unknown", 1)

    assert resending.resend_doubtful(now + timedelta(minutes=5)) == 0


def dead_in_flight() -> Message:
    """Return a mail whose worker died during the call, two minutes ago; nobody was there since."""
    message = in_doubt()
    ago = timezone.now() - timedelta(minutes=2)
    Handoff.objects.update(status="in_flight", in_flight_at=ago, lease_until=ago, finished_at=None)
    Message.objects.update(status=Message.Status.SENDING)
    return message


def test_evidence_that_came_while_a_dead_worker_held_it_keeps_it_from_being_sent_again():
    message = dead_in_flight()
    Message.objects.update(delivered_at=timezone.now())

    Handoff.objects.sweep()

    message.refresh_from_db()
    assert message.status == "unknown"
    assert resending.resend_doubtful(timezone.now() + LATER) == 0


def test_the_wait_for_evidence_begins_when_the_doubt_does_not_with_the_call():
    dead_in_flight()

    Handoff.objects.sweep()

    assert resending.resend_doubtful(timezone.now()) == 0
    assert resending.resend_doubtful(timezone.now() + LATER) == 1


def test_campaigns_and_marketing_mail_are_left_to_a_person(settings):
    message = in_doubt(stream="marketing")
    make.message(make.launched(), status=Message.Status.UNKNOWN)

    assert resending.resend_doubtful(timezone.now() + LATER) == 0
    settings.DOUBT_RETRIES = 0
    Message.objects.filter(pk=message.pk).update(stream="critical")
    assert resending.resend_doubtful(timezone.now() + LATER) == 0


def test_what_nobody_could_take_in_time_expires():
    mail = {"from": "a@shop.example", "to": "ana@gmail.com", "subject": "Hi", "text": "Hi"}
    Api().post("email/send", {**mail, "type": "password_reset"})
    now = timezone.now()

    assert Message.objects.expire(now + timedelta(minutes=29)) == 0
    assert Message.objects.expire(now + timedelta(minutes=31)) == 1

    message = Message.objects.get()
    assert (message.status, message.error) == ("expired", "too late")
