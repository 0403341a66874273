"""What people agreed to and took back: an append-only record in hash chains.

A chain per person (by the key of their address) and one per import, so that writers do not wait
for each other. A trigger numbers and hashes each row, another refuses changes: see the migration.
`subscribers.verifying` recomputes all of it.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GistIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from subscribers.consents import ConsentRecordQuerySet, ConsentTextQuerySet
from subscribers.multiranges import Multirange


class ConsentText(models.Model):
    """A text somebody agreed to. Never changed: another text is another version."""

    digest = models.CharField(max_length=64, primary_key=True)
    """SHA-256 of label, language and text."""
    label = models.CharField(max_length=120)
    """Where it stands: “form newsletter”."""
    language = models.CharField(max_length=16)
    version = models.PositiveIntegerField()
    """Counts the texts of one label and language, from 1."""
    text = models.TextField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ConsentTextQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["label", "language", "version"], name="consent_text_version_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.label} ({self.language}), version {self.version}"


class ConsentChain(models.Model):
    """The end of a chain: how long it is, and its last hash. Only the trigger writes it."""

    key = models.BinaryField(max_length=32, primary_key=True)
    number = models.PositiveIntegerField()
    hash = models.BinaryField(max_length=32)

    def __str__(self) -> str:
        return f"{bytes(self.key).hex()}: {self.number}"


class ConsentRecord(models.Model):
    """One change of what somebody agreed to. Written by `ConsentRecord.objects`, never changed."""

    class Action(models.TextChoices):
        ASKED = "asked", "Asked to join"
        SUBSCRIBED = "subscribed", "Joined"
        CONFIRMED = "confirmed", "Confirmed"
        IMPORTED = "imported", "Imported"
        TAKEN_OFF = "taken_off", "Import taken back"
        LEFT = "left", "Left"
        LEFT_ALL = "left_all", "Left everything"
        RETURNED = "returned", "Came back"
        SUPPRESSED = "suppressed", "Suppressed"
        LET_BACK = "let_back", "Let back in"
        CHOSE = "chose", "Changed preferences"

    class Via(models.TextChoices):
        FORM = "form", "a sign-up form"
        CONFIRMATION = "confirmation", "the link in the confirmation mail"
        PAGE = "page", "the preference page"
        UNSUBSCRIBE = "unsubscribe", "the unsubscribe page"
        ONE_CLICK = "one_click", "the unsubscribe button of a mail program"
        API = "api", "the API"
        ADMIN = "admin", "the team"
        IMPORT = "import", "an import"
        PROVIDER = "provider", "a provider’s report"
        SYSTEM = "system", "the platform"

    chain = models.BinaryField(max_length=32)
    """`secrets.address_key` of the person, or the import's own: it outlives the person's row."""
    number = models.PositiveIntegerField()
    """Place in the chain, from 1."""
    person = models.BigIntegerField(null=True)
    """Key of the Subscriber, who may be gone."""
    people = Multirange(null=True)
    """Of an import's chunk: the keys of all whom it put on the list."""
    action = models.CharField(max_length=12, choices=Action)
    lists = ArrayField(models.BigIntegerField(), default=list)
    via = models.CharField(max_length=12, choices=Via)
    source = models.CharField(max_length=200, blank=True)
    """In words: “import 5: people.csv”, “unsubscribed by ana”."""
    language = models.CharField(max_length=16, blank=True)
    """Which one the page spoke."""
    text = models.ForeignKey(ConsentText, models.PROTECT, null=True, db_index=False)
    at = models.DateTimeField()
    details = models.JSONField(null=True)
    """{"ip", "user_agent", …}: what may be erased. The chain holds its salted hash only."""
    salt = models.BinaryField(max_length=16, null=True)
    details_hash = models.BinaryField(max_length=32)
    erased_at = models.DateTimeField(null=True)
    """When details were erased: at the person's wish, or by age."""
    hash = models.BinaryField(max_length=32)
    """SHA-256 of all of the above and the previous row's: `subscribers.verifying`."""

    objects = ConsentRecordQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["chain", "number"], name="consent_record_place"),
        ]
        indexes = [
            GistIndex(
                fields=["people"], name="consent_of_imports", condition=Q(people__isnull=False)
            ),
            models.Index(
                fields=["at"], name="consent_details", condition=Q(erased_at__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_action_display()} via {self.get_via_display()}"


class ConsentAnchor(models.Model):
    """A seal over every record up to one, by a key the database does not have.

    Without it, who owns the database could write all chains anew, or cut off their ends.
    """

    up_to = models.BigIntegerField()
    """The last record it covers; those after the previous anchor's."""
    count = models.PositiveBigIntegerField()
    """Of records since the previous anchor."""
    digest = models.BinaryField(max_length=32)
    """SHA-256 of the previous anchor's digest and the hashes, in the order of their keys."""
    seal = models.BinaryField(max_length=32)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"anchor {self.pk} at {self.at:%Y-%m-%d %H:%M}"
