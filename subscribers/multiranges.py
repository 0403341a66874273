"""Many whole numbers in one small value: PostgreSQL's int8multirange."""

from __future__ import annotations

from typing import Any

from django.db import models


class Multirange(models.Field):  # type: ignore[type-arg]
    """Read as text, “{[1,4),[7,8)}”. Ten thousand keys in a row are one pair."""

    def db_type(self, connection: Any) -> str:
        return "int8multirange"

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        return f"({sql})::text", params


@Multirange.register_lookup
class Has(models.Lookup):
    """`people__has=5`: is this number among them?"""

    lookup_name = "has"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        left, values = self.process_lhs(compiler, connection)
        return f"{left} @> %s::bigint", (*values, self.rhs)
