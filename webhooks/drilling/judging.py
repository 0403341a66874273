"""One campaign of the drill from its start to the verdict: the inbox against the messages.

The invariants (docs/reliability.md): every person has one row that came to an end (conservation);
nobody got two mails (at most once); every mail in the inbox is one we know to be sent or in doubt
(no ghost); the counters are what a recount gives.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from delivery import counting
from delivery.journaling import insist
from delivery.models import Message, message_of
from webhooks.drilling.stage import CALL_SIZE, ODD, Stage, Stuck

_DOUBT = Message.Status.UNKNOWN
_MAY_BE_THERE = {Message.Status.SENT, _DOUBT}


class Row(NamedTuple):
    """A message as the platform knows it."""

    email: str
    status: str
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the table."""

    scenario: str
    kind: str
    people: int = 0
    accepted: int = 0
    """Different people whom the providers accepted mail for."""
    lost: int = 0
    """In no inbox, and not said to be in doubt."""
    doubled: int = 0
    """People with more than one mail."""
    doubt: int = 0
    """In doubt when the campaign was over."""
    bound: int = 0
    """How many the scenario may leave in doubt: one call for each kill or fault that hits one."""
    settled: int = 0
    left: int = 0
    """Still in doubt when everything was heard."""
    left_out: int = 0
    """Of these, how many are in no inbox: for them the doubt is right."""
    kills: int = 0
    seconds: float = 0.0
    problems: tuple[str, ...] = ()

    @classmethod
    def stuck(cls, scenario: str, kind: str, why: str) -> Outcome:
        """Return the row of a scenario that could not be played to its end."""
        return cls(scenario, kind, problems=(why,))

    @property
    def is_good(self) -> bool:
        """Say whether all that is promised was kept."""
        return not self.problems


