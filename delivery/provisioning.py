"""Provider accounts from the usual environment variables, at first start.

An account is made once per kind, if its variables are set and there is none of that kind yet.
Afterwards the admin owns it: a later change of the environment changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from delivery.models import ProviderAccount
from delivery.providers import registry
from emailplatform.errors import InvalidInput

_VARIABLES: dict[str, dict[str, str]] = {
    "sendgrid": {
        "api_key": "SENDGRID_API_KEY",
        "webhook_public_key": "SENDGRID_WEBHOOK_SECRET",
    },
    "ses": {
        "region": "AWS_REGION",
        "access_key_id": "AWS_ACCESS_KEY_ID",
        "secret_access_key": "AWS_SECRET_ACCESS_KEY",
        "topic_arns": "AWS_SNS_TOPIC_ARNS",
    },
    "mailgun": {
        "api_key": "MAILGUN_API_KEY",
        "domain": "MAILGUN_DOMAIN",
        "webhook_signing_key": "MAILGUN_WEBHOOK_SECRET",
    },
    "postmark": {
        "server_token": "POSTMARK_API_KEY",
        "webhook_basic_auth": "POSTMARK_WEBHOOK_SECRET",
    },
}
"""Kind -> field of the account -> variable."""

_SECURITY = {"smtp": "none", "smtp+starttls": "starttls", "smtps": "tls"}
_PORTS = {"smtp": "25", "smtp+starttls": "587", "smtps": "465"}

Read = Callable[[str, str], str]
"""`emailplatform.env.text`: name and default in, value out."""


def provision(read: Read) -> list[ProviderAccount]:
    """Create the accounts whose variables are set; return the new ones."""
    found = {kind: _values(names, read) for kind, names in _VARIABLES.items()}
    smtp_url = read("SMTP_URL", "")
    if smtp_url:
        found["smtp"] = smtp_values(smtp_url)
    return [
        _create(kind, values)
        for kind, values in found.items()
        if _is_usable(kind, values) and not ProviderAccount.objects.filter(kind=kind).exists()
    ]


def smtp_values(url: str) -> dict[str, str]:
    """Return the settings in smtp://user:password@host:port; smtps:// or smtp+starttls:// encrypt.

    Raises InvalidInput for anything else.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SECURITY or not parts.hostname:
        raise InvalidInput(
            "SMTP_URL must be smtp://, smtps:// or smtp+starttls:// user:password@host:port."
        )
    values = {
        "host": parts.hostname,
        "port": str(parts.port or _PORTS[parts.scheme]),
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "security": _SECURITY[parts.scheme],
        **dict(parse_qsl(parts.query)),
    }
    return {name: value for name, value in values.items() if value}


def split_secrets(kind: str, values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return (config, secrets): what may be read by anybody, and what is encrypted."""
    secret = {field.name for field in registry.KINDS[kind].fields if field.is_secret}
    config = {name: value for name, value in values.items() if name not in secret}
    return config, {name: value for name, value in values.items() if name in secret}


def _values(names: Mapping[str, str], read: Read) -> dict[str, str]:
    values = {field: read(variable, "") for field, variable in names.items()}
    return {field: value for field, value in values.items() if value}


def _is_usable(kind: str, values: Mapping[str, str]) -> bool:
    """A secret that only webhooks need may come later; what sending needs must be there."""
    required = {field.name for field in registry.KINDS[kind].fields if field.is_required}
    return bool(values) and required <= set(values)


def _create(kind: str, values: Mapping[str, str]) -> ProviderAccount:
    config, secrets = split_secrets(kind, values)
    label = registry.KINDS[kind].label
    return ProviderAccount.objects.create(name=label, kind=kind, config=config, secrets=secrets)
