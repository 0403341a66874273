"""The inbox's tables and statements."""

import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS call (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, shared BLOB NOT NULL, sample BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY, call INTEGER NOT NULL, account TEXT NOT NULL, recipient TEXT NOT NULL,
    message_id TEXT NOT NULL, provider_message_id TEXT NOT NULL, own BLOB NOT NULL,
    received_at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS message_recipient ON message (recipient);
CREATE TABLE IF NOT EXISTS event (
    id INTEGER PRIMARY KEY, message INTEGER NOT NULL, account TEXT NOT NULL, type TEXT NOT NULL,
    at REAL NOT NULL, due_at REAL NOT NULL, pick INTEGER NOT NULL, agent INTEGER NOT NULL,
    state INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS event_message ON event (message);
CREATE INDEX IF NOT EXISTS event_due ON event (due_at) WHERE state = 0;
CREATE TABLE IF NOT EXISTS file (sha256 TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS inactive (
    account TEXT NOT NULL, recipient TEXT NOT NULL, PRIMARY KEY (account, recipient));
"""

MESSAGE = (
    "SELECT message.id, message.account, call.kind, message.call,"
    " message.own, message.recipient, message.message_id, message.provider_message_id,"
    " message.received_at FROM message JOIN call ON call.id = message.call"
)

WANTED = "instr(message.recipient, ?) AND (? = '' OR message.account = ?)"
"""Any part of an address (an empty one is part of all), and an account or all."""

TABLES = ("call", "message", "event")
INSERT_EVENT = (
    "INSERT INTO event (message, account, type, at, due_at, pick, agent, state)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_EVENT = (
    "SELECT event.id AS event, event.message, event.type, event.at, event.pick, event.agent,"
    " event.attempts, message.account, call.kind, message.call, message.own, message.recipient,"
    " message.message_id, message.provider_message_id"
    " FROM event JOIN message ON message.id = event.message JOIN call ON call.id = message.call"
)
DUE = f"{_EVENT} WHERE event.state = 0 AND event.due_at <= ? ORDER BY event.due_at LIMIT ?"
HAPPENED = (
    f"{_EVENT} WHERE event.account = ? AND event.at >= ? AND event.at <= ? ORDER BY event.at, 1"
)
POSTPONE = "UPDATE event SET state = 0, due_at = ?, attempts = attempts + 1 WHERE id = ?"
STATS = (
    "SELECT account, count(*) AS messages, count(DISTINCT recipient) AS recipients,"
    " count(DISTINCT recipient || char(31) || message_id) AS 'distinct'"
    " FROM message GROUP BY account"
)
EVENT_STATS = "SELECT account, type, state, count(*) AS count FROM event GROUP BY 1, 2, 3"
TOTALS = (
    "SELECT count(*) AS messages, count(DISTINCT recipient) AS recipients,"
    " count(DISTINCT recipient || char(31) || message_id) AS 'distinct',"
    " (SELECT count(*) FROM event WHERE state IN (0, 1)) AS pending_events FROM message"
)
DUPLICATES = (
    "SELECT recipient, message_id, count(*) AS count, group_concat(account) AS accounts"
    " FROM message GROUP BY recipient, message_id HAVING count(*) > 1 ORDER BY 1, 2 LIMIT ?"
)


class Transaction:
    """Everything inside is written, or nothing is."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._db.execute("ROLLBACK" if kind else "COMMIT")
