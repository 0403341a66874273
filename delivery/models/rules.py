"""Routing rules: which providers somebody wants for whom, before any score is asked."""

from __future__ import annotations

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models, transaction
from django.db.models.functions import Now

from delivery.models.streams import Stream
from delivery.querysets import RoutingRuleQuerySet
from subscribers.mailboxes import Mailbox

PATTERN = r"^(\*\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z"
is_pattern = RegexValidator(
    PATTERN, "Write a domain, such as gmail.com, or *.gov for everything below gov."
)


def covers(pattern: str, domain: str) -> bool:
    """Say whether a pattern names a domain; `*.gov` names all below gov, not gov itself.

    >>> covers("gmail.com", "gmail.com"), covers("*.gov", "irs.gov"), covers("*.gov", "gov")
    (True, True, False)
    """
    return domain == pattern or (pattern.startswith("*.") and domain.endswith(pattern[1:]))


class Tier(models.TextChoices):
    """How a person has met our mail lately."""

    ENGAGED = "engaged", "Engaged: opened or clicked lately"
    NEW = "new", "New: known only for a short time"
    COLD = "cold", "Cold: neither"


class RoutingRule(models.Model):
    """For these people, these providers: in their order, first or only.

    Messages are stamped with the first rule that matches when they are queued
    (`Message.route`), and stamped anew when rules change: see `delivery.ruling`.
    """

    position = models.PositiveSmallIntegerField(default=0, editable=False)
    """The lowest one that matches counts."""
    name = models.CharField(max_length=100, unique=True)
    is_active = models.BooleanField("active", default=True)
    stream = models.CharField(max_length=20, choices=Stream, blank=True)
    domains = ArrayField(
        models.CharField(max_length=253, validators=[is_pattern]),
        default=list,
        blank=True,
        verbose_name="recipient domains",
    )
    mailbox = models.CharField("mailbox provider", max_length=10, choices=Mailbox, blank=True)
    """With `domains`: either is enough. Without both: everybody."""
    tier = models.CharField("people", max_length=10, choices=Tier, blank=True)
    providers = ArrayField(models.BigIntegerField(), default=list)
    """Ids of accounts, the first choice first. One that is gone is passed over."""
    is_strict = models.BooleanField("only these", default=False)
    """Wait for one of them rather than go through another."""

    objects = RoutingRuleQuerySet.as_manager()

    class Meta:
        ordering = ["position", "pk"]
        verbose_name = "routing rule"

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        with transaction.atomic():
            if not self.position:
                last = type(self).objects.order_by("-position").first()
                self.position = (last.position if last else 0) + 1
            super().save(*args, **kwargs)
            Stamping.note()

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        with transaction.atomic():
            Stamping.note()
            return super().delete(*args, **kwargs)

    def matches(self, email: str, mailbox: str, stream: str, tier: str) -> bool:
        """Say whether the rule is for mail like this; the same as its SQL says."""
        return (
            self.stream in {"", stream}
            and self.tier in {"", tier}
            and self._is_for(email.rpartition("@")[2], mailbox)
        )

    def _is_for(self, domain: str, mailbox: str) -> bool:
        if not (self.domains or self.mailbox):
            return True
        return mailbox == self.mailbox or any(covers(each, domain) for each in self.domains)


class Stamping(models.Model):
    """One row: when rules changed last, and when what is queued was stamped since.

    A lost task changes nothing: the next one compares the two.
    """

    changed_at = models.DateTimeField(db_default=Now())
    stamped_at = models.DateTimeField(null=True)
    """When the last complete stamping began."""

    def __str__(self) -> str:
        return f"rules changed {self.changed_at}, stamped {self.stamped_at}"

    @classmethod
    def note(cls) -> None:
        """Remember that rules have changed now."""
        cls.objects.update_or_create(pk=1, defaults={"changed_at": Now()})
