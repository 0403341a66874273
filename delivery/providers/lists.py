"""Providers' own lists of whom they mail no more: a page read, some added, one taken off."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar
from urllib.parse import quote

from delivery.providers import hearing


@dataclass(frozen=True, slots=True)
class Listed:
    """An address on a provider's list, with our word for why."""

    email: str
    reason: str
    at: datetime | None = None
    """Since when, if the provider says so."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a list; `following` asks for the rest, and is empty at the end."""

    listed: Sequence[Listed]
    following: str = ""


class Lists(ABC):
    """The lists of one account. A context manager; every method raises Unavailable."""

    label: ClassVar[str]
    takes: Mapping[str, str]
    """Our reason -> the list that can be told of it."""
    places: Sequence[str]
    """Its lists, by the provider's names."""
    most: ClassVar[int]
    """How many `add` takes at once."""
    stops_one_stream: ClassVar[bool] = False
    """Whether the lists that are told stop marketing alone, not all that the account sends."""

    def __enter__(self) -> Lists:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @abstractmethod
    def page(self, place: str, cursor: str) -> Page:
        """Return some of a list: its beginning, or where the page before said it goes on."""

    @abstractmethod
    def add(self, place: str, emails: Sequence[str], reason: str) -> Sequence[str]:
        """Put addresses on a list; return those that it took."""

    @abstractmethod
    def remove(self, place: str, email: str) -> bool:
        """Take an address off a list; say if the provider does so. One it has not is off."""


def segment(text: str) -> str:
    """Return a text as one part of a path, whatever it contains."""
    return quote(text, safe="")


def rows(answer: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a JSON list; what is none is an empty one."""
    return [hearing.mapping(each) for each in hearing.items(answer)]


def listed(
    found: Sequence[Mapping[str, Any]],
    name: str,
    reason: Callable[[Mapping[str, Any]], str],
    at: str,
) -> list[Listed]:
    """Return rows in our words; those for which `reason` has none are left out."""
    told = ((hearing.text(row.get(name)), reason(row), _moment(row.get(at))) for row in found)
    return [Listed(*each) for each in told if each[0] and each[1]]


def _moment(told: Any) -> datetime | None:
    """Return a time, told in Unix seconds, as ISO 8601 or as mails write it; None if it is none."""
    try:
        if isinstance(told, int | float):
            return datetime.fromtimestamp(told, UTC)
        text = hearing.text(told)
        is_iso = text[:4].isdigit()
        moment = datetime.fromisoformat(text) if is_iso else parsedate_to_datetime(text)
    except (ValueError, OverflowError, OSError, TypeError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
