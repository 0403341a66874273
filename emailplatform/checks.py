"""System checks: refuse settings that cannot be safe, before anything runs."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004


@register(Tags.security)
def encryption_keys_are_keys(**_: Any) -> list[CheckMessage]:
    """emailplatform.E001: each of ENCRYPTION_KEYS must be a Fernet key."""
    try:
        for key in settings.ENCRYPTION_KEYS:
            Fernet(key)
    except ValueError:
        return [
            Error(
                "ENCRYPTION_KEYS holds something that is no Fernet key.",
                hint="Make one with cryptography.fernet.Fernet.generate_key().",
                id="emailplatform.E001",
            )
        ]
    return []


@register(Tags.security)
def keys_are_not_shared(**_: Any) -> list[CheckMessage]:
    """emailplatform.E002: a key that leaks must not open what another one protects."""
    keys = [settings.SECRET_KEY, settings.ADDRESS_KEY, *settings.TOKEN_KEYS]
    keys += settings.ENCRYPTION_KEYS
    if len(set(keys)) == len(keys):
        return []
    return [
        Error(
            "SECRET_KEY, ADDRESS_KEY, TOKEN_KEYS and ENCRYPTION_KEYS share a value.",
            hint="Give each a key of its own.",
            id="emailplatform.E002",
        )
    ]


@register(Tags.security, deploy=True)
def public_url_is_https(**_: Any) -> list[CheckMessage]:
    """emailplatform.W001: one-click unsubscribe needs https (RFC 8058)."""
    if urlsplit(settings.PUBLIC_URL).scheme == "https":
        return []
    return [
        Warning(
            "PUBLIC_URL is not https: mailbox providers will not offer one-click unsubscribe.",
            hint="Put a proxy with a certificate in front and set PUBLIC_URL=https://…",
            id="emailplatform.W001",
        )
    ]


@register(deploy=True)
def postal_address_is_given(**_: Any) -> list[CheckMessage]:
    """emailplatform.W002: commercial mail must carry a postal address in most countries."""
    if settings.POSTAL_ADDRESS:
        return []
    return [
        Warning(
            "POSTAL_ADDRESS is empty: {{ postal_address }} in templates stays blank.",
            hint="Set it to the sender's postal address.",
            id="emailplatform.W002",
        )
    ]
