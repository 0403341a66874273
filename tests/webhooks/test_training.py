"""Who falls silent: learned from one time, tested on a later one, and vouched for or not."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from delivery.models import Message
from subscribers import fitting, scoring
from subscribers.models import Engagement, ScoreDay
from tests import make
from webhooks import feeling, training
from webhooks.models import Event

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def year_of_mail(people: int, seed: int = 1) -> None:
    """Mail everybody once a month for a year; some read, some stop one day, some never do."""
    chance = random.Random(seed)
    campaigns = [make.launched() for _ in range(12)]
    messages, events = [], []
    for _ in range(people):
        person = make.subscriber()
        stops = chance.randint(0, 24)
        keen = chance.choice([0.2, 0.6, 0.95])
        for month, campaign in enumerate(campaigns):
            at = NOW - timedelta(days=30 * (12 - month) - 3)
            reads = at + timedelta(hours=3) if month < stops and chance.random() < keen else None
            messages.append(
                Message(
                    campaign=campaign,
                    subscriber=person,
                    email=person.email,
                    address_key=person.address_key,
                    status="sent",
                    sent_at=at,
                    delivered_at=at,
                    opened_at=reads,
                )
            )
    Message.objects.bulk_create(messages)
    for message in messages:
        for kind, when in (("delivered", message.delivered_at), ("opened", message.opened_at)):
            if when:
                events.append(
                    Event(
                        dedupe_key=f"{message.pk} {kind}",
                        type=kind,
                        occurred_at=when,
                        message_id=message.pk,
                        subscriber_id=message.subscriber_id,
                        is_machine=False if kind == "opened" else None,
                    )
                )
    Event.objects.bulk_create(events)
    list(feeling.rebuild(NOW, is_check=False))


def test_a_model_that_holds_on_what_it_never_saw_is_used_and_shown(admin_client: Client) -> None:
    year_of_mail(900)

    model = training.train(NOW)

    assert model.is_vouched, model.why_not
    assert model.metrics["auc"] > 0.75
    assert model.metrics["brier"] < model.metrics["brier_of_rate"]
    for each in model.metrics["bins"]:
        assert each["predicted"] == pytest.approx(each["happened"], abs=0.2)
    scoring.score_people(NOW)
    assert not Engagement.objects.filter(churn=None).exists()
    silent = Engagement.objects.filter(last_opened_at=None)
    keen = Engagement.objects.filter(last_opened_at__gte=NOW - timedelta(days=30), opened__gte=9)
    assert not silent.filter(churn__lte=keen.latest("churn").churn).exists()
    page = admin_client.get("/admin/subscribers/scorerun/").content.decode()
    assert "in use" in page
    assert f"{model.metrics['auc']:.3f}" in page


def test_without_enough_history_nobody_has_a_number(admin_client: Client) -> None:
    year_of_mail(20)
    out = StringIO()

    call_command("train_churn", stdout=out)
    scoring.score_people(timezone.now())

    assert "Too little history" in out.getvalue()
    assert not Engagement.objects.exclude(churn=None).exists()
    page = admin_client.get("/admin/subscribers/scorerun/").content.decode()
    assert "not used" in page
    assert "Too little history" in page


def test_chance_alone_is_not_vouched_for() -> None:
    noise = random.Random(3)
    labels = [noise.randint(0, 1) for _ in range(2000)]
    chances = [noise.random() for _ in labels]

    assert "hardly tells" in training._doubts(fitting.measure(chances, labels, rate=0.5))


def test_the_fit_finds_the_coefficients_that_made_the_data() -> None:
    noise = random.Random(5)
    rows = [(noise.gauss(3, 2), noise.gauss(-1, 0.5), 7.0) for _ in range(20_000)]
    labels = [
        int(noise.random() < fitting.probability([0.5, -0.8, 3.0, 0.0], (1.0, *row)))
        for row in rows
    ]

    _constant, first, second, same = fitting.fit(rows, labels)

    assert first == pytest.approx(-0.8, abs=0.05)
    assert second == pytest.approx(3.0, abs=0.2)
    assert same == pytest.approx(0.0, abs=1e-6)


def test_what_separates_without_error_has_an_answer_too() -> None:
    rows = [(float(n),) for n in range(200)]

    weights = fitting.fit(rows, [int(n >= 100) for n in range(200)])

    assert fitting.probability(weights, (1.0, 150.0)) > 0.99


def test_a_person_s_page_shows_score_curve_stage_and_hours(admin_client: Client) -> None:
    person = make.subscriber()
    row = Engagement.objects.create(
        subscriber=person, received=10, opened=4, first_received_at=NOW, heat=5,
        last_opened_at=timezone.now(), hours=[0] * 8 + [6] + [0] * 15,
    )  # fmt: skip
    scoring.score_people(timezone.now())
    ScoreDay.objects.create(
        subscriber=person, day=timezone.now().date() - timedelta(days=60), score=20, stage="dormant"
    )

    page = admin_client.get(f"/admin/subscribers/subscriber/{person.pk}/change/").content.decode()

    row.refresh_from_db()
    assert f"<b>{row.score}</b>" in page
    assert "8:00 by their clock, from 6 opens and clicks" in page
    assert "ui-stage-dormant" in page
    assert "no model vouches" in page


def test_who_got_nothing_yet_is_said_to_have_got_nothing(admin_client: Client) -> None:
    person = make.subscriber()

    page = admin_client.get(f"/admin/subscribers/subscriber/{person.pk}/change/").content.decode()

    assert "Nothing was sent to them yet." in page
