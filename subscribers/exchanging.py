"""Suppression lists as files: ours and providers' read, ours written; never held whole.

Read is any CSV with a column of addresses or of our hashes, as SendGrid, Mailgun, Postmark and
SES export theirs, or plain lines with an address each. A column that says why is understood in
their words and ours; what it does not say, the caller does.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import BinaryIO

from django.db import transaction
from django.utils.dateparse import parse_datetime

from emailplatform.errors import InvalidInput
from emailplatform.secrets import address_key
from subscribers import consenting
from subscribers.consents import BY_SYSTEM, Proof
from subscribers.models import MailingList, Suppression
from subscribers.parsing import guarded, unguarded
from subscribers.querysets import EVERYTHING, Reach, Told
from subscribers.validating import InvalidAddress, clean_address

CHUNK = 5_000
"""Rows per statement, each its own transaction: to read a file again goes on where it stopped."""
MOST_BYTES = 20 * 1024 * 1024
"""What is read while somebody waits for the page or the answer; the command reads any size."""
SHOWN = 20
"""Refused rows that are told one by one."""
COLUMNS = (
    "hash", "email", "reason", "stream", "list", "source", "event", "expires_at", "created_at",
)  # fmt: skip

_ADDRESS = ("email", "emailaddress", "address", "recipient", "suppressedaddress", "mail")
_HASH = ("hash", "addresskey", "key")
_WHY = ("reason", "suppressionreason", "type", "event")
_REASONS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("bounce", "bounced", "bounces", "hardbounce", "invalid"), "bounced"),
        **dict.fromkeys(
            ("complaint", "complained", "complaints", "spamcomplaint", "spam", "spamreport"),
            "complained",
        ),
        **dict.fromkeys(
            ("unsubscribe", "unsubscribed", "unsubscribes", "manualsuppression", "optout"),
            "unsubscribed",
        ),
        **dict.fromkeys(("blocked", "manual", "admin"), "blocked"),
        "softbounced": "soft_bounced",
    }
)
"""Words of ours and of providers, letters alone -> our reason."""


_Chunk = dict[tuple[Reach, str], list[Told]]


@dataclass(frozen=True, slots=True)
class Usual:
    """Why, and what mail is stopped, where a row does not say."""

    reason: str = "blocked"
    reach: Reach = EVERYTHING


@dataclass(slots=True)
class Taken:
    """What reading a file came to: rows = new + known + refused."""

    rows: int = 0
    new: int = 0
    known: int = 0
    """Suppressed before in the same way, or further up in the file."""
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    """Reason -> how many rows were understood so."""
    problems: list[str] = field(default_factory=list)
    """The first few refused rows, in words without their addresses."""


def read(
    file: BinaryIO,
    name: str,
    now: datetime,
    usual: Usual | None = None,
    *,
    is_rehearsal: bool = False,
    proof: Proof = BY_SYSTEM,
) -> Taken:
    """Suppress all whom a file names; `usual` is for rows that do not say it themselves.

    A rehearsal counts the same and changes nothing. Raises InvalidInput for what is no such file.
    """
    usual = usual or Usual()
    consenting.check_reach(usual.reason, usual.reach, now)
    taken = Taken()
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        rows = _rows(text, usual, f"list {name}"[:200], taken)
        try:
            if is_rehearsal:
                with transaction.atomic():
                    _suppress(rows, now, proof, taken)
                    transaction.set_rollback(True)
            else:
                _suppress(rows, now, proof, taken)
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidInput(
                f"Row {taken.rows + 1} cannot be read: save the file as CSV in UTF-8. What stood"
                " above it is taken.",
                param="file",
            ) from error
    return taken


def _suppress(
    rows: Iterator[tuple[Reach, Told]], now: datetime, proof: Proof, taken: Taken
) -> None:
    chunk: _Chunk = defaultdict(list)
    waiting = 0
    for reach, row in rows:
        chunk[reach, row.reason].append(row)
        waiting += 1
        if waiting >= CHUNK:
            _write(chunk, now, proof, taken)
            chunk, waiting = defaultdict(list), 0
    _write(chunk, now, proof, taken)


def _write(chunk: _Chunk, now: datetime, proof: Proof, taken: Taken) -> None:
    for (reach, reason), rows in chunk.items():
        taken.reasons[reason] += len(rows)
        new = Suppression.objects.suppress_many(rows, now, proof, reach)
        taken.new += new
        taken.known += len(rows) - new


def _rows(
    text: Iterable[str], usual: Usual, source: str, taken: Taken
) -> Iterator[tuple[Reach, Told]]:
    """Yield the rows that are understood; count the others."""
    lines = iter(text)
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter), [])
    names = [_letters(each) for each in header]
    at_key, at_address = _place(names, _HASH), _place(names, _ADDRESS)
    body: Iterable[str] = lines
    if at_key is None and at_address is None:
        if "@" not in first:
            raise InvalidInput(
                "No column is called email or hash: name one so in the first line.", param="file"
            )
        at_address, body = (
            next(n for n, cell in enumerate(header) if "@" in cell),
            _and(first, lines),
        )
        names = []
    reaches = _Reaches(names)
    why = [n for n, name in enumerate(names) if name in _WHY]
    for line, cells in enumerate(csv.reader(body, delimiter=delimiter), 2 if names else 1):
        if not any(cells):
            continue
        taken.rows += 1
        key = _key(_cell(cells, at_key), _cell(cells, at_address))
        if key is None:
            taken.refused += 1
            if len(taken.problems) < SHOWN:
                taken.problems.append(f"Line {line} has neither an address nor a hash of ours.")
            continue
        said = (_REASONS.get(_letters(_cell(cells, at)), "") for at in why)
        reason = next(filter(None, said), usual.reason)
        yield reaches.of(cells, usual.reach), Told(key, reason, source)


class _Reaches:
    """What mail a row of our own export stops."""

    def __init__(self, names: list[str]) -> None:
        self.places = [_place(names, (each,)) for each in ("stream", "list", "expiresat")]
        self.lists = dict(MailingList.objects.values_list("name", "pk"))

    def of(self, cells: list[str], usual: Reach) -> Reach:
        """Return the reach of a row; of a list that is not here, `usual`."""
        stream, name, ends = (_cell(cells, place) for place in self.places)
        if not (stream in Suppression.Stream or name in self.lists or ends):
            return usual
        return Reach(
            stream if stream in Suppression.Stream else "",
            self.lists.get(name),
            parse_datetime(ends) if ends else None,
        )


def _and(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _place(names: list[str], known: tuple[str, ...]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _cell(cells: list[str], at: int | None) -> str:
    return unguarded(cells[at]).strip() if at is not None and at < len(cells) else ""


def _letters(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


def _key(hashed: str, address: str) -> bytes | None:
    if re.fullmatch(r"[0-9a-fA-F]{64}", hashed):
        return bytes.fromhex(hashed)
    try:
        return address_key(clean_address(address)) if address else None
    except InvalidAddress:
        return None


def write(with_addresses: bool) -> Iterator[str]:
    """Yield all suppressions as lines of CSV: the hash of each, and the address where we know it.

    Safe to open in a spreadsheet: cells that would count as formulas are guarded.
    """
    columns = [name for name in COLUMNS if with_addresses or name != "email"]
    yield _line(columns)
    for row in Suppression.objects.with_emails().iterator(2_000):
        values = {
            "hash": bytes(row.address_key).hex(),
            "email": row.email or "",
            "reason": row.reason,
            "stream": row.stream,
            "list": row.list.name if row.list else "",
            "source": row.source,
            "event": row.event or "",
            "expires_at": row.expires_at.isoformat() if row.expires_at else "",
            "created_at": row.created_at.isoformat(),
        }
        yield _line([guarded(str(values[name])) for name in columns])


def _line(cells: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()
