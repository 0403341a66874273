"""All settings, read once from the environment. Every variable is listed in docs/configuration.md.

In development (DEBUG on) keys are made once and kept under var/; in production they are required.
"""

from __future__ import annotations

import contextlib
import secrets as random_secrets
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured

from emailplatform import connecting, env
from emailplatform.audience_settings import *  # noqa: F403
from emailplatform.enum_names import ENUM_NAMES
from emailplatform.logs import LOGGING as LOGGING
from emailplatform.menu import UNFOLD as UNFOLD
from emailplatform.periods import *  # noqa: F403 (settings of their own)

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.text("VAR_DIR", str(BASE_DIR / "var")))
VERSION = "0.1.0"

DEBUG = env.flag("DEBUG", default=False)
LOCAL = env.flag("LOCAL", default=False)
"""Set by `make run`, `demo` and `test`: keys may be made here, plain http is expected."""


def _key(name: str, make: Any) -> str:
    """Return a key from the environment; on a local installation make it once, under var/keys."""
    value = env.text(name, "")
    if value:
        return value
    if not LOCAL:
        raise ImproperlyConfigured(f"Set {name} (or {name}_FILE): see docs/configuration.md.")
    path = VAR_DIR / "keys" / name.lower()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{random_secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(make(), encoding="utf-8")
        with contextlib.suppress(FileExistsError):  # another process was first: its key counts
            path.hardlink_to(draft)
        draft.unlink()
    return path.read_text(encoding="utf-8").strip()


def _random() -> str:
    return random_secrets.token_urlsafe(48)


SECRET_KEY = _key("SECRET_KEY", _random)
ENCRYPTION_KEYS = _key("ENCRYPTION_KEYS", lambda: Fernet.generate_key().decode()).split()
TOKEN_KEYS = _key("TOKEN_KEYS", _random).split()
ADDRESS_KEY = _key("ADDRESS_KEY", _random)

# --- Where it is reached ---------------------------------------------------------------

PUBLIC_URL = env.text("PUBLIC_URL", "http://127.0.0.1:8000" if LOCAL else None).rstrip("/")
"""The address under which recipients and providers reach us: links, unsubscribe, webhooks."""
_host = urlsplit(PUBLIC_URL)
_is_https = _host.scheme == "https"
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", _host.hostname or "")
if LOCAL:
    ALLOWED_HOSTS += ["127.0.0.1", "localhost", "[::1]"]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.flag("BEHIND_PROXY", default=False) else None
)
TRUSTED_PROXIES = env.whole("TRUSTED_PROXIES", 1 if SECURE_PROXY_SSL_HEADER else 0)
"""How many proxies of ours add to X-Forwarded-For; 0 means it is not believed."""

# --- Applications ----------------------------------------------------------------------

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "subscribers",
    "campaigns",
    "delivery",
    "webhooks",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    # After django_celery_beat: its tables must be there when the default schedule is written.
    "emailplatform.apps.EmailPlatformConfig",
    "anymail",
]

MIDDLEWARE = [
    "emailplatform.headers.Headers",
    "webhooks.middleware.LinksOfMails",
    "django.middleware.security.SecurityMiddleware",
    "webhooks.middleware.StraightToWebhooks",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "emailplatform.zones.ReaderZone",
]

ROOT_URLCONF = "emailplatform.urls"
WSGI_APPLICATION = "emailplatform.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

# --- PostgreSQL and Redis --------------------------------------------------------------


PGBOUNCER = env.flag("PGBOUNCER", default=False)


DATABASE_URL = env.text("DATABASE_URL", None)
REDIS_URL = env.text("REDIS_URL", None)
DATABASES = {"default": connecting.database(DATABASE_URL, is_pooled=PGBOUNCER)}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "emailplatform",
        # Nobody waits for a cache: without it everything goes on.
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 2},
    }
}

# --- Celery: clock and muscle, never the keeper of facts (design 4.5) -------------------


