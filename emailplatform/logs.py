"""How the platform logs: one line each on stderr, addresses masked."""

from __future__ import annotations

from typing import Any

from emailplatform import env

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "emailplatform.masking.Masking",
            "format": "{asctime} {levelname} {name} {message}",
            "style": "{",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO")},
    "loggers": {
        # Its warnings name what was asked for in vain: the API's paths carry people's addresses.
        "django.request": {"level": "ERROR"},
        "celery": {"level": env.text("CELERY_LOG_LEVEL", "WARNING")},
        "kombu": {"level": "WARNING"},
        "botocore": {"level": "WARNING"},
        "urllib3": {"level": "ERROR"},
    },
}
