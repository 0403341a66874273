"""Records into people: values by column, or the reason why a row is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from json.encoder import encode_basestring
from typing import NamedTuple

from emailplatform.secrets import address_key
from subscribers import converting, flagging
from subscribers.flagging import Flag, Policy
from subscribers.mailboxes import mailbox_of
from subscribers.reading import Record
from subscribers.validating import InvalidAddress, clean_address

CONTENT_LENGTH = 500
"""How much of a refused row is kept."""


class Person(NamedTuple):
    """One person as COPY takes it; `attributes` is JSON, `tags` an array literal."""

    email: str
    address_key: bytes
    mailbox: str
    first_name: str
    last_name: str
    language: str
    time_zone: str
    country: str
    attributes: str
    tags: str


class Refused(NamedTuple):
    """A row that was not taken."""

    line: int
    reason: str
    content: str


@dataclass(slots=True)
class Batch:
    """What a run of records came to."""

    people: list[Person] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    held: dict[str, str] = field(default_factory=dict)
    """Address -> the `flagging.Kind` for which the list holds it back."""
    duplicates: int = 0
    """Rows whose address stood further up in this batch."""
    offset: int = 0
    line: int = 0
    """The place in the file behind it, as in `Records`."""


@lru_cache(maxsize=4096)
def _tags_literal(text: str, everybody: tuple[str, ...] = ()) -> str:
    tags = dict.fromkeys((*everybody, *converting.tags(text)))
    quoted = (tag.replace("\\", r"\\").replace('"', r"\"") for tag in tags)
    return "{" + ",".join(f'"{tag}"' for tag in quoted) + "}"


def _name(text: str) -> str:
    return converting.name(unguarded(text))


_CONVERT: dict[str, Callable[[str], str | None]] = {
    "first_name": _name,
    "last_name": _name,
    "language": converting.language,
    "time_zone": converting.time_zone,
    "country": converting.country,
}
_WARNING = {
    "language": "language not understood: left empty",
    "time_zone": "time zone not understood: left empty",
    "country": "country not understood (two letters, ISO 3166): left empty",
}
_TYPE_WARNING = {
    "number": "is not a number: left empty",
    "date": "is not a date (2026-11-23): left empty",
    "boolean": "is neither yes nor no: left empty",
}
_FORMULA_STARTS = tuple("=+-@\t\r\uff1d\uff0b\uff0d\uff20")
"""Also in full width: spreadsheets fold it."""


def guarded(text: str) -> str:
    """Return a cell no spreadsheet takes for a formula: ' before = + - @ tab and CR (SEC-14)."""
    return f"'{text}" if text.lstrip(" '").startswith(_FORMULA_STARTS) else text


def unguarded(text: str) -> str:
    """Return a cell without the guard: what was exported comes back as it was."""
    is_guarded = text[:1] == "'" and text[1:].lstrip(" '").startswith(_FORMULA_STARTS)
    return text[1:] if is_guarded else text