class Run:
    """A campaign that is sent while things break."""

    def __init__(self, stage: Stage, scenario: str, kind: str, *, with_odd: bool = False) -> None:
        self.stage, self.scenario, self.kind = stage, scenario, kind
        self.kills = 0
        self.calls_at_risk = 0
        self.are_events_lost = False
        self._people = stage.plan.people + with_odd
        mails = stage.esp.mails()
        self._before = mails[-1]["id"] if mails else 0
        self._seconds, self._since = 0.0, time.monotonic()
        self._doubt: int | None = None
        self.campaign = stage.launch(scenario, with_odd=with_odd)
        self._rows = Message.objects.filter(campaign=self.campaign)

    def reach(self, share: float) -> None:
        """Wait until so much of the campaign is sent. Raises Stuck."""
        wanted = self._people * share
        sent = self._rows.filter(status=Message.Status.SENT)
        self.stage.until(
            lambda: insist(sent.count) >= wanted or self.is_over(), "Nothing more is sent."
        )

    def steps(self, count: int) -> Iterator[int]:
        """Yield `count` times while the campaign is sent, evenly over its people."""
        for number in range(1, count + 1):
            self.reach(number / (count + 1.5))
            if self.is_over():
                return
            yield number

    def wait_for_one_of(self, names: Sequence[str]) -> None:
        """Wait until one of these is at work, not only starting, or all is done. Raises Stuck."""
        at_work = self.stage.spoken
        self.stage.until(
            lambda: not at_work.isdisjoint(names) or self.is_over(), "Nobody gets to work."
        )

    def kill(self, name: str, calls: int = 1) -> None:
        """Kill a process that may have so many calls under way, and start it again."""
        self.stage.kill(name)
        self.kills += 1
        self.calls_at_risk += calls
        self.stage.restart(name)

    def pause(self) -> None:
        """Let it rest while others are looked at."""
        insist(self.campaign.pause)
        self._stop_clock()

    def resume(self) -> None:
        """Go on."""
        self._since = time.monotonic()
        insist(self.campaign.resume)

    def is_over(self) -> bool:
        """Say whether nothing is queued or under way any more."""
        insist(lambda: self.campaign.refresh_from_db(fields=["status"]))
        return self.campaign.is_over

    def finish(self) -> None:
        """Wait until the campaign is over, and note what is in doubt then. Raises Stuck."""
        self.stage.until(self.is_over, "The campaign does not end.")
        self._doubt = self._in_doubt()
        self._stop_clock()

    def outcome(self) -> Outcome:
        """Stop the senders, hear the providers out, count, and judge."""
        stuck = self._come_to_rest()
        doubt = self._in_doubt() if self._doubt is None else self._doubt
        fields = ("pk", "email", "status", "delivered_at")
        rows = {row[0]: Row(*row[1:]) for row in self._rows.values_list(*fields)}
        mails = self._mails()
        inbox = Counter(mail["recipient"] for mail in mails)
        left = [row.email for row in rows.values() if row.status == Message.Status.UNKNOWN]
        outcome = Outcome(
            scenario=self.scenario,
            kind=self.kind,
            people=self._people,
            accepted=len(inbox),
            lost=self._people - len(rows) + sum(is_lost(row, inbox) for row in rows.values()),
            doubled=sum(count > 1 for count in inbox.values()),
            doubt=doubt,
            bound=self.calls_at_risk * CALL_SIZE,
            settled=doubt - len(left),
            left=len(left),
            left_out=sum(not inbox[email] for email in left),
            kills=self.kills,
            seconds=self._seconds,
        )
        found = [*broken(outcome), *ghosts(rows, mails), *self._unheard(rows, mails), *stuck]
        if wrong := counting.rebuild(self.campaign.pk):
            found.append(f"counters were wrong: {wrong}")
        return replace(outcome, problems=tuple(found))

    def _mails(self) -> list[dict[str, Any]]:
        """Return what was accepted since the start, but for the mail of other campaigns."""
        mails = self.stage.esp.mails(after=self._before)
        ids = {message_of(mail["message_id"]) or 0 for mail in mails}
        strange = Message.objects.filter(pk__in=ids).exclude(campaign=self.campaign)
        others = set(strange.values_list("pk", flat=True))
        return [mail for mail in mails if message_of(mail["message_id"]) not in others]

    def _come_to_rest(self) -> list[str]:
        """Wait for the end of everything; return what did not come to an end."""
        try:
            if self._doubt is None:
                self.finish()
            self.stage.clear()
            self.stage.hear()
        except Stuck as stuck:
            self.stage.clear()
            return [str(stuck)]
        return []

    def _stop_clock(self) -> None:
        self._seconds += time.monotonic() - self._since

    def _in_doubt(self) -> int:
        return insist(self._rows.filter(status=Message.Status.UNKNOWN).count)

    def _unheard(self, rows: Mapping[int, Row], mails: Sequence[Mapping[str, Any]]) -> list[str]:
        """Say what a provider told that has not come through."""
        if self.are_events_lost:
            return []
        told = {mail["recipient"] for mail in mails if mail["kind"] != "smtp"}
        deaf = [row for row in rows.values() if row.email in told and not row.delivered_at]
        open_ = [row for row in rows.values() if row.email in told and row.status == _DOUBT]
        found = [f"{len(deaf)} deliveries were told and not heard"] if deaf else []
        return found + ([f"{len(open_)} doubts were not settled"] if open_ else [])


def is_lost(row: Row, inbox: Mapping[str, int]) -> bool:
    """Say whether somebody has no mail, and nothing says so. The odd one is refused rightly."""
    if row.email in inbox or row.status == _DOUBT:
        return False
    return not (row.email == ODD and row.status == Message.Status.FAILED)


def broken(outcome: Outcome) -> list[str]:
    """Say which promises were not kept."""
    found = [f"{outcome.lost} lost"] if outcome.lost else []
    if outcome.doubled:
        found.append(f"{outcome.doubled} doubled")
    if outcome.doubt > outcome.bound:
        found.append(f"{outcome.doubt} in doubt, {outcome.bound} at most")
    return found


def ghosts(rows: Mapping[int, Row], mails: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how many mails are in the inbox of which we do not know that they may be there."""
    known = 0
    for mail in mails:
        row = rows.get(message_of(mail["message_id"]) or 0)
        known += bool(row and row.email == mail["recipient"] and row.status in _MAY_BE_THERE)
    return [f"{len(mails) - known} mails nobody knows of"] if known < len(mails) else []
