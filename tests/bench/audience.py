"""The admin before a full house: how long its pages of people take at a million of them."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from subscribers.models import MailingList, Segment, Subscriber
from tests.bench.processes import Failed
from tests.bench.table import Table
from webhooks import peopling

BUDGET_MS = 200
ROUNDS = 7
"""Requests that count, after two that warm up."""
PEOPLE = "/admin/subscribers/subscriber/"


def make(table: Table, people: int, events: int) -> None:
    """Make an audience up."""
    started = time.monotonic()
    made = peopling.make(people, events, seed=1, now=timezone.now(), say=_nothing)
    seconds = time.monotonic() - started
    note = f"{made.people:,} people, {made.messages:,} mails, {made.events:,} events"
    table.add("make_audience_s", seconds, "s", note)


def measure(table: Table) -> None:
    """Ask for every page of people; the middle of the times counts."""
    client = _client()
    for name, path in _pages().items():
        times = [_ms(client, path) for _ in range(ROUNDS + 2)][2:]
        note = f"worst {max(times):.0f}; budget {BUDGET_MS}"
        table.add(f"admin_ms_{name}", median(times), "ms", note)


def _nothing(_what: str, _done: int, _total: int) -> None:
    """Show no progress: the table is what is looked at."""


def _client() -> Client:
    user = get_user_model().objects.create_superuser("bench", "bench@example.com", "bench")
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(user)
    return client


def _pages() -> dict[str, str]:
    person = Subscriber.objects.filter(message__isnull=False).order_by("-pk").first()
    if person is None:
        raise Failed("The audience has nobody who ever got mail.")
    source = MailingList.objects.get(name="Newsletter")
    segment = Segment.objects.get(name="German members")
    beginning = person.email[:4]
    return {
        "list": PEOPLE,
        "search_beginning": f"{PEOPLE}?q={beginning}",
        "search_address": f"{PEOPLE}?q={person.email}",
        "search_nobody": f"{PEOPLE}?q=zzzz",
        "filter_active": f"{PEOPLE}?status=active",
        "filter_complained": f"{PEOPLE}?status=complained",
        "filter_list": f"{PEOPLE}?list={source.pk}",
        "filter_left_list": f"{PEOPLE}?list={source.pk}-unsubscribed",
        "filter_language": f"{PEOPLE}?language=ja",
        "filter_mailbox": f"{PEOPLE}?mailbox=apple",
        "filter_segment": f"{PEOPLE}?segment={segment.pk}",
        "filter_search": f"{PEOPLE}?q={beginning}&status=active",
        "person": f"{PEOPLE}{person.pk}/change/",
        "person_timeline": f"/admin/webhooks/event/of-person/{person.pk}/",
        "mailing_list": f"/admin/subscribers/mailinglist/{source.pk}/change/",
        "lists": "/admin/subscribers/mailinglist/",
        "suppressions": "/admin/subscribers/suppression/",
    }


def _ms(client: Client, path: str) -> float:
    started = time.perf_counter()
    answer: Any = client.get(path)
    spent = (time.perf_counter() - started) * 1000
    if answer.status_code != 200:
        raise Failed(f"{path} answered {answer.status_code}.")
    return spent
