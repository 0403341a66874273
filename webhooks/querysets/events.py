"""Events: a batch brought in, compared with what is known, and what it means."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection, models

from delivery.counting import Delta
from subscribers.models import RetentionRun
from webhooks import event_statements as statements
from webhooks import feeling_statements, weighing_statements

if TYPE_CHECKING:
    from webhooks.models import Event

LOCK_TIMEOUT_MS = 500
"""Applying gives way before PostgreSQL looks for deadlocks (1 s): no sender is ever the victim."""


class Arrival(NamedTuple):
    """An event on its way into the database. The order is that of `event_statements.HEARD`."""

    request: int | None
    may_wait: bool
    """A message that is not there may still come: leave the event for later."""
    account: int | None
    dedupe_key: str
    type: str
    occurred_at: datetime
    message: int | None
    recipient: str
    provider_message_id: str
    url: str
    ip: str | None
    user_agent: str
    is_machine: bool | None
    bounce_class: str
    reason: str
    complaint_type: str
    country: str
    device: str
    client: str
    browser: str
    os: str
    machine_reason: str
    machine_told: bool | None
    machine_rules: int
    person: int | None = None
    """Whom an event is about that names no message: only our own programs and pages know."""


class Glance(NamedTuple):
    """A stored open or click, what was thought of it so far, and what it is judged by."""

    id: int
    message: int | None
    type: str
    occurred_at: datetime
    url: str
    ip: str
    user_agent: str
    told: bool | None
    reason: str
    crowd: int
    was_machine: bool | None
    was_reason: str
    was_rules: int
    delivered_at: datetime | None


class Judgement(NamedTuple):
    """What an event's verdict becomes."""

    id: int
    is_machine: bool | None
    reason: str
    told: bool | None
    rules: int


class Pace(NamedTuple):
    """How far apart events may be to matter to each other."""

    pace: bool
    """Whether haste and crowds are looked at."""
    open_fast: timedelta
    click_fast: timedelta
    before: timedelta
    crowd_within: timedelta


class Taken(NamedTuple):
    """How many events an account told in a batch, and how many of them were new."""

    account: int
    told: int
    new: int


class Drifted(NamedTuple):
    """Messages of a campaign whose times are not what their events say."""

    campaign: int | None
    """None: mail sent by API."""
    number: int
    some: list[int]
    """The first few of them."""


class CopyEnded(NamedTuple):
    """A copy of a mail that bounced for good, or was complained about."""

    type: str
    account: int | None
    recipient: str


class Consequence(NamedTuple):
    """What a new event means for the person, beyond the message."""

    type: str
    account: int | None
    campaign: int | None
    subscriber: int | None
    address_key: bytes
    mailed_at: datetime
    """Not later than the mail: its message was made then."""
    event: int | None = None
    """What shows it."""