CELERY_BROKER_URL = env.text("CELERY_BROKER_URL", "") or connecting.broker(REDIS_URL)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_timeout": 5, "socket_connect_timeout": 3}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_STORE_EAGER_RESULT = False
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 30.0
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TASK_ROUTES = {
    "delivery.tasks.send_critical": {"queue": "critical"},
    "delivery.tasks.send_transactional": {"queue": "transactional"},
    "delivery.tasks.send_marketing": {"queue": "marketing"},
    "webhooks.tasks.*": {"queue": "events"},
}

# --- Sending ---------------------------------------------------------------------------

SEND_WORKERS = env.whole("SEND_WORKERS", 2)
"""How many sending slices a tick starts per stream."""
TICK_S = env.whole("TICK_S", 2)
"""Seconds between beats, and the most a sending slice works before it makes room."""
RETRIES = {
    "critical": env.retries("RETRY_CRITICAL", "5,60,20"),
    "transactional": env.retries("RETRY_TRANSACTIONAL", "15,1800,60"),
    "marketing": env.retries("RETRY_MARKETING", "60,14400,25"),
}
"""Stream -> how a mailbox that refuses for now is tried again.

The marketing stream's 25 tries take about three days: RFC 5321 asks for four to five, newsletters
age sooner. Mail of the others expires before it has used up its tries.
"""
GLOBAL_RATE = env.rate_or_none("GLOBAL_RATE")
SENDER_RATE = env.rate_or_none("SENDER_RATE")
"""Per From address, campaigns included."""
SENDER_DOMAIN_RATE = env.rate_or_none("SENDER_DOMAIN_RATE")
RECIPIENT_RATE = env.rate_or_none("RECIPIENT_RATE", "20/hour")
"""Mail sent by API to one address: a form that anybody may fill in must not bomb a mailbox.

Campaigns do not count here: they write to everybody once.
"""
DOUBT_RETRIES = env.whole("DOUBT_RETRIES", 1)
"""How often transactional mail in doubt is sent again by itself (design 4.1); 0: never."""
ROUTING_WEIGHTS = env.shares("ROUTING_WEIGHTS", "0.4,0.3,0.2,0.1", of=4)
"""How much health, free capacity, cost and region count when a provider is chosen."""
ROUTING_FRESH_S = env.whole("ROUTING_FRESH_S", 1)
"""How old may be what a process knows of accounts and rules when it chooses; 0: it asks anew."""
REGION = env.text("REGION", "")
"""Where this installation runs, in the words of the accounts' regions."""
ENGAGED_DAYS = env.whole("ENGAGED_DAYS", 90)
"""Who opened or clicked within so many days is engaged."""
BREAKER_FAILURES = env.whole("BREAKER_FAILURES", 3)
"""After so many failed calls in a row an account is left alone."""
MAX_ATTACHMENTS_MB = env.whole("MAX_ATTACHMENTS_MB", 10)
"""Of all files of one mail together, as they are before they are encoded."""
MESSAGE_ID_DOMAIN = env.text("MESSAGE_ID_DOMAIN", _host.hostname or "localhost")
POSTAL_ADDRESS = env.text("POSTAL_ADDRESS", "")
CONNECT_TIMEOUT_S = env.seconds("CONNECT_TIMEOUT_S", 3.05)
READ_TIMEOUT_S = env.seconds("READ_TIMEOUT_S", 20)
"""How long a provider may take to answer; after that the call is in doubt."""
FINAL_DOT_TIMEOUT_S = env.seconds("FINAL_DOT_TIMEOUT_S", 60)
"""The same for a mail server that has a whole message: filters in a relay work in that time."""
ANYMAIL = {"REQUESTS_TIMEOUT": (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)}
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_TIMEOUT = READ_TIMEOUT_S
PREPARE_LEASE_S = env.seconds("PREPARE_LEASE_S", 30)
"""To compose a batch in memory; after that its worker is taken for dead."""
FLIGHT_LEASE_S = env.seconds("FLIGHT_LEASE_S", 90)
"""The same for a call. One that may take longer by the time-outs above has a longer lease."""
CRASH_AT = env.text("CRASH_AT", "")
CRASH_SIGNAL = env.text("CRASH_SIGNAL", "KILL")
"""Where a worker dies, and how: for drills (delivery/crashing.py)."""
if CRASH_AT and not LOCAL:
    raise ImproperlyConfigured("CRASH_AT kills workers: it is for LOCAL=on only. Unset it.")

