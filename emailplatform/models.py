"""API keys, shown once and stored as a hash; and who changed what with them."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta
from typing import Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

_SEEN_EVERY = timedelta(minutes=1)
_SHAPE = re.compile(r"(ep_[0-9a-f]{8})_[0-9a-f]{64}", re.ASCII)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def usable(self, now: datetime) -> Self:
        """Keys that are neither revoked nor expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)

    def find(self, plain: str, now: datetime) -> ApiKey | None:
        """Return the usable key whose text this is, and note that it was used."""
        shape = _SHAPE.fullmatch(plain)
        key = self.usable(now).filter(prefix=shape[1]).first() if shape else None
        # Compared in every case, so that no answer is quicker than another.
        fits = hmac.compare_digest(bytes(key.digest) if key else b"", ApiKey.digest_of(plain))
        if key is None or not fits:
            return None
        if key.last_used_at is None or now - key.last_used_at > _SEEN_EVERY:
            self.filter(pk=key.pk).update(last_used_at=now)
        return key


class ApiKey(models.Model):
    """A program's way in: a name, what it may do, and the hash of its text."""

    class Scope(models.TextChoices):
        READ = "read", "Read"
        MANAGE = "manage", "Create and change people, lists and campaigns"
        SEND = "send", "Start and pause sending"
        EXPORT = "export", "Take people out as a file"
        TRACK = "track", "Tell what people did: conversions, replies, own events"

    name = models.CharField(max_length=100, help_text="Who uses it, for example “shop backend”.")
    prefix = models.CharField(max_length=20, unique=True, editable=False)
    digest = models.BinaryField(max_length=32, editable=False)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope), default=list)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}_…)"

    @staticmethod
    def digest_of(plain: str) -> bytes:
        """Return what is stored. The text has 256 random bits: no salt or stretching is needed."""
        return hashlib.sha256(plain.encode("utf-8", "replace")).digest()

    def generate(self) -> str:
        """Give this unsaved key its text and return it: the only time it can be seen."""
        self.prefix = f"ep_{secrets.token_hex(4)}"
        plain = f"{self.prefix}_{secrets.token_hex(32)}"
        self.digest = self.digest_of(plain)
        return plain


class AuditEntry(models.Model):
    """Who changed what through the API, and when. The admin's own log has what people did there."""

    key = models.ForeignKey(ApiKey, models.SET_NULL, null=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    action = models.CharField(max_length=60)
    """“campaign.send”, “subscriber.partial_update”."""
    object_id = models.PositiveBigIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [models.Index(fields=["-at"], name="audit_newest")]

    def __str__(self) -> str:
        return f"{self.action} {self.object_id} by {self.key or self.user}"
