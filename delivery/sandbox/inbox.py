"""Keep what was accepted, and the events still to be told, in one SQLite file.

Memory stays flat: a call's shared bodies are stored once, each message adds only what is its own,
and large own parts (Postmark sends a whole body per message) are compressed against the first of
their call. A call is committed before it is answered, so a kill loses nothing that was accepted.
`synchronous = OFF` is safe for that: only a crash of the machine loses what SQLite wrote.
"""

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from delivery.sandbox import schema
from delivery.sandbox.calls import Call, Letter, Occurrence
from delivery.sandbox.config import Account
from delivery.sandbox.outcomes import AGENTS, Planned

LARGE = 1500
"""Bytes from which a message's own part is worth compressing."""

PENDING, IN_FLIGHT, TOLD, FAILED, DROPPED, NOT_SENT = range(6)
STATES = ("pending", "in_flight", "told", "failed", "dropped", "not_sent")
"""States of an event: `dropped` is the fault of that name, `not_sent` what no webhook tells."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message of the inbox, still as skeleton and values."""

    id: int
    account: str
    kind: str
    recipient: str
    message_id: str
    provider_message_id: str
    received_at: float
    shared: Mapping[str, Any]
    own: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Due:
    """An event whose time has come. `occurrence.url` is still empty."""

    account: str
    kind: str
    attempts: int
    occurrence: Occurrence


