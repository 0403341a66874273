"""What is known of the domains of addresses: each is asked about once, however many people."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from subscribers.flagging import Kind
from subscribers.models.checks import CheckRun
from subscribers.querysets import DomainQuerySet
from subscribers.resolving import State


class Domain(models.Model):
    """The part of addresses behind the @, and what speaks against it."""

    name = models.CharField(max_length=254, primary_key=True, db_collation="C")
    state = models.CharField(max_length=10, choices=State, db_default=State.UNKNOWN)
    """What DNS said last."""
    detail = models.CharField(max_length=300, blank=True, db_default="")
    """The same as a sentence."""
    flags = ArrayField(models.CharField(max_length=10, choices=Kind), default=list, db_default=[])
    """`Kind`s, those of the spelling too."""
    tries = models.PositiveSmallIntegerField(db_default=0, default=0)
    """How often in a row nobody answered."""
    checked_at = models.DateTimeField(null=True)
    """When DNS answered last; empty: never."""
    due_at = models.DateTimeField(db_default=Now())
    """When it is asked about again; until then the answer counts."""

    wanted_by = models.ForeignKey(
        CheckRun, models.SET_NULL, null=True, related_name="wanted", db_index=False
    )
    """The re-check that has yet to ask about it."""

    objects = DomainQuerySet.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["due_at"], name="domain_due"),
            models.Index(fields=["name"], name="domain_flagged", condition=~Q(flags=[])),
            models.Index(
                fields=["wanted_by", "name"],
                name="domain_wanted",
                condition=Q(wanted_by__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name
