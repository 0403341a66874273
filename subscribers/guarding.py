"""Keeps machines out of sign-up forms: a signed clock, a trap, limits, a proof of work."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest
from redis.exceptions import RedisError

from emailplatform import secrets
from emailplatform.limiting import Tries, client_address, sender_of
from subscribers.models import Confirmation, SignupForm
from subscribers.proving import network_of

TRAP = "website"
"""A field no person sees: who fills it in is a machine."""
QUICKEST = timedelta(seconds=2)
"""Nobody reads and fills in a form in less."""
PAGE_LIVES = timedelta(hours=12)
BITS = 16
"""Leading zero bits of the proof: 65,536 hashes on average, half a second on a phone."""
_HOUR_S = 3600
_NETWORK_SHARE = 3
"""A network may do so many times what one address may."""


def stamp(form: SignupForm, now: datetime) -> str:
    """Return the token a page of the form carries: when it was drawn, and a random number."""
    number = random.SystemRandom().getrandbits(48)
    return secrets.sign("form", form.pk, int(now.timestamp()), number)


def age_of(form: SignupForm, token: str, now: datetime) -> timedelta | None:
    """Return how old the page is that a token came with; None if the token is none of this form."""
    numbers = secrets.unsign("form", token)
    if not numbers or len(numbers) != 3 or numbers[0] != form.pk:
        return None
    age = now - datetime.fromtimestamp(numbers[1], tz=UTC)
    return age if age <= PAGE_LIVES else None


def wants_proof(form: SignupForm, now: datetime) -> bool:
    """Must a sign-up bring a proof of work now? “Busy” begins at half the hourly limit."""
    if form.proof_of_work != SignupForm.Proof.BUSY:
        return form.proof_of_work == SignupForm.Proof.ALWAYS
    lately = Confirmation.objects.filter(form=form).since(now - timedelta(hours=1))
    return lately.count() * 2 >= form.hourly_limit


def is_proof(token: str, answer: str) -> bool:
    """Does the answer solve the token's riddle? Each solves it once, while Redis is there."""
    digest = hashlib.sha256(f"{token}.{answer[:32]}".encode()).digest()
    if int.from_bytes(digest[:8], "big") >> (64 - BITS):
        return False
    try:
        return bool(cache.add(f"proof:{digest.hex()}", 1, int(PAGE_LIVES.total_seconds())))
    except RedisError:
        return True


def seconds_to_wait(request: HttpRequest) -> int:
    """Count one sign-up; return 0, or in how many seconds its sender may try again.

    The address and its network, /24 or /48, are counted. Off while Redis is away: what one mailbox
    and one form may get is counted in the database (`subscribers.confirming`).
    """
    most = settings.SIGNUPS_PER_HOUR
    network = network_of(client_address(request))
    waits = [
        Tries("signup", sender_of(request), most=most, window_s=_HOUR_S).begin(),
        Tries("signup-network", network, most=most * _NETWORK_SHARE, window_s=_HOUR_S).begin(),
    ]
    return max(waits) if most else 0
