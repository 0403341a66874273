"""Tags for everybody in a file, and an import taken back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client

from emailplatform.errors import InvalidInput
from subscribers import consenting, importing, tasks, undoing
from subscribers.models import ConsentRecord, Import, MailingList, Subscriber, Subscription
from tests import make
from tests.calling import Api
from tests.subscribers.files import imported, started, table

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC) + timedelta(minutes=1)
FILE = table(
    ("Email", "Tags"), ("ana@example.com", "vip"), ("ben@example.com", ""), ("cleo@example.com", "")
)


@pytest.fixture(autouse=True)
def own_places(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def news() -> MailingList:
    return make.mailing_list("News")


def on_it(source: MailingList) -> list[str]:
    rows = Subscription.objects.filter(list=source).order_by("subscriber__email")
    return list(rows.values_list("subscriber__email", flat=True))


def test_everybody_in_the_file_gets_the_tags_beside_their_own() -> None:
    make.subscriber("ben@example.com", tags=["old"])
    work = started(FILE)
    importing.confirm(work, work.mapping, tags=["fair 2026, new"])
    importing.run(work.pk, 60)

    tags = {row.email: sorted(row.tags) for row in Subscriber.objects.all()}
    assert tags == {
        "ana@example.com": ["fair 2026", "new", "vip"],
        "ben@example.com": ["fair 2026", "new", "old"],
        "cleo@example.com": ["fair 2026", "new"],
    }


def test_who_was_newly_put_on_the_list_is_taken_off_and_nobody_else(news: MailingList) -> None:
    make.subscriber("ben@example.com", [news])
    done = imported(FILE, news)
    assert len(on_it(news)) == 3

    undoing.ask(done, NOW)
    tasks.run_imports()

    done.refresh_from_db()
    assert on_it(news) == ["ben@example.com"]
    assert (done.undone_count, done.undone_at is not None) == (2, True)
    assert Subscriber.objects.count() == 3
    record = ConsentRecord.objects.filter(action="taken_off").get()
    taken = Subscriber.objects.exclude(email="ben@example.com")
    assert all(ConsentRecord.objects.filter(pk=record.pk, people__has=row.pk) for row in taken)
    call_command("verify_consent")


def test_what_people_did_themselves_meanwhile_stays(news: MailingList) -> None:
    done = imported(FILE, news)
    ana, ben, _ = Subscriber.objects.order_by("email")
    consenting.unsubscribe(ana, [news.pk], NOW)
    consenting.unsubscribe(ben, [], NOW)

    undoing.ask(done, NOW)
    assert undoing.undo(done.pk, NOW) == 1

    left = Subscription.objects.filter(list=news)
    assert {row.status for row in left} == {"unsubscribed"}
    assert left.count() == 2


def test_who_was_taken_off_can_be_imported_again(news: MailingList) -> None:
    done = imported(FILE, news)
    undoing.ask(done, NOW)
    undoing.undo(done.pk, NOW)

    again = imported(FILE, news)

    assert again.subscribed_count == 3


def test_it_is_taken_back_once(news: MailingList) -> None:
    done = imported(FILE, news)
    undoing.ask(done, NOW)

    with pytest.raises(InvalidInput):
        undoing.ask(done, NOW)
    with pytest.raises(InvalidInput, match="already"):
        undoing.ask(_as_it_was(done), NOW)
    assert undoing.undo(done.pk, NOW) == 3
    assert undoing.undo(done.pk, NOW) is None


def _as_it_was(work: Import) -> Import:
    row = Import.objects.get(pk=work.pk)
    row.undo_asked_at = None
    return row


def test_an_import_that_put_nobody_on_a_list_cannot_be_taken_back(news: MailingList) -> None:
    with pytest.raises(InvalidInput):
        undoing.ask(imported(FILE), NOW)
    with pytest.raises(InvalidInput):
        undoing.ask(started(FILE, news), NOW)


def test_it_is_taken_back_with_one_button(admin_client: Client, news: MailingList) -> None:
    done = imported(FILE, news)
    url = f"/admin/subscribers/import/{done.pk}"
    assert "Take them off the list" in admin_client.get(f"{url}/change/").content.decode()

    page = admin_client.post(f"{url}/undo/", follow=True).content.decode()
    assert "is being taken off again" in page
    tasks.run_imports()

    page = admin_client.get(f"{url}/change/").content.decode()
    assert "3 were taken off News again" in page
    assert "Take them off the list" not in page


def test_programs_pause_resume_and_take_back(news: MailingList) -> None:
    api = Api()
    made = api.upload("imports/", file=_file(), list=news.pk, tags="fair", known="skip")
    path = f"imports/{made.data['id']}/"
    assert (made.status, made.data["tags"]) == (202, ["fair"])

    assert api.post(f"{path}pause/", {}).data["status"] == "paused"
    assert api.post(f"{path}resume/", {}).data["status"] == "queued"
    assert api.post(f"{path}undo/", {}).status == 400
    tasks.run_imports()
    assert api.post(f"{path}undo/", {}).status == 202
    tasks.run_imports()

    assert api.get(path).data["undone_count"] == 3
    assert api.post(f"{path}cancel/", {}).status == 409


def test_programs_ask_first_what_would_happen(news: MailingList) -> None:
    make.subscriber("ben@example.com", [news])

    answer = Api().upload("imports/dry-run/", file=_file(), list=news.pk)

    assert answer.status == 200
    assert (answer.data["rows"], answer.data["created_count"]) == (3, 2)
    assert answer.data["subscribed_count"] == 2
    assert not Import.objects.exists()
    assert Subscriber.objects.count() == 1


def _file() -> Any:
    return SimpleUploadedFile("people.csv", FILE, "text/csv")