class Inbox:
    """The stored messages and events. Used by one thread only, that of the server."""

    def __init__(self, path: str = "") -> None:
        """Open the file at `path`; without one, a temporary file that vanishes with this object."""
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(schema.SCHEMA)
        self._db.execute("UPDATE event SET state = ? WHERE state = ?", (PENDING, IN_FLIGHT))
        self._next = {name: self._one(f"SELECT max(id) FROM {name}") or 0 for name in schema.TABLES}  # noqa: S608
        self._skeleton = lru_cache(maxsize=128)(self._load_skeleton)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def store(
        self,
        account: Account,
        call: Call,
        now: float,
        plan: Callable[[Letter], Iterable[tuple[Planned, int]]],
    ) -> None:
        """Keep a call, its messages and the events that `plan(letter)` gives.

        A plan gives each event with the state it starts in. One transaction.
        """
        call_id = self._take("call", 1)
        first = self._take("message", len(call.letters))
        own = [_dump(letter.own) for letter in call.letters]
        sample = own[0] if own and len(own[0]) > LARGE else b""
        messages, events = [], []
        for number, (letter, part) in enumerate(zip(call.letters, own, strict=True), first):
            recipient = letter.recipient.lower()
            ids = (letter.message_id, letter.provider_message_id)
            packed = _pack(part, sample)
            messages.append((number, call_id, account.name, recipient, *ids, packed, now))
            if letter.is_unrenderable:
                events.append((number, account.name, "unrenderable", now, now, 0, 0, PENDING))
                continue
            for item, state in plan(letter):
                at = now + item.delay
                row = (number, account.name, item.type, at, at, item.pick, item.agent, state)
                events.append(row)
        with schema.Transaction(self._db):
            skeleton = (call_id, account.kind, _dump(call.shared), zlib.compress(sample, 1))
            self._db.execute("INSERT INTO call VALUES (?, ?, ?, ?)", skeleton)
            self._db.executemany("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)", messages)
            self._db.executemany("INSERT OR IGNORE INTO file VALUES (?, ?)", call.files.items())
            self._db.executemany(schema.INSERT_EVENT, events)

    def due(self, now: float, limit: int) -> list[Due]:
        """Take up to `limit` events whose time has come; they are in flight from now on."""
        rows = self._db.execute(schema.DUE, (now, limit)).fetchall()
        taken = [(row["event"],) for row in rows]
        with schema.Transaction(self._db):
            self._db.executemany(f"UPDATE event SET state = {IN_FLIGHT} WHERE id = ?", taken)  # noqa: S608
        # Several events of one message are often due at once: read it once.
        read: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        for row in rows:
            if row["message"] not in read:
                read[row["message"]] = self._parts(row)
        return [_due(row, *read[row["message"]]) for row in rows]

    def happened(self, account: str, since: float, until: float) -> list[Due]:
        """Return the events of an account between two times, told or not, in their order."""
        rows = self._db.execute(schema.HAPPENED, (account, since, until)).fetchall()
        return [_due(row, *self._parts(row)) for row in rows]

    def next_due(self) -> float | None:
        """Return when the next event is due, in seconds since the epoch."""
        due: float | None = self._one("SELECT min(due_at) FROM event WHERE state = 0")
        return due

    def settle(self, events: Sequence[int], state: int) -> None:
        """Write down what became of events that were in flight."""
        rows = [(state, event) for event in events]
        with schema.Transaction(self._db):
            self._db.executemany("UPDATE event SET state = ? WHERE id = ?", rows)

    def postpone(self, events: Sequence[int], until: float) -> None:
        """Make events due again at `until`, after an attempt that failed."""
        rows = [(until, event) for event in events]
        with schema.Transaction(self._db):
            self._db.executemany(schema.POSTPONE, rows)

    def deactivate(self, account: str, recipients: Iterable[str]) -> None:
        """Remember that an account's mail to these addresses bounced or was complained about."""
        rows = [(account, recipient.lower()) for recipient in recipients]
        with schema.Transaction(self._db):
            self._db.executemany("INSERT OR IGNORE INTO inactive VALUES (?, ?)", rows)

    def is_inactive(self, account: str, recipient: str) -> bool:
        """Whether the account may no longer write to the address."""
        query = "SELECT 1 FROM inactive WHERE account = ? AND recipient = ?"
        return self._one(query, account, recipient.lower()) is not None

    def messages(self, to: str, account: str, after: int, limit: int) -> list[Stored]:
        """Return messages with an id above `after`, oldest first; `to` is part of the address."""
        query = f"{schema.MESSAGE} WHERE {schema.WANTED} AND message.id > ? ORDER BY 1 LIMIT ?"
        rows = self._db.execute(query, (to.lower(), account, account, after, limit))
        return [self._stored(row) for row in rows]

    def newest(self, to: str, account: str, before: int | None, limit: int) -> list[Stored]:
        """Return messages with an id below `before`, newest first."""
        query = f"{schema.MESSAGE} WHERE {schema.WANTED} AND message.id < ? ORDER BY 1 DESC LIMIT ?"
        below = before or self._next["message"] + 1
        rows = self._db.execute(query, (to.lower(), account, account, below, limit))
        return [self._stored(row) for row in rows]

    def message(self, number: int) -> Stored | None:
        """Return one message by its id."""
        row = self._db.execute(f"{schema.MESSAGE} WHERE message.id = ?", (number,)).fetchone()
        return self._stored(row) if row else None

    def file(self, sha256: str) -> bytes | None:
        """Return the bytes of an attachment by their digest."""
        content: bytes | None = self._one("SELECT content FROM file WHERE sha256 = ?", sha256)
        return content

    def events_of(self, number: int) -> list[dict[str, Any]]:
        """Return the events of one message in the order they happen, with their state."""
        query = "SELECT type, at, agent, state, attempts FROM event WHERE message = ? ORDER BY at"
        return [
            {**dict(row), "state": STATES[row["state"]], "agent": AGENTS[row["agent"]].user_agent}
            for row in self._db.execute(query, (number,))
        ]

    def stats(self) -> dict[str, Any]:
        """Return counts per account: messages, people, distinct messages, events by state."""
        accounts = {
            row["account"]: {**dict(row), "events": {}} for row in self._db.execute(schema.STATS)
        }
        for row in self._db.execute(schema.EVENT_STATS):
            own = accounts[row["account"]]["events"].setdefault(row["type"], {})
            own[STATES[row["state"]]] = row["count"]
        return accounts

    def totals(self) -> dict[str, int]:
        """Return counts over all accounts."""
        return dict(self._db.execute(schema.TOTALS).fetchone())

    def duplicates(self, limit: int = 1000) -> list[dict[str, Any]]:
        """Return every (recipient, our message id) that was accepted more than once."""
        rows = self._db.execute(schema.DUPLICATES, (limit,))
        return [{**dict(row), "accounts": row["accounts"].split(",")} for row in rows]

    def clear(self) -> None:
        """Forget all messages and events."""
        with schema.Transaction(self._db):
            for name in (*schema.TABLES, "file", "inactive"):
                self._db.execute(f"DELETE FROM {name}")  # noqa: S608
        self._skeleton.cache_clear()

    def _take(self, table: str, count: int) -> int:
        """Return the first of `count` new ids."""
        first = self._next[table] + 1
        self._next[table] += count
        return first

    def _one(self, query: str, *values: Any) -> Any:
        row = self._db.execute(query, values).fetchone()
        return row[0] if row else None

    def _parts(self, row: sqlite3.Row) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return what the message shares and what is its own."""
        shared, sample = self._skeleton(row["call"])
        return shared, json.loads(_unpack(row["own"], sample).decode())

    def _load_skeleton(self, call: int) -> tuple[Mapping[str, Any], bytes]:
        """Return what the messages of a call share, and what their own parts are packed against."""
        query = "SELECT shared, sample FROM call WHERE id = ?"
        row = self._db.execute(query, (call,)).fetchone()
        return json.loads(row["shared"]), zlib.decompress(row["sample"])

    def _stored(self, row: sqlite3.Row) -> Stored:
        shared, own = self._parts(row)
        names = ("id", "account", "kind", "recipient", "message_id", "provider_message_id")
        values = {name: row[name] for name in names}
        return Stored(**values, received_at=row["received_at"], shared=shared, own=own)


def _due(row: sqlite3.Row, shared: Mapping[str, Any], own: Mapping[str, Any]) -> Due:
    """Return the event of a row of schema.DUE."""
    occurrence = Occurrence(
        id=row["event"],
        type=row["type"],
        at=row["at"],
        pick=row["pick"],
        agent=AGENTS[row["agent"]],
        url="",
        recipient=row["recipient"],
        message_id=row["message_id"],
        provider_message_id=row["provider_message_id"],
        shared=shared,
        own=own,
    )
    return Due(row["account"], row["kind"], row["attempts"], occurrence)


def _dump(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _pack(part: bytes, sample: bytes) -> bytes:
    """Return the part as it is, or compressed against the sample after a NUL, which no JSON has."""
    if len(part) <= LARGE or not sample:
        return part
    packer = zlib.compressobj(1, zdict=sample)
    return b"\0" + packer.compress(part) + packer.flush()


def _unpack(part: bytes, sample: bytes) -> bytes:
    if not part.startswith(b"\0"):
        return part
    unpacker = zlib.decompressobj(zdict=sample)
    return unpacker.decompress(part[1:])
