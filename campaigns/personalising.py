"""What a template may say about a person: one place for preview, test and the real mail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from django.conf import settings

from campaigns.models import Campaign
from emailplatform import secrets
from subscribers.models import Attribute

PERSON_NAMES = (
    "email",
    "first_name",
    "last_name",
    "full_name",
    "language",
    "country",
    "time_zone",
    "attributes",
    "unsubscribe_url",
    "preferences_url",
    "view_url",
)
"""Variables every person has. Attributes come on top, bare and as `attributes.name`."""

TEST_MESSAGE = 0
"""The message id of previews and test sends: its unsubscribe page says that it is a test."""


class Person(Protocol):
    """A `Subscriber`, or a message's person as `delivery` claimed them."""

    @property
    def email(self) -> str: ...
    @property
    def first_name(self) -> str: ...
    @property
    def last_name(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def country(self) -> str: ...
    @property
    def time_zone(self) -> str: ...
    @property
    def attributes(self) -> dict[str, Any]: ...


def known_names() -> list[str]:
    """Return every variable that a person may bring, attributes included."""
    return [*PERSON_NAMES, *Attribute.objects.values_list("name", flat=True)]


def constants_of(campaign: Campaign | None) -> dict[str, str]:
    """Return the variables that are the same for everybody in a campaign."""
    if campaign is None:
        return constants_for("Your company", "Preview")
    return constants_for(campaign.from_name, campaign.name)


def constants_for(company: str, campaign_name: str = "") -> dict[str, str]:
    """Return the same for mail of a sender; without a campaign its name is empty."""
    return {
        "campaign_name": campaign_name,
        "company": company,
        "postal_address": settings.POSTAL_ADDRESS,
    }


def unsubscribe_url(message: int) -> str:
    """Return the address of a message's unsubscribe page; its token carries no address."""
    return f"{settings.PUBLIC_URL}/u/{secrets.sign('unsubscribe', message)}/"


def preferences_url(message: int) -> str:
    """Return the address of the page where a message's person says what they want to get."""
    return f"{settings.PUBLIC_URL}/p/{secrets.sign('preferences', message)}/"


def view_url(message: int) -> str:
    """Return the address at which a message is shown in a browser."""
    return f"{settings.PUBLIC_URL}/v/{secrets.sign('view', message)}/"


def links_of(message: int) -> dict[str, str]:
    """Return the variables of a message's own pages; their tokens carry no address."""
    return {
        "unsubscribe_url": unsubscribe_url(message),
        "preferences_url": preferences_url(message),
        "view_url": view_url(message),
    }


def tracking_url(base: str, message: int, campaign: int) -> str:
    """Return what a message's counted links begin with; its token carries no address.

    `base` is the tracking host's, without a slash. Message 0: counted, and nobody knows of whom.
    """
    return f"{base}/c/{secrets.sign('click', message, campaign)}"


def context_of(person: Person, message: int) -> Mapping[str, Any]:
    """Return the variables of a person and a message. Attributes never hide the usual ones."""
    return {
        **person.attributes,
        "email": person.email,
        "first_name": person.first_name,
        "last_name": person.last_name,
        "full_name": f"{person.first_name} {person.last_name}".strip(),
        "language": person.language,
        "country": person.country,
        "time_zone": person.time_zone,
        "attributes": person.attributes,
        **links_of(message),
    }
