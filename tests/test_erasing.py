"""Everything of one person is told and erased, in every table and file: a canary is planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.files.base import ContentFile
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection
from django.utils import timezone

from delivery import counting
from delivery import models as mail
from subscribers import consenting, enrolling, erasing, scrubbing
from subscribers import models as people
from subscribers.consents import Proof
from subscribers.models import Subscriber, Suppression
from tests import make
from tests.subscribers.files import imported
from webhooks import models as heard
from webhooks.tracked_models import Tracked

pytestmark = pytest.mark.django_db
CANARY = "canary.bird+cage@xn--bcher-kva.example"
SPELT = "Canary.Bird+cage@bücher.example"
URL = "canary.bird%2Bcage%40xn--bcher-kva.example"
OTHER = "big-canary.bird+cage@xn--bcher-kva.example"
"""A neighbour whose address contains the canary's: nothing of theirs is touched."""


@pytest.fixture(autouse=True)
def own_files(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def tables() -> dict[str, str]:
    """Return every table of the database as text: bytes as they are."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            row = f"SELECT t::text FROM {connection.ops.quote_name(table)} AS t"  # noqa: S608
            cursor.execute(row)
            found[table] = "\n".join(row[0] for row in cursor.fetchall())
    cursor_body = heard.RawRequest.objects.values_list("body", flat=True)
    found["bodies"] = b"\n".join(bytes(body) for body in cursor_body).decode("latin-1")
    files = mail.Attachment.objects.values_list("content", flat=True)
    found["attachments"] = b"\n".join(bytes(file) for file in files).decode("latin-1")
    return found


def where_it_is() -> set[str]:
    return {name for name, text in tables().items() if scrubbing.is_in(CANARY, text)}


def files_with_it(folder: Path) -> list[str]:
    found = []
    for path in folder.rglob("*.csv"):
        texts = [path.read_bytes().decode(each, "replace") for each in ("utf-8", "utf-16-le")]
        if any(scrubbing.is_in(CANARY, text) for text in texts):
            found.append(path.name)
    return found


def planted() -> dict[str, Any]:  # noqa: PLR0915 (a row of each table)
    """Put the canary into every table that may hold a person; return a row of each."""
    now = timezone.now()
    news = make.mailing_list("News")
    letter = Proof("form", ip="192.0.2.7", user_agent="Firefox")
    person, _ = enrolling.enrol(
        CANARY, [news], source="test", now=now, proof=letter, first_name="Tweety"
    )
    consenting.suppress(CANARY, "complained", f"a letter by {CANARY}", now)
    bad = imported(f"email,name\n{CANARY} nonsense,x\n".encode(), news)
    waiting = people.Import.objects.create(filename=f"{CANARY}.csv")
    waiting.file.save("w.csv", ContentFile(f"email\n{CANARY}\n{OTHER}\n".encode("utf-16-le")))
    paused = people.Import.objects.create(filename="paused.csv", status="paused")
    paused.file.save("p.csv", ContentFile(f"email\n{SPELT}\n{OTHER}\n".encode()))
    campaign = make.launched([news])
    account = make.account(last_error=f"550 <{CANARY}> is unknown", circuit_reason=CANARY)
    handoff = make.handoff(campaign, account, error=f"no {CANARY}", reason={"to": CANARY})
    sent = make.message(campaign, person, status="sent", handoff=handoff, provider=account)
    queued = make.message(make.launched([news]), person)
    api = make.mail(CANARY, status="failed", error=f"<{CANARY}> is full", provider=account)
    mail.Mail.objects.filter(pk=api.pk).update(
        html=f"Dear {CANARY}", context={"to": CANARY}, copies={"cc": [[CANARY, "Tweety"]]}
    )
    other = make.mail("bo@gmail.com")
    mail.Mail.objects.filter(pk=other.pk).update(copies={"cc": [[SPELT, ""], [OTHER, ""]]})
    event = heard.Event.objects.create(
        account=account, dedupe_key="1", type="opened", occurred_at=now, message_id=sent.pk,
        campaign_id=campaign.pk, subscriber_id=person.pk, recipient=CANARY, ip="192.0.2.7",
        user_agent="Tweety/1", url=f"https://x.example/?e={URL}", reason=CANARY,
    )  # fmt: skip
    body = json.dumps([{"email": CANARY}, {"email": OTHER}]).encode()
    request = heard.RawRequest.objects.create(
        account=account, body=body, headers={"x": CANARY}, status="applied", error=CANARY
    )
    form = f"recipient={URL}&event=opened".encode()
    heard.RawRequest.objects.create(account=account, body=form, status="pending")
    hidden = heard.RawRequest.objects.create(account=account, body=b"Y2FuYXJ5", status="applied")
    heard.Event.objects.create(
        account=account, dedupe_key="2", type="bounced", occurred_at=now, request_id=hidden.pk,
        recipient=CANARY.upper(),
    )  # fmt: skip
    endpoint = heard.Endpoint.objects.create(
        name="e", url="https://x.example/", last_error=f"no {CANARY}"
    )
    delivery = heard.Delivery.objects.create(
        endpoint=endpoint, event_id=event.pk, type="opened", last_error=CANARY
    )
    alert = mail.Alert.objects.create(
        kind="late", subject=CANARY, text=CANARY, payload={"a": CANARY}
    )
    rows: list[Any] = [
        person, bad, waiting, paused, sent, queued, api, other, event, request, endpoint, delivery,
        person.subscriptions.get(), bad.refused.get(), mail.Mail.objects.get(pk=api.pk), handoff,
        account, alert,
        people.ConsentRecord.objects.filter(person=person.pk).first(),
        people.Confirmation.objects.create(
            subscriber=person, lists=[news.pk], created_at=now, expires_at=now
        ),
        make.segment({"all": []}, name=f"All but {CANARY}"),
        people.Engagement.objects.get_or_create(subscriber=person)[0],
        people.ScoreDay.objects.create(subscriber=person, day=now.date(), score=3, stage="new"),
        people.HygieneAct.objects.create(
            run=people.HygieneRun.objects.create(at=now, status="dry"),
            rule=people.HygieneRule.objects.create(name="Silent", kind="silent"),
            subscriber=person,
            reason="Never opened or clicked",
        ),
        mail.Attachment.objects.create(
            mail_id=api.pk, filename=f"{CANARY}.txt", content_type="text/plain",
            content=CANARY.encode(),
        ),
        mail.Attempt.objects.create(message=sent, provider=account, status="failed", error=CANARY),
        mail.Refusal.objects.create(
            message_id=sent.pk, provider_id=account.pk, fault="address", said=CANARY, at=now
        ),
        mail.Notice.objects.create(
            alert=alert, channel="mail", uid="1", body={"t": CANARY}, error=CANARY
        ),
        mail.CircuitChange.objects.create(
            provider=account, at=now, circuit="open", reason=CANARY
        ),
        mail.SenderRefusal.objects.create(
            provider=account, domain="x.example", until=now, error=CANARY
        ),
        mail.ListComparison.objects.create(
            provider=account, started_at=now, cursor=f"?page=next&address={URL}", error=CANARY
        ),
        mail.ListedAddress.objects.create(
            provider=account, place="bounces", address_key=person.address_key, reason="bounced",
            seen_at=now,
        ),
        mail.LaneState.objects.create(
            account=account, mailbox="gmail", base=1, rate=1, reason=CANARY,
            since=now, changed_at=now,
        ),
        mail.Submission.objects.create(
            owner="k", key="1", fingerprint=b"1", answer={"email": CANARY}
        ),
        Tracked.objects.create(
            event_id=event.pk, type="converted", occurred_at=now, via="key",
            properties={"to": CANARY},
        ),
        heard.Sighting.objects.create(message_id=sent.pk, ip="192.0.2.7", user_agent="Tweety/1"),
        heard.QueueId.objects.create(
            key="mx 1", message_id=sent.pk, waiting_for=CANARY, said=f"<{CANARY}>: later"
        ),
        heard.DeliveryTry.objects.create(delivery=delivery, at=now, status=500, took_ms=1,
            answer=f"no {URL}"),
        LogEntry.objects.create(
            user=make.user(), object_id=str(person.pk), object_repr=CANARY, action_flag=CHANGE,
            change_message=f"{CANARY} is suppressed.",
        ),
    ]  # fmt: skip
    return {row._meta.label: row for row in rows}


def erased() -> erasing.Erased:
    return erasing.erase(erasing.who_is(SPELT), timezone.now())


def test_the_canary_is_in_no_table_and_no_file_afterwards(own_files):
    rows = planted()
    assert where_it_is() >= {
        "subscribers_subscriber",
        "delivery_message",
        "webhooks_event",
        "bodies",
    }
    assert sorted(files_with_it(own_files)) == ["p.csv", "w.csv"]

    done = erased()

    assert where_it_is() == set()
    assert files_with_it(own_files) == []
    assert not any("Tweety" in text for text in tables().values())
    assert "192.0.2.7" not in "".join(tables().values())
    assert done.is_kept_out
    assert done.counts["person"] == 1
    assert set(rows) == {label for part in erasing.PARTS for label in part.holding}


def test_neighbours_are_left_alone(own_files):
    planted()
    erased()

    bodies = tables()["bodies"]
    assert OTHER in bodies
    copies = mail.Mail.objects.exclude(copies={}).get().copies
    assert copies == {"cc": [["erased", ""], [OTHER, ""]]}
    files = b"".join(path.read_bytes() for path in own_files.rglob("*.csv"))
    assert OTHER.encode("utf-16-le") in files
    assert OTHER.encode() in files


def test_figures_of_campaigns_stay_and_agree():
    rows = planted()
    sent = rows["delivery.Message"]
    counting.rebuild(None)
    before = heard.Event.objects.count(), mail.Message.objects.count()
    drift = counting.drift(), heard.Event.objects.drifted()

    erased()

    assert (heard.Event.objects.count(), mail.Message.objects.count()) == before
    assert (counting.drift(), heard.Event.objects.drifted()) == drift
    assert set(mail.Message.objects.values_list("status", flat=True)) <= {
        "sent", "skipped", "failed", "queued",
    }  # fmt: skip
    assert not mail.Message.objects.filter(email="", status="queued").exists()
    assert not mail.Message.objects.recoverable().filter(email="").exists()
    assert sent is not None


def test_who_was_suppressed_stays_so_when_imported_again():
    planted()
    erased()

    imported(f"email\n{CANARY}\n".encode())

    assert Subscriber.objects.get(email=CANARY).status == "complained"


def test_who_was_not_suppressed_is_kept_out_until_they_sign_up_themselves():
    make.subscriber(CANARY)

    assert erased().is_kept_out
    assert Suppression.objects.get().reason == "unsubscribed"

    Suppression.objects.all().delete()
    make.subscriber(CANARY)
    done = erasing.erase(erasing.who_is(CANARY), timezone.now(), keep_out=False)
    assert not done.is_kept_out


def test_to_erase_again_finds_nothing():
    planted()
    erased()

    again = erased()

    assert again.counts == {}


def test_what_is_told_names_every_table_and_is_json():
    planted()

    told = erasing.tell(erasing.who_is(CANARY), timezone.now())

    text = json.dumps(told, cls=DjangoJSONEncoder)
    assert {"audience", "mail", "events"} < set(told)
    assert told["audience"]["person"][0]["first_name"] == "Tweety"
    assert told["audience"]["consent"][0]["details"]["ip"] == "192.0.2.7"
    assert len(told["mail"]["messages"]) == 3
    assert told["mail"]["mails sent by API"][0]["html"] == f"Dear {CANARY}"
    assert len(told["events"]["events"]) == 2
    assert OTHER not in text


def test_every_table_is_erased_from_or_holds_nobody():
    own = {"subscribers", "campaigns", "delivery", "webhooks", "emailplatform"}
    known = {label for part in erasing.PARTS for label in [*part.holding, *part.holding_nothing]}
    labels = {
        model._meta.label
        for model in apps.get_models(include_auto_created=False)
        if model._meta.app_label in own and not model._meta.proxy
    }

    assert labels - known == set(), "Say in the app’s forgetting.py what is erased from these."
    assert known - labels == {"admin.LogEntry"}
