"""The kinds of provider there are. Adding one: its two modules, its line here, its page of docs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from delivery.providers.base import Account, Provider
from delivery.providers.mailgun import Mailgun
from delivery.providers.postmark import Postmark
from delivery.providers.sendgrid import SendGrid
from delivery.providers.ses import SES
from delivery.providers.smtp import SMTP

KINDS: Mapping[str, type[Provider]] = MappingProxyType(
    {provider.kind: provider for provider in (SendGrid, SES, Mailgun, Postmark, SMTP)}
)
CHOICES = [(kind, provider.label) for kind, provider in KINDS.items()]


def heard_as(name: str) -> list[str]:
    """Return the kinds that a webhook address calls so: “generic” is what SMTP accounts speak."""
    return [kind for kind, each in KINDS.items() if name in (kind, each.webhook_kind)]


def build(kind: str, account: Account) -> Provider:
    """Return the provider of an account. Raises KeyError for a kind there is not."""
    return KINDS[kind](account)
