"""State machines: a status moves only along a table, and the database decides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from django.db import models

from emailplatform.errors import DomainError


class InvalidTransition(DomainError):
    """A row is not in a state from which it may get there."""

    code = "invalid_transition"


class StatefulModel(models.Model):
    """A model whose `status` moves only along TRANSITIONS (from -> allowed targets)."""

    TRANSITIONS: ClassVar[Mapping[str, frozenset[str]]]
    status = models.CharField(max_length=20)

    class Meta:
        abstract = True

    @classmethod
    def sources_of(cls, status: str) -> list[str]:
        """Return the states from which a row may become `status`."""
        return [source for source, targets in cls.TRANSITIONS.items() if status in targets]

    def move_to(
        self, status: str, *, only_from: Collection[str] | None = None, **fields: Any
    ) -> None:
        """Set `status` and `fields` in one UPDATE, if the row may move there now.

        `only_from` narrows the table for a verb that is one of several ways to `status`.
        The database decides, not this instance's memory: of two concurrent callers one
        moves the row and the other gets InvalidTransition.
        """
        sources = self.sources_of(status)
        if only_from is not None:
            sources = [source for source in sources if source in only_from]
        rows = type(self)._default_manager.filter(pk=self.pk, status__in=sources)
        if not rows.update(status=status, **fields):
            self.refresh_from_db(fields=["status"])
            raise InvalidTransition(f"{self} is {self.status}; it cannot become {status}.")
        for name, value in {"status": status, **fields}.items():
            setattr(self, name, value)
