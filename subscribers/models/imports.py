"""Imports: a file of people, the addresses it has met, and the rows it refused."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from emailplatform.states import StatefulModel
from subscribers.models.lists import MailingList
from subscribers.querysets import ImportQuerySet


class Import(StatefulModel):
    """One file of people: how it is read, how far it has got, what became of its rows."""

    class Status(models.TextChoices):
        MAPPING = "mapping", "Waiting for columns to be confirmed"
        QUEUED = "queued", "Waiting to start"
        RUNNING = "running", "Importing"
        PAUSED = "paused", "Paused"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    class Known(models.TextChoices):
        UPDATE = "update", "Update them with what the file says"
        SKIP = "skip", "Leave them as they are"
        ADD = "add", "Only add them to the list"

    TRANSITIONS = {
        Status.MAPPING: frozenset({Status.QUEUED, Status.CANCELLED, Status.FAILED}),
        Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.CANCELLED}),
        Status.RUNNING: frozenset({Status.DONE, Status.FAILED, Status.PAUSED, Status.CANCELLED}),
        Status.PAUSED: frozenset({Status.QUEUED, Status.CANCELLED}),
    }

    status = models.CharField(max_length=20, choices=Status, default=Status.MAPPING)
    filename = models.CharField(max_length=255)
    file = models.FileField(upload_to="imports/%Y/%m/", max_length=300)
    headers = models.JSONField(default=list, editable=False)
    """Column names in order, none empty and none twice."""
    tags = ArrayField(
        models.CharField(max_length=50), default=list, db_default=[], blank=True, size=20
    )
    """Given to everybody in the file, beside those of their own row."""
    workbook = models.FileField(upload_to="imports/%Y/%m/", max_length=300, blank=True)
    """The Excel workbook that `file` was made from; kept while another sheet may be chosen."""
    sheet = models.CharField(max_length=100, blank=True, db_default="")
    sheets = models.JSONField(default=list, db_default=[], editable=False)
    """Names of the sheets of `workbook`."""
    list = models.ForeignKey(MailingList, models.PROTECT, null=True, blank=True)
    encoding = models.CharField(max_length=20, blank=True)
    delimiter = models.CharField(max_length=1, blank=True)
    mapping = models.JSONField(default=dict)
    """Column header -> field ("email", "first_name", …, "attributes.plan") or "" to leave out."""
    known = models.CharField(max_length=10, choices=Known, default=Known.UPDATE)
    size = models.PositiveBigIntegerField(default=0)
    """Bytes of the file; `offset` of them are done."""
    offset = models.PositiveBigIntegerField(default=0)
    line = models.PositiveBigIntegerField(default=0)
    """Line number of the last row done, the header being line 1."""
    rows = models.PositiveIntegerField(default=0)
    """Always the sum of created, updated, unchanged, duplicate and refused rows."""
    created_count = models.PositiveIntegerField(default=0)
    updated_count = models.PositiveIntegerField(default=0)
    unchanged_count = models.PositiveIntegerField(default=0)
    """Known people of whom the file says nothing new, or who are left as they are (`known`)."""
    duplicate_count = models.PositiveIntegerField(default=0)
    """Rows whose address stood further up in the file: the first one counts."""
    refused_count = models.PositiveIntegerField(default=0)
    subscribed_count = models.PositiveIntegerField(default=0)
    """People who were not on the list before and are now."""
    unmailable_count = models.PositiveIntegerField(default=0)
    """Of those taken: who gets no mail all the same, having unsubscribed, bounced or complained."""
    held_count = models.PositiveIntegerField(default=0, db_default=0)
    """People on the list who get no mail until somebody looked at their address."""
    reasons = models.JSONField(default=dict)
    """Reason in words -> how many rows were refused for it."""
    warnings = models.JSONField(default=dict)
    """What is odd, in words -> in how many rows; they were taken all the same."""
    error = models.CharField(max_length=500, blank=True)
    """Why the whole file failed, in one sentence."""
    undo_asked_at = models.DateTimeField(null=True, blank=True)
    undone_at = models.DateTimeField(null=True, blank=True)
    """When a worker took the people off the list again."""
    undone_count = models.PositiveIntegerField(db_default=0, default=0)
    lease_until = models.DateTimeField(null=True, blank=True)
    """Until when a worker owns a running import; afterwards another goes on from `offset`."""
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = ImportQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.filename

    @property
    def share_done(self) -> float:
        """Return how much of the file is done, from 0.0 to 1.0."""
        if self.status == self.Status.DONE:
            return 1.0
        return min(self.offset / self.size, 1.0) if self.size else 0.0

    @property
    def is_working(self) -> bool:
        """Is it waiting for a worker or being worked on?"""
        return self.status in {self.Status.QUEUED, self.Status.RUNNING}

    @property
    def is_undoable(self) -> bool:
        """Has it ended, and put people on a list from whom nobody took them yet?"""
        is_over = self.finished_at is not None and bool(self.subscribed_count)
        return is_over and self.list_id is not None and self.undo_asked_at is None

    @property
    def policies(self) -> dict[str, str]:
        """What the list does with flagged addresses; without a list all are taken."""
        return self.list.policies if self.list else {}

    def pause(self) -> None:
        """Stop after what is committed; `resume` goes on from there."""
        self.move_to(self.Status.PAUSED, lease_until=None)

    def resume(self) -> None:
        """Let a worker go on where the import stopped."""
        self.move_to(self.Status.QUEUED, lease_until=None)

    def cancel(self) -> None:
        """Stop for good. People taken so far stay; the file is deleted."""
        self.finish(self.Status.CANCELLED)

    def discard(self) -> None:
        """Undo an upload that was never confirmed: row and file."""
        self.finish(self.Status.CANCELLED)
        self.delete()

    def finish(self, status: str, error: str = "") -> None:
        """End in `status` (done, failed, cancelled) and let go of the file: it holds addresses."""
        self.move_to(status, finished_at=timezone.now(), lease_until=None, error=error[:500])
        SeenAddress.objects.filter(source_id=self.pk).delete()
        self.file.delete(save=False)
        self.let_go_of_workbook()

    def let_go_of_workbook(self) -> None:
        """Delete the workbook, if there is one; what its sheet became stays."""
        if self.workbook:
            self.workbook.delete(save=False)
            type(self).objects.filter(pk=self.pk).update(workbook="")


class SeenAddress(models.Model):
    """An address a running import has met: how a row further down is known for a repetition."""

    pk = models.CompositePrimaryKey("source_id", "key")
    # Rows live no longer than a run and are written by it alone: checking each costs a tenth of it.
    source = models.ForeignKey(
        Import, models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    key = models.BinaryField(max_length=16)
    """The first half of `address_key`."""

    def __str__(self) -> str:
        return f"{self.source_id}: {bytes(self.key).hex()}"


class RefusedRow(models.Model):
    """A row of an import that was not taken, and why: the error file is made from these."""

    source = models.ForeignKey(Import, models.CASCADE, related_name="refused")
    line = models.PositiveBigIntegerField()
    reason = models.CharField(max_length=300)
    content = models.CharField(max_length=500)
    """The row as it stood, clipped."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "line"], name="refused_row_once"),
        ]

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"
