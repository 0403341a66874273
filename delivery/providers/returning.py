"""The return path of a mail names its message, signed: bounce+m1f.<MAC>@domain (VERP).

Anybody may write to such an address, and message ids are easy to guess. Who knows the MAC had the
mail in hand, so what is sent there is believed. Rotating TOKEN_KEYS keeps old ones good.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from functools import lru_cache

from django.conf import settings

_MAC_BYTES = 10
"""80 bits are 16 letters: the whole local part has at most 40 of the 64 octets there are."""
_LOCAL = re.compile(r"\Abounce[+=](m[0-9a-f]{1,15})\.([a-z2-7]{16})\Z")


def return_path(message_id: str, domain: str) -> str:
    """Return the address to which bounces of a message go."""
    return f"bounce+{message_id}.{_mac(settings.TOKEN_KEYS[0], message_id)}@{domain}"


def message_returned(address: str) -> str:
    """Return the message that an address of ours names; '' for any other and for a forged one.

    Letters may have changed their case on the way.
    """
    found = _LOCAL.match(address.strip().strip("<>").partition("@")[0].lower())
    if not found:
        return ""
    message_id, given = found.groups()
    good = [hmac.compare_digest(_mac(key, message_id), given) for key in settings.TOKEN_KEYS]
    return message_id if any(good) else ""


@lru_cache(maxsize=8)
def _keyed(key: str) -> hmac.HMAC:
    return hmac.new(key.encode(), b"return path:", hashlib.sha256)


def _mac(key: str, message_id: str) -> str:
    digest = _keyed(key).copy()
    digest.update(message_id.encode())
    return base64.b32encode(digest.digest()[:_MAC_BYTES]).decode().lower()
