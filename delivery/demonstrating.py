"""The demo workspace: people, a segment, a template, a campaign, and sandboxed providers.

The sandbox keeps the providers' half of every secret in a file of its own; the platform only
has what a customer of the real provider would have.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
_KINDS = {"sendgrid": "SendGrid sandbox", "mailgun": "Mailgun sandbox"}


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


def make_sandbox_accounts(base_url: str, store: Path) -> list[ProviderAccount]:
    """Create one provider account per sandboxed ESP; the sandbox's half goes to `store`."""
    if ProviderAccount.objects.exists():
        return []
    halves, accounts = [], []
    for kind, name in _KINDS.items():
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
    ours = {
        "sendgrid": lambda: {
            "api_key": key,
            "api_url": f"{base_url}/sendgrid/v3/",
            "webhook_public_key": keys["public_key"],
        },
        "mailgun": lambda: {
            "api_key": key,
            "api_url": f"{base_url}/mailgun/v3",
            "domain": _DOMAIN,
            "webhook_signing_key": keys["signing_key"],
        },
    }[kind]()
    return ours, {"credentials": {"api_key": key}, "signing": keys}
