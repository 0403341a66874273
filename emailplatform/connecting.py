"""From the addresses of PostgreSQL and Redis to what Django and Celery want to be told."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured


def database(url: str, *, is_pooled: bool) -> dict[str, Any]:
    """Return Django's settings for postgres://user:password@host:port/name?option=value.

    `?host=/folder` names a unix socket, as libpq writes it.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured("DATABASE_URL must be postgres://user:password@host/name.")
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    if not is_pooled:
        # `emailplatform.preparing`: its statements are planned once, whatever their values.
        generic = "-c plan_cache_mode=force_generic_plan"
        options["options"] = f"{options.get('options', '')} {generic}".strip()
        options["prepare_threshold"] = 0
    host = options.pop("host", "") or unquote(parts.hostname or "")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or options.pop("user", "")),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": host,
        "PORT": str(parts.port or options.pop("port", "")),
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
        # PgBouncer in transaction mode keeps neither cursors nor plans between statements.
        "DISABLE_SERVER_SIDE_CURSORS": is_pooled,
        "OPTIONS": {"connect_timeout": 5, **options},
    }


def broker(url: str) -> str:
    """Return the broker's URL: Celery spells a unix socket differently from redis-py."""
    if not url.startswith("unix:"):
        return url
    parts = urlsplit(url)
    return f"redis+socket://{parts.path}?virtual_host={dict(parse_qsl(parts.query)).get('db', '0')}"