class EventQuerySet(models.QuerySet["Event"]):
    """One batch at a time: `arrive`, then the rest in this order, in one transaction."""

    def arrive(self, arrivals: Iterable[Arrival]) -> None:
        """Bring a batch to the database: COPY into a table that lasts as long as the transaction.

        COPY costs half as much as JSON and a seventh of arrays. Safe behind PgBouncer: each
        transaction makes the table if it is not there.
        """
        with connection.wrap_database_errors, connection.cursor() as cursor:
            cursor.execute(feeling_statements.MAKE_ROOM)
            cursor.execute(statements.MAKE_ROOM)
            with cursor.copy(statements.COPY_HEARD) as copy:
                for arrival in arrivals:
                    copy.write_row(arrival)

    def hold_back(self) -> dict[int, int]:
        """Leave out events of messages that may still come; return how many, by raw request."""
        with connection.cursor() as cursor:
            cursor.execute(statements.HOLD_BACK)
            return dict(cursor.fetchall())

    def take_in(self) -> int:
        """Insert the events that are new; return how many."""
        with connection.cursor() as cursor:
            cursor.execute(statements.TAKE_IN)
            inserted: int = cursor.rowcount
        return inserted

    def unmatched(self) -> dict[str, dict[int, int]]:
        """Return how many new events are foreign or orphans: by standing, then by request."""
        counted: dict[str, dict[int, int]] = {}
        with connection.cursor() as cursor:
            cursor.execute(statements.UNMATCHED)
            for standing, request, number in cursor.fetchall():
                counted.setdefault(standing, {})[request] = number
        return counted

    def taken(self) -> list[Taken]:
        """Return what was told and what of it was new, by account."""
        with connection.cursor() as cursor:
            cursor.execute(statements.TAKEN)
            return [Taken(*row) for row in cursor.fetchall()]

    def copies_ended(self) -> list[CopyEnded]:
        """Return the addresses of copies which the new events end."""
        with connection.cursor() as cursor:
            cursor.execute(statements.COPIES_ENDED)
            return [CopyEnded(*row) for row in cursor.fetchall()]

    def mark_messages(self) -> list[Delta]:
        """Write what the new events say into their messages; return how the counters change."""
        with connection.cursor() as cursor:
            cursor.execute(statements.MARK)
            return [Delta(*row) for row in cursor.fetchall()]

    def consequences(self) -> list[Consequence]:
        """Return the new events that end somebody's mail."""
        with connection.cursor() as cursor:
            cursor.execute(statements.CONSEQUENCES)
            return [Consequence(*row) for row in cursor.fetchall()]

    def note_engagement(self) -> None:
        """Remember when people have last opened or clicked, as far as the new events say."""
        with connection.cursor() as cursor:
            cursor.execute(statements.ENGAGED)

    def count_soft_bounces(self, tired_at: int) -> list[bytes]:
        """Count anew the soft bounces in a row of the people whom the new events change.

        Returns the keys of the addresses that have `tired_at` of them now, or more.
        """
        with connection.cursor() as cursor:
            cursor.execute(statements.SOFT_BOUNCES)
            return [bytes(key) for key, bounces in cursor.fetchall() if bounces >= tired_at]

    def settle_doubts(self) -> list[Delta]:
        """Mark messages in doubt as sent if an event showed it before they came into doubt.

        Whatever comes afterwards settles them as it is applied.
        """
        with connection.cursor() as cursor:
            cursor.execute(statements.SETTLE)
            return [Delta(*row) for row in cursor.fetchall()]

    # --- People and machines -------------------------------------------------------------

    def concerned(self, pace: Pace) -> list[int]:
        """Return the messages whose verdicts the new events may change."""
        with connection.cursor() as cursor:
            cursor.execute(weighing_statements.CONCERNED, pace._asdict())
            return [row[0] for row in cursor.fetchall()]

    def glances(self, messages: list[int], pace: Pace) -> list[Glance]:
        """Return opens and clicks of messages, which nobody else judges until this commits."""
        given: dict[str, Any] = {
            **pace._asdict(),
            "messages": messages,
            "most": weighing_statements.MOST_LOOKS,
        }
        with connection.cursor() as cursor:
            cursor.execute(weighing_statements.HOLD, [messages])
            cursor.execute(weighing_statements.SEEN, given)
            return [Glance(*row) for row in cursor.fetchall()]

    def lonely_glances(self, events: list[int]) -> list[Glance]:
        """Return opens and clicks that no message of ours has."""
        with connection.cursor() as cursor:
            cursor.execute(weighing_statements.LONELY, [events])
            return [Glance(*row) for row in cursor.fetchall()]

    def judge(
        self, judgements: Sequence[Judgement], messages: list[int], *, is_batch: bool
    ) -> list[Delta]:
        """Write verdicts, and into these messages what they mean; return how counters change.

        `is_batch`: some of the events may have come in this transaction's batch.
        """
        columns = list(zip(*judgements, strict=True)) or [()] * len(Judgement._fields)
        names = ("ids", "machines", "reasons", "told", "rules")
        given: dict[str, Any] = dict(zip(names, map(list, columns), strict=True)) | {
            "messages": messages
        }
        with connection.cursor() as cursor:
            cursor.execute(weighing_statements.REVISE, given)
            deltas = [Delta(*row) for row in cursor.fetchall()]
            cursor.execute(weighing_statements.JUDGE, given)
            if is_batch and judgements:
                cursor.execute(feeling_statements.REVERDICT, [given["ids"]])
        return deltas

    def revise_engagement(self, to_machine: list[int], from_machine: list[int]) -> None:
        """Say again when people last opened or clicked, after these events changed sides."""
        with connection.cursor() as cursor:
            if to_machine:
                cursor.execute(weighing_statements.DISENGAGE, [to_machine])
                cursor.execute(feeling_statements.RESEE, ["unseen_", to_machine])
            if from_machine:
                cursor.execute(weighing_statements.ENGAGE, [from_machine])
                cursor.execute(feeling_statements.RESEE, ["seen_", from_machine])

    def forget(self, events: Collection[int]) -> int:
        """Take the person out of these events; return how many. What happened, and when, stays."""
        nothing: dict[str, Any] = {
            "subscriber_id": None, "recipient": "", "ip": None, "user_agent": "", "country": "",
            "device": "", "client": "", "browser": "", "os": "",
        }  # fmt: skip
        return self.filter(pk__in=events).exclude(**nothing).update(**nothing)

    def drifted(self) -> list[Drifted]:
        """Return whose times are not what all stored events say, by campaign; change nothing."""
        aged = RetentionRun.objects.filter(kind="events").values_list("begun_until", flat=True)
        since = aged.first() or datetime.min.replace(tzinfo=UTC)
        with connection.cursor() as cursor:
            cursor.execute(statements.DRIFTED, {"since": since})
            return [Drifted(*row) for row in cursor.fetchall()]
