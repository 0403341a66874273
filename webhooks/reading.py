"""Stored requests → what they say, each account known once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from delivery.models import ProviderAccount
from delivery.providers.base import Event as Heard
from delivery.providers.base import Provider, Unparsable, WebhookRequest
from emailplatform.secrets import CannotDecrypt
from webhooks import believing
from webhooks.querysets import Stored


@dataclass(frozen=True, slots=True)
class Reading:
    """A request and what was read in it."""

    request: Stored
    events: Sequence[Heard]
    """Those that its account is listened to about."""
    problems: Sequence[str]
    is_understood: bool = True


class Reader:
    """Reads the requests of a batch. An account's secrets are decrypted once, not per request.

    They are so when its first request is read: those that no key opens stop its requests alone.
    """

    def __init__(self, requests: Iterable[Stored]) -> None:
        accounts = ProviderAccount.objects.defer("secrets").in_bulk(
            {each.account for each in requests}
        )
        self._ears = {pk: _Ear(account) for pk, account in accounts.items()}

    def read(self, request: Stored) -> Reading:
        """Return what a request says; what is not understood is told, not raised.

        Raises CannotDecrypt if the secrets of its account cannot be read.
        """
        ear = self._ears[request.account]
        came = WebhookRequest(json.loads(request.headers), request.body, request.received_at)
        try:
            events, problems = believing.read(ear, came)
        except Unparsable as error:
            return Reading(request, [], [str(error)], is_understood=False)
        wanted = [each for each in events if each.type in ear.heard_types]
        return Reading(request, wanted, problems, is_understood=bool(events or not problems))


class _Ear:
    """What is asked of an account for each of its requests."""

    def __init__(self, account: ProviderAccount) -> None:
        self.account = account

    @cached_property
    def provider(self) -> Provider:
        try:
            return self.account.provider
        except CannotDecrypt as error:
            raise CannotDecrypt(f"The account “{self.account}” cannot be read. {error}") from error

    @cached_property
    def heard_types(self) -> frozenset[str]:
        return self.account.heard_types
