"""When data was last ended by age."""

from __future__ import annotations

from django.db import models

from subscribers.querysets.retention import RetentionRunQuerySet


class RetentionRun(models.Model):
    """How far one kind of data has been ended by age: `subscribers.retaining`."""

    kind = models.CharField(max_length=30, unique=True)
    ran_at = models.DateTimeField()
    ended = models.PositiveIntegerField()
    """Rows at the last run."""
    total = models.PositiveBigIntegerField(db_default=0)
    done_until = models.DateTimeField(null=True)
    """Nothing is kept that is older."""
    begun_until = models.DateTimeField(null=True)
    """Of what is older, some may be gone."""

    objects = RetentionRunQuerySet.as_manager()

    class Meta:
        verbose_name = "retention"
        verbose_name_plural = "retention"
        ordering = ["kind"]

    def __str__(self) -> str:
        return self.kind
