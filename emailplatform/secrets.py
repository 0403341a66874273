"""Secrets at rest and signed links.

Provider secrets are encrypted with MultiFernet under a keyring of its own (ENCRYPTION_KEYS,
newest first), never under SECRET_KEY. Addresses in the suppression list are keyed HMACs. Public
links carry signed tokens bound to a purpose.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from emailplatform.errors import DomainError

_TAG_BYTES = 16


class CannotDecrypt(DomainError):
    """No key of ENCRYPTION_KEYS opens this value: the key it was written with is missing."""

    code = "cannot_decrypt"


@lru_cache(maxsize=4)
def _ring(keys: tuple[str, ...]) -> MultiFernet:
    if not keys:
        raise ImproperlyConfigured(
            "Set ENCRYPTION_KEYS: provider secrets cannot be stored without."
        )
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(plain: str) -> str:
    """Return `plain` encrypted under the newest key, as printable text."""
    return _ring(tuple(settings.ENCRYPTION_KEYS)).encrypt(plain.encode()).decode()


def decrypt(secret: str) -> str:
    """Return what was encrypted. Raises CannotDecrypt; never returns the ciphertext."""
    try:
        return _ring(tuple(settings.ENCRYPTION_KEYS)).decrypt(secret.encode()).decode()
    except InvalidToken as error:
        raise CannotDecrypt(
            "Its secrets were encrypted with a key that is not in ENCRYPTION_KEYS:"
            " put that key back, or enter the secrets again."
        ) from error


class EncryptedJSONField(models.TextField):  # type: ignore[type-arg]
    """A JSON value encrypted at rest. Cannot be searched; a wrong key is an error."""

    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def from_db_value(self, value: str | None, *_: Any) -> Any:
        return None if value is None else json.loads(decrypt(value))

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else encrypt(json.dumps(value, sort_keys=True))

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def value_to_string(self, obj: models.Model) -> str:
        """Serialise for dumps: still encrypted."""
        return str(self.get_prep_value(self.value_from_object(obj)))


# --- Addresses -------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _address_hmac(key: str) -> hmac.HMAC:
    return hmac.new(key.encode(), digestmod=hashlib.sha256)


def address_key(normalised_address: str) -> bytes:
    """Return the keyed HMAC-SHA256 (32 bytes) under which an address is suppressed."""
    digest = _address_hmac(settings.ADDRESS_KEY).copy()
    digest.update(normalised_address.encode("utf-8", "surrogatepass"))
    return digest.digest()


@lru_cache(maxsize=8)
def _seal_hmac(key: str, purpose: str) -> hmac.HMAC:
    return hmac.new(key.encode(), f"seal:{purpose}:".encode(), hashlib.sha256)


def seal(purpose: str, said: bytes) -> bytes:
    """Return a keyed HMAC-SHA256 that only we can make: under ADDRESS_KEY, which never changes."""
    digest = _seal_hmac(settings.ADDRESS_KEY, purpose).copy()
    digest.update(said)
    return digest.digest()


# --- Tokens in public links ------------------------------------------------------------


@lru_cache(maxsize=32)
def _token_hmac(key: str, purpose: str) -> hmac.HMAC:
    return hmac.new(key.encode(), f"token:{purpose}:".encode(), hashlib.sha256)


def _tag(key: str, purpose: str, payload: bytes) -> bytes:
    """Return the MAC as 22 URL-safe characters: compared as text, it has one spelling."""
    digest = _token_hmac(key, purpose).copy()
    digest.update(payload)
    return base64.urlsafe_b64encode(digest.digest()[:_TAG_BYTES]).rstrip(b"=")


def sign(purpose: str, *numbers: int) -> str:
    """Return a URL-safe token that carries `numbers` and can only be made by us.

    Bound to `purpose`: a token for one never passes for another. 128-bit MAC; about 3 µs.
    """
    payload = b".".join(b"%x" % number for number in numbers)
    return (payload + b"." + _tag(settings.TOKEN_KEYS[0], purpose, payload)).decode()


def unsign(purpose: str, token: str) -> tuple[int, ...] | None:
    """Return the numbers of a token made by `sign` for this purpose; None for anything else.

    Every key of TOKEN_KEYS is accepted, so links outlive a rotation.
    """
    payload, _, given = token.encode("utf-8", "replace").rpartition(b".")
    fits = [hmac.compare_digest(_tag(key, purpose, payload), given) for key in settings.TOKEN_KEYS]
    return tuple(int(number, 16) for number in payload.split(b".")) if any(fits) else None


# --- Texts in public links -------------------------------------------------------------


@lru_cache(maxsize=16)
def _sealer(key: str, purpose: str) -> AESSIV:
    return AESSIV(hmac.new(key.encode(), f"seal:{purpose}:".encode(), hashlib.sha512).digest())


def seal_text(purpose: str, text: str, context: str) -> str:
    """Return `text` encrypted for a link, URL-safe; it opens in the same `context` alone.

    The same text always gives the same seal (AES-SIV, RFC 5297): a mail renders twice alike.
    """
    sealer = _sealer(settings.TOKEN_KEYS[0], purpose)
    sealed = sealer.encrypt(text.encode("utf-8", "replace"), [context.encode()])
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def unseal_text(purpose: str, sealed: str, context: str) -> str | None:
    """Return the text that was sealed for this purpose and context; None for anything else."""
    try:
        given = base64.b64decode(sealed.encode() + b"=" * (-len(sealed) % 4), b"-_", validate=True)
    except (ValueError, UnicodeEncodeError):
        return None
    if base64.urlsafe_b64encode(given).rstrip(b"=").decode() != sealed:
        return None  # one text has one seal: its last character must not have two spellings
    for key in settings.TOKEN_KEYS:
        try:
            return _sealer(key, purpose).decrypt(given, [context.encode()]).decode()
        except (InvalidTag, ValueError):
            continue
    return None
