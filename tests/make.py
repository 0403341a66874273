"""Rows for tests: plain functions, sensible defaults, every field can be given."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from campaigns import launching, personalising
from campaigns.models import Campaign, Content, Template
from delivery.models import Handoff, Mail, Message, ProviderAccount
from emailplatform.models import ApiKey
from emailplatform.secrets import address_key
from subscribers.mailboxes import mailbox_of
from subscribers.models import MailingList, Segment, Subscriber, Subscription, Suppression

_number = itertools.count(1)
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def subscriber(
    email: str = "", lists: list[MailingList] | None = None, **fields: Any
) -> Subscriber:
    email = email or f"person{next(_number)}@gmail.com"
    row = Subscriber.objects.create(
        email=email, address_key=address_key(email), mailbox=mailbox_of(email), **fields
    )
    for each in lists or []:
        Subscription.objects.create(subscriber=row, list=each)
    return row


def mailing_list(name: str = "", **fields: Any) -> MailingList:
    return MailingList.objects.create(name=name or f"List {next(_number)}", **fields)


def segment(rules: dict[str, Any], **fields: Any) -> Segment:
    return Segment.objects.create(name=fields.pop("name", f"Segment {next(_number)}"), rules=rules)


def suppression(email: str, reason: str = Suppression.Reason.BOUNCED, **fields: Any) -> Suppression:
    return Suppression.objects.create(address_key=address_key(email), reason=reason, **fields)


BODY = (
    "<html><body><h1>Hello {{ first_name }}</h1><p>News for you.</p>"
    '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>'
)


def template(**fields: Any) -> Template:
    defaults = {
        "name": f"Template {next(_number)}",
        "format": "html",
        "subject": "Hello {{ first_name }}",
        "body": BODY,
    }
    return Template.objects.create(**{**defaults, **fields})


def campaign(lists: list[MailingList] | None = None, **fields: Any) -> Campaign:
    """A complete draft: template, sender, and the lists it goes to."""
    defaults = {
        "name": f"Campaign {next(_number)}",
        "from_name": "Example Press",
        "from_email": "news@example.com",
    }
    row = Campaign(**{**defaults, **fields})
    row.template = row.template or template()
    row.save()
    row.lists.set(lists or [])
    return row


def launched(lists: list[MailingList] | None = None, **fields: Any) -> Campaign:
    """A campaign that is sending, content frozen, nothing expanded yet."""
    row = campaign(lists, **fields)
    source = row.template
    assert source is not None
    Content.objects.create(
        campaign=row,
        format=source.format,
        subject=source.subject,
        preheader=source.preheader,
        body=source.body,
        text=source.text,
        names=personalising.known_names(),
        constants=personalising.constants_of(row),
    )
    launching.number_links(row, launching.source_of(row))
    row.audience = {"lists": [each.pk for each in lists or []]}
    row.status = Campaign.Status.SENDING
    row.launched_at = timezone.now() - timedelta(minutes=1)
    row.save()
    return row


def account(name: str = "", kind: str = "sendgrid", **fields: Any) -> ProviderAccount:
    defaults = {"config": {"api_url": "http://127.0.0.1:9/v3/"}, "secrets": {"api_key": "key"}}
    return ProviderAccount.objects.create(
        name=name or f"{kind} {next(_number)}", kind=kind, **{**defaults, **fields}
    )


def message(campaign: Campaign | None, person: Subscriber | None = None, **fields: Any) -> Message:
    person = person or subscriber()
    return Message.objects.create(
        campaign=campaign,
        subscriber=person,
        email=person.email,
        address_key=person.address_key,
        mailbox=person.mailbox,
        **fields,
    )


def mail(email: str = "ana@gmail.com", **fields: Any) -> Message:
    """A message that was sent by API, with its mail."""
    row = Message.objects.create(
        email=email,
        address_key=address_key(email),
        mailbox=mailbox_of(email),
        **{"stream": "transactional", **fields},
    )
    Mail.objects.create(message=row, from_email="shop@example.com", subject="Hello", text="Hello")
    return row


def handoff(campaign: Campaign | None, provider: ProviderAccount, **fields: Any) -> Handoff:
    defaults = {
        "stream": "marketing",
        "mailbox": "gmail",
        "lease_until": timezone.now() + timedelta(minutes=1),
    }
    return Handoff.objects.create(campaign=campaign, provider=provider, **{**defaults, **fields})


def user(name: str = "", **fields: Any) -> User:
    name = name or f"user{next(_number)}"
    return User.objects.create_user(name, f"{name}@example.com", "correct horse battery", **fields)


def api_key(*scopes: str) -> str:
    """Return the text of a new key."""
    key = ApiKey(name=f"key {next(_number)}", scopes=list(scopes) or list(ApiKey.Scope.values))
    plain = key.generate()
    key.save()
    return plain
