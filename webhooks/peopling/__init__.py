"""A made-up audience of any size, for looking and measuring: set-based, so a million is minutes.

People in twelve places with names, fields, tags and lists; a year of campaigns to them, with what
became of every mail; events, counters, suppressions. Everything agrees: events give the marks that
messages have, and marks the counters. All of it in one transaction: it is there, or it is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max

from campaigns.models import Campaign, Content, Template
from delivery import counting
from delivery.models import Expansion, Message, ProviderAccount
from emailplatform.errors import InvalidInput
from subscribers.mailboxes import MAILBOX_OF_DOMAIN
from subscribers.models import Attribute, MailingList, Segment, Subscriber
from webhooks.peopling import statements, words
from webhooks.peopling.loading import without_indexes

SOURCE = "made up"
YEAR = timedelta(days=365)
LAST_CAMPAIGN = timedelta(days=2)
"""Before now: nearly everybody who reads it has read it."""
_SHARE = 0.3
"""Of the people a campaign is for, as a rule: 28 of them carry ten million events to a million."""
_EVENTS_PER_MESSAGE = 1.4
"""Before the first campaign tells."""
_MOST_CAMPAIGNS = 500
_PERSON_TABLES = (
    "subscribers_subscriber",
    "subscribers_subscription",
    "subscribers_suppression",
    "subscribers_engagement",
    "delivery_message",
    "webhooks_event",
)
_BODY = (
    "<html><body><h1>{{ campaign }}</h1><p>Hello {{ first_name | default('you') }}.</p>"
    '<p><a href="https://shop.example/new">What is new</a></p>'
    '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>'
)
_URLS = [f"https://shop.example/{page}" for page in ("new", "sale", "guides/1", "guides/2", "app")]
_ATTRIBUTES = (
    ("plan", "Plan", "text"),
    ("city", "City", "text"),
    ("points", "Points", "number"),
    ("orders", "Orders", "number"),
    ("birthday", "Birthday", "date"),
    ("is_member", "Member", "boolean"),
)
_SEGMENTS = (
    ("Pays for it", "any", (("attributes.plan", "pro"), ("attributes.plan", "team"))),
    ("German members", "all", (("language", "de"), ("attributes.is_member", True))),
)


@dataclass(slots=True)
class Made:
    """How much there is of everything afterwards; the counts of what was asked for."""

    people: int = 0
    campaigns: int = 0
    messages: int = 0
    events: int = 0


Say = Callable[[str, int, int], None]
"""Told what is being made, how much of it there is, and how much there will be."""


@transaction.atomic
def make(people: int, events: int, seed: int, now: datetime, say: Say) -> Made:
    """Make so many people and about so many events, the same ones for the same seed and `now`.

    Raises InvalidInput for numbers that cannot be.
    """
    if people < 1 or events < 0:
        raise InvalidInput("Ask for at least one person, and for no less than no events.")
    count = min(_MOST_CAMPAIGNS, -(-events // max(1, round(people * _SHARE * 1.2))))
    audience = _Audience(people, count, seed, now)
    made = Made(people=people, campaigns=count)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        say("People", 0, people)
        audience.gather(cursor)
        campaigns = _campaigns(audience)
        with without_indexes(_PERSON_TABLES):
            for messages, happened in audience.mail(cursor, campaigns, events):
                made.messages += messages
                made.events += happened
                say("Events", made.events, events)
            say("People", people, people)
            audience.settle(cursor, campaigns)
            say("Indexes", 0, 0)
        for each in campaigns:
            counting.rebuild(each.pk)
        say("Statistics", 0, 0)
        cursor.execute("DROP TABLE crowd, places, last_seen")
        for table in _PERSON_TABLES:
            cursor.execute(f"ANALYZE {table}")
    return made


class _Audience:
    """The numbers every statement needs, and the statements in their order."""

    def __init__(self, people: int, campaigns: int, seed: int, now: datetime) -> None:
        highest = Subscriber.objects.aggregate(highest=Max("pk"))["highest"] or 0
        gap = YEAR / max(1, campaigns)
        self.count, self.seed, self.gap = campaigns, seed, gap
        self.begin = now - YEAR - LAST_CAMPAIGN
        self.values: dict[str, Any] = {
            "people": people,
            "first": highest + 1,
            "campaigns": max(1, campaigns),
            "now": now,
            "begin": self.begin,
            "gap": gap,
            "source": SOURCE,
        }

    def launched(self, number: int) -> datetime:
        """Return when campaign `number` (from 1) was."""
        return self.begin + number * self.gap

    def gather(self, cursor: Any) -> None:
        """Make everybody up, in a table that is gone afterwards."""
        cursor.execute(statements.DRAW.format(seed=self.seed * 1_000))
        cursor.execute(statements.PICK)
        cursor.execute("DROP TABLE IF EXISTS pg_temp.crowd, pg_temp.places, pg_temp.last_seen")
        columns = zip(*words.PLACES, strict=True)
        names = ("weights", "languages", "countries", "zones", "cities", "first", "last")
        places = dict(zip(names, map(list, columns), strict=True))
        cursor.execute(statements.PLACES, places)
        crowd = statements.CROWD.format(domain=_domain(), mailbox=_mailbox())
        inner, outer = _hmac_pads()
        cursor.execute(crowd, {**self.values, "inner": inner, "outer": outer})
        cursor.execute("CREATE UNIQUE INDEX ON crowd (id)")
        cursor.execute("ANALYZE crowd")

    def mail(
        self, cursor: Any, campaigns: list[Campaign], events: int
    ) -> Iterator[tuple[int, int]]:
        """Send every campaign; yield how many messages and events it came to.

        Each reaches as many as are needed for the events that are left over.
        """
        accounts = [account.pk for account in _accounts()]
        sent = happened = 0
        for number, campaign in enumerate(campaigns, 1):
            values = {**self.values, "number": number, "launched": self.launched(number)}
            cursor.execute(statements.ELIGIBLE, values)
            eligible = cursor.fetchone()[0]
            ratio = happened / sent if sent else _EVENTS_PER_MESSAGE
            wanted = (events - happened) / (len(campaigns) - number + 1) / ratio
            values |= {
                **_programs(),
                "campaign": campaign.pk,
                "accounts": accounts,
                "share": min(1.0, max(0.0, wanted / max(1, eligible))),
                "urls": _URLS,
            }
            cursor.execute(statements.MAILING, values)
            row = cursor.fetchone()
            sent, happened = sent + row[0], happened + row[1]
            yield row

    def settle(self, cursor: Any, campaigns: list[Campaign]) -> None:
        """Write people as they are now, after all that happened to them."""
        ended_at = statements.ENDED_AT
        cursor.execute(statements.LAST_SEEN, [[each.pk for each in campaigns]])
        values = {**self.values, "tags": list(words.TAGS)}
        cursor.execute(statements.SUBSCRIBERS.format(ended_at=ended_at), values)
        cursor.execute(statements.ENGAGEMENT)
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence('subscribers_subscriber', 'id'), max(id))"
            " FROM subscribers_subscriber"
        )
        for number, (name, description, share) in enumerate(words.LISTS):
            row, _ = MailingList.objects.get_or_create(
                name=name, defaults={"description": description}
            )
            values = {**self.values, "list": row.pk, "number": number, "share": share}
            cursor.execute(statements.SUBSCRIPTIONS.format(ended_at=ended_at), values)
        cursor.execute(statements.SUPPRESSIONS.format(ended_at=ended_at), self.values)
        _name_fields()


def _domain() -> str:
    """Return SQL that turns `chance` into the domain of an address."""
    shares = accumulate(weight / 100 for weight, _ in words.DOMAINS)
    names = [name for _, name in words.DOMAINS]
    arms = " ".join(
        f"WHEN chance < {share:.4f} THEN '{name}'"
        for share, name in zip(shares, names, strict=True)
    )
    company = f"floor({words.COMPANIES} * power(pg_temp.draw(id, 7), 2))"
    return f"CASE {arms} ELSE 'company' || {company} || '.example' END"


def _mailbox() -> str:
    """Return the arms of an SQL CASE from a domain to its mailbox provider."""
    known = {name: MAILBOX_OF_DOMAIN[name] for _, name in words.DOMAINS}
    return " ".join(f"WHEN domain = '{name}' THEN '{box}'" for name, box in known.items())


def _hmac_pads() -> tuple[bytes, bytes]:
    """Return the two keys of HMAC-SHA256 (RFC 2104): the database makes `secrets.address_key`."""
    key = settings.ADDRESS_KEY.encode()
    key = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    return bytes(byte ^ 0x36 for byte in key), bytes(byte ^ 0x5C for byte in key)


def _programs() -> dict[str, list[Any]]:
    """Return the columns of `words.PROGRAMS`, and its row numbers as often as they weigh."""
    weights, devices, clients, systems, agents = map(list, zip(*words.PROGRAMS, strict=True))
    places = [number for number, weight in enumerate(weights, 1) for _ in range(weight)]
    return {
        "places": places,
        "devices": devices,
        "clients": clients,
        "systems": systems,
        "agents": agents,
    }


def _accounts() -> list[ProviderAccount]:
    """Return two providers that carry nothing: the mail made up here was never sent."""
    return [
        ProviderAccount.objects.get_or_create(
            name=name, defaults={"kind": kind, "status": ProviderAccount.Status.PAUSED}
        )[0]
        for name, kind in (("Made up: SendGrid", "sendgrid"), ("Made up: Postmark", "postmark"))
    ]


def _campaigns(audience: _Audience) -> list[Campaign]:
    template, _ = Template.objects.get_or_create(
        name="Made up", defaults={"format": "html", "subject": words.SUBJECTS[0], "body": _BODY}
    )
    made = Campaign.objects.bulk_create(
        _campaign(number, template, audience) for number in range(1, audience.count + 1)
    )
    Content.objects.bulk_create(
        Content(campaign=each, format="html", subject=each.subject, body=_BODY) for each in made
    )
    Expansion.objects.bulk_create(
        Expansion(campaign=each, done_at=each.finished_at) for each in made
    )
    return made


def _campaign(number: int, template: Template, audience: _Audience) -> Campaign:
    launched = audience.launched(number)
    subject = words.SUBJECTS[number % len(words.SUBJECTS)]
    return Campaign(
        name=f"{subject} ({launched:%d %b %Y})",
        subject=subject,
        template=template,
        status=Campaign.Status.SENT,
        from_name="Example Press",
        from_email="news@press.example",
        audience={"lists": [], "segments": [], "frozen_at": launched.isoformat()},
        launched_at=launched,
        finished_at=launched + timedelta(hours=1),
        created_at=launched - timedelta(days=3),
    )


def _name_fields() -> None:
    """Make the fields of people known, and two segments that ask for them."""
    Attribute.objects.bulk_create(
        (Attribute(name=name, label=label, type=kind) for name, label, kind in _ATTRIBUTES),
        ignore_conflicts=True,
    )
    for name, match, rules in _SEGMENTS:
        conditions = [{"field": field, "op": "is", "value": value} for field, value in rules]
        Segment.objects.get_or_create(
            name=name, defaults={"rules": {"match": match, "rules": conditions}}
        )


def is_empty() -> bool:
    """Say whether there is nobody and nothing yet that this could get mixed up with."""
    return not (Subscriber.objects.exists() or Message.objects.exists())
