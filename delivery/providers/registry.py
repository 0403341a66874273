"""The kinds of provider there are. Adding one: its two modules, its line here, its page of docs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from delivery.providers import hearing, postmark_events, sendgrid_events
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


def problems_of(kind: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return what is wrong with an account's settings of hearing, by the name of the setting.

    A broken secret among good ones would let nobody prove anything.
    """
    problems = hearing.problems_of(values)
    name = KINDS[kind].proved_by
    lines = values.get(name, "").splitlines()
    if kind == SendGrid.kind and not all(sendgrid_events.is_key(each) for each in lines if each):
        problems[name] = "This is no verification key of SendGrid's; copy it again."
    if kind == Postmark.kind and not all(postmark_events.is_pair(each) for each in lines if each):
        problems[name] = "Give user:password, one pair per line; neither may be empty."
    return problems


def build(kind: str, account: Account) -> Provider:
    """Return the provider of an account. Raises KeyError for a kind there is not."""
    return KINDS[kind](account)