class Parser:
    """How the rows of one file become people: its mapping, ready to run over millions of rows."""

    def __init__(
        self,
        headers: Sequence[str],
        mapping: Mapping[str, str],
        types: Mapping[str, str],
        policies: Mapping[str, str] | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        """`types`: attribute name -> Attribute.Type; `policies`: those of the list they go on.

        `tags` are everybody's.
        """
        self._width = len(headers)
        self._policies = policies or {}
        self._everybody = tuple(tags)
        self._tags = _tags_literal("", self._everybody)
        self._columns: list[tuple[int, int, Callable[[str], str | None], str]] = []
        self._attributes: list[tuple[int, str, Callable[[str], str | None], str]] = []
        for position, header in enumerate(headers):
            target = mapping.get(header, "")
            if target == "email":
                self._email = position
            elif target.startswith("attributes."):
                self._add_attribute(position, header, target.removeprefix("attributes."), types)
            elif target:
                column = Person._fields.index(target)
                warning = _WARNING.get(target, "")
                convert = self._with_tags if target == "tags" else _CONVERT[target]
                self._columns.append((position, column, convert, warning))

    def _add_attribute(
        self, position: int, header: str, name: str, types: Mapping[str, str]
    ) -> None:
        kind = types.get(name, "text")
        warning = f"“{header}” {_TYPE_WARNING.get(kind, '')}"
        self._attributes.append((position, f'"{name}":', _json(kind), warning))

    def _with_tags(self, cell: str) -> str:
        return _tags_literal(cell, self._everybody)

    def parse(self, records: Iterable[Record]) -> Batch:
        """Return what the records come to. Rows with nothing in them are no rows."""
        batch = Batch()
        seen: set[str] = set()
        for record in records:
            if not record.problem and not any(record.cells):
                continue
            batch.rows += 1
            try:
                email = self._address(record)
                doubts = flagging.flags_of(email)
                if doubts:
                    self._refuse(doubts)
            except InvalidAddress as error:
                content = ", ".join(record.cells).replace("\0", "�")[:CONTENT_LENGTH]
                batch.refused.append(Refused(record.line, str(error), content))
                continue
            if email in seen:
                batch.duplicates += 1
                continue
            seen.add(email)
            if doubts:
                self._note(email, doubts, batch)
            batch.people.append(self._person(email, record.cells, batch.warnings))
        return batch

    def _refuse(self, doubts: Iterable[Flag]) -> None:
        """Raise InvalidAddress if the list does not take an address with these flags."""
        for doubt in doubts:
            if self._policies.get(doubt.kind) == Policy.REFUSE:
                raise InvalidAddress(f"{flagging.IN_IMPORTS[doubt.kind]}: refused by the list")

    def _note(self, email: str, doubts: Sequence[Flag], batch: Batch) -> None:
        """Count the worst flag, and hold the address back if the list wants it."""
        batch.warnings[flagging.IN_IMPORTS[doubts[0].kind]] += 1
        held = next((d for d in doubts if self._policies.get(d.kind) == Policy.HOLD), None)
        if held:
            batch.held[email] = held.kind.value

    def _address(self, record: Record) -> str:
        """Return the address of a row that can be taken. Raises InvalidAddress with the reason."""
        cells = record.cells
        if record.problem:
            raise InvalidAddress(record.problem)
        if len(cells) > self._width and any(cells[self._width :]):
            raise InvalidAddress("more cells than column names (is a comma missing its quotes?)")
        if "\0" in "".join(cells):
            raise InvalidAddress("contains NUL bytes")
        return clean_address(cells[self._email]) if len(cells) > self._email else clean_address("")

    def _person(self, email: str, cells: list[str], warnings: Counter[str]) -> Person:
        values: list[str | bytes] = [
            email, address_key(email), mailbox_of(email), "", "", "", "", "", "{}", self._tags,
        ]  # fmt: skip
        width = len(cells)
        for position, column, convert, warning in self._columns:
            cell = cells[position] if position < width else ""
            if cell and not cell.isspace():
                value = convert(cell)
                if value is None:
                    warnings[warning] += 1
                else:
                    values[column] = value
        if self._attributes:
            values[8] = self._attributes_of(cells, warnings)
        return Person._make(values)

    def _attributes_of(self, cells: list[str], warnings: Counter[str]) -> str:
        """Return the attributes as a JSON object, put together by hand: twice as fast as json."""
        pairs = []
        width = len(cells)
        for position, key, convert, warning in self._attributes:
            cell = cells[position] if position < width else ""
            if cell and not cell.isspace():
                value = convert(cell)
                if value is None:
                    warnings[warning] += 1
                else:
                    pairs.append(key + value)
        return "{" + ",".join(pairs) + "}"


def _json(kind: str) -> Callable[[str], str | None]:
    """Return what turns a cell into JSON of an attribute's type, or None (json is slower)."""
    convert = converting.BY_TYPE[kind]

    def converted(cell: str) -> str | None:
        value = convert(unguarded(cell))
        if isinstance(value, str):
            return encode_basestring(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        return None if value is None else repr(value)

    return converted
