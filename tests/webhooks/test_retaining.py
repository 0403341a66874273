"""What is kept too long is ended, in pieces, and the numbers stay what they were."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from delivery.models import Message
from emailplatform.models import AuditEntry
from subscribers import retaining
from subscribers.models import RefusedRow, RetentionRun, Suppression
from subscribers.tasks import apply_retention
from tests import make
from tests.subscribers.files import imported
from webhooks.models import Event, RawRequest

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def own_files(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


def old(days):
    return timezone.now() - timedelta(days=days)


def filled():
    """Make one row of every kind that is too old, and one that is not."""
    account = make.account()
    for days in (401, 31, 1):
        message = make.message(make.launched([make.mailing_list()]), opened_at=old(days))
        Message.objects.filter(pk=message.pk).update(created_at=old(days), status="sent")
        Event.objects.create(
            account=account, dedupe_key=str(days), type="opened", occurred_at=old(days),
            message_id=message.pk, received_at=old(days), ip="192.0.2.7", user_agent="Firefox",
            is_machine=False,
        )  # fmt: skip
        RawRequest.objects.create(
            account=account, body=b"x", status="applied", received_at=old(days)
        )
    RawRequest.objects.create(account=account, body=b"x", received_at=old(31))
    AuditEntry.objects.create(action="x", object_id=1, at=old(731))
    AuditEntry.objects.create(action="x", object_id=1)
    make.suppression("a@x.example", "soft_bounced", expires_at=old(2))
    make.suppression("b@x.example", "bounced")
    import_ = imported(b"email\nnonsense\n")
    type(import_).objects.filter(pk=import_.pk).update(finished_at=old(91))


def due():
    return {kind.name: number for kind, number in retaining.due(timezone.now())}


EXPECTED = {
    "suppressions": 1, "uploads": 0, "refused_rows": 1, "audit": 1, "admin_log": 0,
    "requests": 2, "looks": 2, "events": 1, "held_lists": 0,
}  # fmt: skip


def test_a_rehearsal_says_what_the_run_then_does(monkeypatch):
    monkeypatch.setattr(retaining, "PIECE", 1)
    filled()
    said = io.StringIO()
    call_command("apply_retention", "--dry-run", stdout=said)

    assert due() == EXPECTED
    assert "Webhooks as they came (kept 30 days)" in said.getvalue()
    assert retaining.run(timezone.now(), 60) == EXPECTED
    assert set(due().values()) == {0}

    assert Event.objects.count() == 2
    assert Event.objects.filter(ip=None, user_agent="").count() == 1
    assert set(RawRequest.objects.values_list("status", flat=True)) == {"applied", "pending"}
    assert RawRequest.objects.count() == 2
    assert Suppression.objects.get().reason == "bounced"
    assert not RefusedRow.objects.exists()
    run = RetentionRun.objects.get(kind="events")
    assert (run.ended, run.total) == (1, 1)


def test_messages_whose_events_were_ended_by_age_do_not_count_as_drifted():
    then = old(401)
    message = make.message(
        make.launched([make.mailing_list()]),
        delivered_at=then,
        opened_at=then,
        person_opened_at=then,
    )
    Message.objects.filter(pk=message.pk).update(created_at=then)
    Event.objects.create(
        account=make.account(), dedupe_key="1", type="opened", occurred_at=then,
        message_id=message.pk, received_at=then, is_machine=False,
    )  # fmt: skip
    assert Event.objects.drifted() == []

    retaining.run(timezone.now(), 60)

    assert Event.objects.count() == 0
    assert Event.objects.drifted() == []
    RetentionRun.objects.all().delete()
    assert [each.number for each in Event.objects.drifted()] == [1]


def test_zero_days_keep_everything(settings):
    filled()
    settings.KEEP_EVENTS_DAYS = settings.KEEP_IP_DAYS = 0

    assert due()["events"] == 0
    retaining.run(timezone.now(), 60)
    assert Event.objects.exclude(ip=None).count() == 3


def test_every_night_it_runs_and_the_page_says_so(admin_client):
    filled()

    apply_retention()

    page = admin_client.get("/admin/subscribers/retentionrun/").content.decode()
    assert "Webhooks as they came" in page
    assert "400 days" in page


def test_the_pages_and_the_api_of_ones_data(admin_client, client):
    person = make.subscriber("ana@x.example", first_name="Ana")
    url = "/admin/subscribers/subscriber/privacy/"

    asked = admin_client.get(url, {"person": person.pk}).content.decode()
    assert 'value="ana@x.example"' in asked
    seen = admin_client.post(url, {"step": "look", "email": "ana@x.example"}).content.decode()
    assert "Held on ana@x.example" in seen
    page = admin_client.post(url, {"step": "html", "email": "ana@x.example"})
    assert "Ana" in page.content.decode()
    wrong = {"step": "erase", "email": "ana@x.example", "confirm": "bo@x.example"}
    assert "Nothing was erased" in admin_client.post(url, wrong).content.decode()
    key = make.api_key("read", "manage")
    headers = {"Authorization": f"Bearer {key}"}
    told = client.post(
        "/api/v1/privacy/export/", {"email": "ana@x.example"}, "application/json", headers=headers
    )
    assert told.json()["audience"]["person"][0]["first_name"] == "Ana"
    body = {"email": "ana@x.example", "confirm": "ana@x.example", "keep_out": False}
    done = client.post("/api/v1/privacy/erase/", body, "application/json", headers=headers)
    assert done.json()["erased"]["person"] == 1

    gone = {**wrong, "confirm": "ana@x.example", "keep_out": "on"}
    answer = admin_client.post(url, gone, follow=True)
    assert "The address is kept out" in answer.content.decode()
    actions = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["privacy.export", "privacy.tell", "privacy.erase", "privacy.erase"]
