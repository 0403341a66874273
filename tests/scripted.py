"""A provider that does what a test says: the network's place in tests of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from delivery.models import ProviderAccount
from delivery.providers import generic_events, registry
from delivery.providers.base import Batch, EventsModule, Provider, Recipient, Result, Verdict
from tests import make

Answer = Callable[[Recipient], Result | None]
"""What is said of one recipient; None: nothing."""


def accept(recipient: Recipient) -> Result | None:
    return Result(recipient.message_id, Verdict.ACCEPTED, f"at-{recipient.message_id}")


class Scripted(Provider):
    """Accepts everybody, unless told otherwise: `whole` is raised, `answer` decides for each."""

    kind = "scripted"
    label = "Scripted"
    fields = ()
    max_batch = 1000
    default_batch = 100
    events: ClassVar[EventsModule] = generic_events
    calls: ClassVar[dict[int, list[Batch]]] = {}
    whole: ClassVar[dict[int, Callable[[Batch], None]]] = {}
    answer: ClassVar[dict[int, Answer]] = {}

    def send(self, batch: Batch) -> Iterator[Result]:
        self.calls.setdefault(self.account.id, []).append(batch)
        if self.account.id in self.whole:
            self.whole[self.account.id](batch)
        for recipient in batch.recipients:
            result = self.answer.get(self.account.id, accept)(recipient)
            if result is not None:
                yield result

    @classmethod
    def sent_to(cls, account: ProviderAccount) -> list[str]:
        """Every address in every call to the account."""
        return [each.email for batch in cls.calls.get(account.pk, []) for each in batch.recipients]


def raising(error: Exception) -> Callable[[Batch], None]:
    def whole(_batch: Batch) -> None:
        raise error

    return whole


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the kind known, with nothing said yet."""
    monkeypatch.setattr(registry, "KINDS", {**registry.KINDS, "scripted": Scripted})
    for record in (Scripted.calls, Scripted.whole, Scripted.answer):
        record.clear()


def account(name: str = "", **fields: Any) -> ProviderAccount:
    return make.account(name, kind="scripted", **{"config": {}, "secrets": {}, **fields})