OPERATORS = env.words("OPERATORS")
"""Addresses that are told when something is wrong."""
ALERT_FROM = env.text("ALERT_FROM", "")
ALERT_WEBHOOK_URL = env.text("ALERT_WEBHOOK_URL", "")
ALERT_WEBHOOK_SECRET = env.text("ALERT_WEBHOOK_SECRET", "")
ALERT_EVERY_MIN = env.whole("ALERT_EVERY_MIN", 60)
"""Of one thing that is wrong operators are told once in this time."""
DEAD_LETTERS_ALERT = env.whole("DEAD_LETTERS_ALERT", 100)
"""So many messages that failed for good, and nobody has looked: operators are told."""

DNS_RESOLVERS = env.resolvers("DNS_RESOLVERS")
"""Who is asked whether domains of addresses exist; empty: this machine's; None: nobody."""
DNS_TIMEOUT_S = env.seconds("DNS_TIMEOUT_S", 5)
OUTGOING_PORTS = env.ports("OUTGOING_PORTS", "" if LOCAL else "443")
"""The ports webhooks may be posted to; empty: any."""
OUTGOING_NETWORKS = env.networks("OUTGOING_NETWORKS", "127.0.0.0/8 ::1/128" if LOCAL else "")
"""Networks of your own that webhooks may be posted to all the same."""
OUTGOING_AT_ONCE = env.whole("OUTGOING_AT_ONCE", 8)
"""Posts under way to one endpoint at a time."""
OUTGOING_KEEP_DAYS = env.whole("OUTGOING_KEEP_DAYS", 30)
"""How long it is kept what was posted where, and what was answered."""

WEBHOOK_WINDOWS = {
    "sendgrid": env.whole("SENDGRID_WINDOW_MIN", 10),
    "mailgun": env.whole("MAILGUN_WINDOW_MIN", 15),
    "ses": env.whole("SNS_WINDOW_MIN", 65),
    "generic": env.whole("GENERIC_WINDOW_MIN", 10),
}
"""How old a signed webhook may be, in minutes; older ones are stored and applied as late."""
SILENCE_AFTER_H = env.whole("SILENCE_AFTER_H", 6)
"""Hours after which an accepted message should have been reported on."""
TRACKING_HIDDEN_LINK = env.flag("TRACKING_HIDDEN_LINK", default=True)
GEOIP_FILE = env.text("GEOIP_FILE", "")
"""A country or city database in MaxMind's format: where somebody opened or clicked."""
MACHINE_NETWORKS_FILE = env.text("MACHINE_NETWORKS_FILE", "")
JUDGE_PACE = env.flag("JUDGE_PACE", default=not LOCAL)
"""Whether haste and crowds tell machines. Not locally: the sandbox's people are few and hasty."""
IMAP_URL = env.mailbox("IMAP_URL")
"""Where bounces and complaints come as mail, if they are fetched and not piped in."""
POSTFIX_LOG = env.text("POSTFIX_LOG", "")
"""The log that `make run` follows; empty: none."""
WEBHOOK_RATE = env.whole("WEBHOOK_RATE", 120_000)
"""Proved webhooks per minute from one address; more get 429. 0: no limit."""

CONSENT_IP = env.choice("CONSENT_IP", "full", "network", "none")
"""What the record of consent keeps of an IP address."""
CONSENT_DETAILS_DAYS = env.whole("CONSENT_DETAILS_DAYS", 1095)
"""After so many days the record forgets ip and user agent; 0: never."""
SIGNUPS_PER_HOUR = env.whole("SIGNUPS_PER_HOUR", 10)
"""From one IP address; a network may do three times as many. 0: no limit."""
CONFIRM_FROM = env.text("CONFIRM_FROM", ALERT_FROM or ("signup@example.com" if LOCAL else ""))
"""Who asks for confirmations, where a form does not say."""

