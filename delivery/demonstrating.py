"""The demo workspace: people, a segment, a template, a campaign, and sandboxed providers.

The sandbox keeps the providers' half of every secret in a file of its own; the platform only
has what a customer of the real provider would have.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction

from campaigns.models import Campaign, Template
from delivery.models import ProviderAccount
from delivery.provisioning import split_secrets
from delivery.sandbox.config import Account
from delivery.sandbox.signing import make_keys
from subscribers.models import MailingList, Segment

LIST = "Newsletter"
SEGMENT = "Members"
TEMPLATE = "November newsletter"
CAMPAIGN = "November issue"
RULES: dict[str, Any] = {
    "match": "any",
    "rules": [
        {"field": "attributes.plan", "op": "is", "value": "pro"},
        {"field": "attributes.plan", "op": "is", "value": "team"},
    ],
}
_DOMAIN = "press.example"
_LABELS = {
    "sendgrid": "SendGrid sandbox",
    "mailgun": "Mailgun sandbox",
    "postmark": "Postmark sandbox",
    "ses": "Amazon SES sandbox",
    "smtp": "SMTP sandbox",
}


@dataclass(frozen=True, slots=True)
class Workspace:
    """What the demo works with."""

    mailing_list: MailingList
    segment: Segment
    template: Template
    campaign: Campaign


def make_admin() -> str | None:
    """Create the first administrator and return the generated password; None if there is one."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser("admin", "admin@example.com", password)
    return password


@transaction.atomic
def make_workspace(body: str) -> Workspace:
    """Create list, segment, template and a draft campaign, unless they are there."""
    mailing_list, _ = MailingList.objects.get_or_create(
        name=LIST, defaults={"description": "Guides and numbers, once a month."}
    )
    segment, _ = Segment.objects.get_or_create(name=SEGMENT, defaults={"rules": RULES})
    template, _ = Template.objects.get_or_create(
        name=TEMPLATE,
        defaults={
            "format": Template.Format.MJML,
            "subject": "{{ first_name | default('Hello') }}, three guides and one experiment",
            "preheader": "How to keep a list people are glad to be on",
            "body": body,
        },
    )
    campaign, is_new = Campaign.objects.get_or_create(
        name=CAMPAIGN,
        defaults={
            "template": template,
            "from_name": "Example Press",
            "from_email": f"news@{_DOMAIN}",
            "reply_to": f"editors@{_DOMAIN}",
        },
    )
    if is_new:
        campaign.segments.add(segment)
    return Workspace(mailing_list, segment, template, campaign)


def make_sandbox_accounts(
    base_url: str, store: Path, kinds: Iterable[str] = ("sendgrid", "mailgun")
) -> list[ProviderAccount]:
    """Create one provider account of each kind; the sandbox's half of it goes to `store`."""
    if ProviderAccount.objects.exists():
        return []
    halves, accounts = [], []
    for kind in kinds:
        name = _LABELS[kind]
        ours, theirs = _halves(kind, base_url)
        config, hidden = split_secrets(kind, ours)
        accounts.append(
            ProviderAccount.objects.create(name=name, kind=kind, config=config, secrets=hidden)
        )
        halves.append({"name": name, "kind": kind, "domain": _DOMAIN, **theirs})
    store.parent.mkdir(parents=True, exist_ok=True)
    store.touch(mode=0o600)
    store.write_text(json.dumps(halves, indent=1), encoding="utf-8")
    return accounts


def sandbox_accounts(store: Path) -> list[Account]:
    """Return the sandbox's accounts, each posting its events to where the platform listens now."""
    if not store.exists():
        return []
    urls = {account.name: account.webhook_url for account in ProviderAccount.objects.all()}
    halves = json.loads(store.read_text(encoding="utf-8"))
    return [
        Account.from_json({**half, "webhook_url": urls[half["name"]]})
        for half in halves
        if half["name"] in urls
    ]


def _halves(kind: str, base_url: str) -> tuple[dict[str, str], Mapping[str, Any]]:
    """Return (what the platform is told, what the sandbox keeps) for a new account."""
    key = f"sandbox-{secrets.token_hex(16)}"
    keys = make_keys(kind)
    theirs = {
        "postmark": {"server_token": key},
        "ses": {"access_key_id": "AKIASANDBOX", "secret_access_key": key},
        "smtp": {"username": "sandbox", "password": key},
    }.get(kind, {"api_key": key})
    ours: dict[str, str] = {
        "sendgrid": lambda: {
            "api_url": f"{base_url}/sendgrid/v3/",
            "webhook_public_key": keys["public_key"],
        },
        "mailgun": lambda: {
            "api_url": f"{base_url}/mailgun/v3",
            "domain": _DOMAIN,
            "webhook_signing_key": keys["signing_key"],
        },
        "postmark": lambda: {
            "api_url": f"{base_url}/postmark/",
            "webhook_basic_auth": f"{keys['user']}:{keys['password']}",
        },
        "ses": lambda: {
            "region": "us-east-1",
            "endpoint_url": f"{base_url}/ses",
            "topic_arns": keys["topic_arn"],
            "sns_certificate": keys["certificate"],
        },
        "smtp": lambda: {
            "host": "127.0.0.1",
            "port": str(settings.SANDBOX_SMTP_PORT),
            "security": "none",
        },
    }[kind]()
    return {**theirs, **ours}, {"credentials": theirs, "signing": keys}
