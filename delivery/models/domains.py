"""The domains mails are sent from, and what belongs to each."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from delivery.querysets import SendingDomainQuerySet

HOST = RegexValidator(
    r"^(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]\Z",
    "Write a name like example.com, without https:// and in small letters (xn--… for others).",
)


class SendingDomain(models.Model):
    """A domain of From addresses, and the host its counted links lead to."""

    domain = models.CharField(
        max_length=253,
        unique=True,
        validators=[HOST],
        help_text="What stands behind the @ of the sender's address, like example.com.",
    )
    tracking_host = models.CharField(
        max_length=253,
        unique=True,
        null=True,  # Empty is not unique, NULL is.
        blank=True,
        validators=[HOST],
        help_text=(
            "Counted links begin with it, like links.example.com: a name that leads to this"
            " server, and for which your proxy has a certificate. Empty: they begin with the"
            " address of this system."
        ),
    )
    is_verified = models.BooleanField(default=False, db_default=False, editable=False)
    """Whether its DNS was found to be as it should."""
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(auto_now=True, editable=False)

    objects = SendingDomainQuerySet.as_manager()

    class Meta:
        ordering = ["domain"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(tracking_host=""), name="sending_domain_host_or_nothing"
            ),
        ]

    def __str__(self) -> str:
        return self.domain

    def clean(self) -> None:
        """Refuse a tracking host of no name, and one that is this system's own."""
        self.domain = self.domain.lower()
        self.tracking_host = (self.tracking_host or "").lower() or None
        if self.tracking_host and self.tracking_host in own_hosts():
            raise ValidationError(
                {"tracking_host": "This is the address of the system itself: leave it empty."}
            )


def own_hosts() -> frozenset[str]:
    """Return the names under which the system itself answers."""
    return frozenset(host.lower() for host in settings.ALLOWED_HOSTS)
