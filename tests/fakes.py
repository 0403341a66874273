"""A provider without a network, for tests of what calls providers."""

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from delivery.providers import generic_events
from delivery.providers.base import (
    Account,
    Batch,
    EventsModule,
    Provider,
    ProviderError,
    Recipient,
    Result,
    Verdict,
)

Answer = ProviderError | Mapping[str, Verdict] | Callable[[Recipient], Result] | None
"""An error for the whole call, verdicts by address (others accepted), or None: all accepted."""


class FakeProvider(Provider):
    """Answers each batch with the next answer; the last one is repeated."""

    kind = "fake"
    label = "Fake"
    fields = ()
    max_batch = 1000
    default_batch = 100
    events: ClassVar[EventsModule] = generic_events

    def __init__(self, *answers: Answer, account: Account | None = None) -> None:
        super().__init__(account or Account(1, 1, {}))
        self.script = list(answers) or [None]
        self.batches: list[Batch] = []
        self.sent: list[Recipient] = []
        """Those who were accepted, in order."""

    def send(self, batch: Batch) -> Iterator[Result]:
        self.batches.append(batch)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, ProviderError):
            raise answer
        for person in batch.recipients:
            result = self._result(answer, person)
            if result.verdict is Verdict.ACCEPTED:
                self.sent.append(person)
            yield result

    def _result(
        self, answer: Mapping[str, Verdict] | Callable[[Recipient], Result] | None, to: Recipient
    ) -> Result:
        if callable(answer):
            return answer(to)
        verdict = (answer or {}).get(to.email, Verdict.ACCEPTED)
        if verdict is Verdict.ACCEPTED:
            return Result(to.message_id, verdict, provider_message_id=f"fake-{to.message_id}")
        return Result(to.message_id, verdict, reason="as the test wants it")