SANDBOX_PORT = env.whole("SANDBOX_PORT", 8025)
SANDBOX_URL = env.text("SANDBOX_URL", f"http://127.0.0.1:{SANDBOX_PORT}" if LOCAL else "")
"""Where the sandbox's inbox is looked at; empty: there is none."""
SANDBOX_SMTP_PORT = env.whole("SANDBOX_SMTP_PORT", SANDBOX_PORT + 1)
SANDBOX_ACCOUNTS = Path(env.text("SANDBOX_ACCOUNTS", str(VAR_DIR / "sandbox" / "accounts.json")))

# --- API -------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "emailplatform.api.KeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["emailplatform.api.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["emailplatform.api.StrictJSONParser"],
    "DEFAULT_THROTTLE_CLASSES": ["emailplatform.api.KeyThrottle"],
    "DEFAULT_PAGINATION_CLASS": "emailplatform.api.NewestFirst",
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_RATES": {
        "key": env.rate("API_RATE", "600/min"),
        "webhooks": env.rate("WEBHOOK_API_RATE", "100/min"),
        "checks": env.rate("CHECK_RATE", "120/min"),
        "track": env.rate("TRACK_RATE", "6000/min"),
    },
    "EXCEPTION_HANDLER": "emailplatform.refusing.error_response",
    "PAGE_SIZE": 50,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "E-mail platform",
    "DESCRIPTION": "People, lists, campaigns. Authenticate with `Authorization: Bearer <key>`.",
    "VERSION": VERSION,
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "ENUM_NAME_OVERRIDES": ENUM_NAMES,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "emailplatform.exemplifying.add_examples",
    ],
}

# --- Security --------------------------------------------------------------------------

PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _is_https
SESSION_COOKIE_AGE = 12 * 3600
SECURE_SSL_REDIRECT = _is_https
SECURE_REDIRECT_EXEMPT = [r"^health$"]
SECURE_HSTS_SECONDS = 31_536_000 if _is_https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = _is_https
X_FRAME_OPTIONS = "SAMEORIGIN"
DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024
"""SendGrid posts up to 1,000 events at once; a refused body is posted again for hours."""
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_PERMISSIONS = 0o600
MAX_UPLOAD_BYTES = env.whole("MAX_UPLOAD_MB", 512) * 1024 * 1024
SILENCED_SYSTEM_CHECKS = [
    "security.W019",  # our own preview frames need SAMEORIGIN
]

# --- The rest --------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [
    ("en", "English"), ("de", "Deutsch"), ("fr", "Français"), ("es", "Español"),
    ("it", "Italiano"), ("pt", "Português"), ("nl", "Nederlands"), ("ja", "日本語"),
]  # fmt: skip
"""What public pages and mails of ours speak. The admin speaks English."""
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = env.text("TIME_ZONE", "UTC")
USE_TZ = True
USE_I18N = True
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.text("STATIC_ROOT", str(VAR_DIR / "static")))
STATICFILES_DIRS = [BASE_DIR / "static"]
TESTING = "pytest" in sys.modules
WHITENOISE_USE_FINDERS = LOCAL and not TESTING
if LOCAL:  # WhiteNoise wants the folder to be there, although nothing is collected here
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)
MEDIA_ROOT = Path(env.text("MEDIA_ROOT", str(VAR_DIR / "media")))
"""Uploaded import files and error files. Never served by URL; shared by web and workers."""
FILE_UPLOAD_TEMP_DIR = MEDIA_ROOT / "arriving"
"""On the same disk: /tmp is memory in containers, and half a gigabyte may arrive."""
FILE_UPLOAD_TEMP_DIR.mkdir(parents=True, exist_ok=True, mode=0o700)
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
