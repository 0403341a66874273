"""The drill's table: a row as soon as it is known, and the sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from webhooks.drilling.judging import Outcome
from webhooks.drilling.stage import CALL_SIZE, Plan

_WIDTHS = (40, 9, 7, 9, 5, 8, 9, 8, 8, 5, 8, 6, 5)
_NAMES = "scenario through people accepted lost doubled doubt most settled left inbox kills s"
_HEADS = (("", "", "", "", "", "", "in", "at", "", "", "not in", "", ""), _NAMES.split())


class Table:
    """Writes rows to a terminal."""

    def __init__(self, out: Any, style: Any) -> None:
        self._out, self._style = out, style
        self._rows: list[Outcome] = []

    def begin(self, plan: Plan) -> None:
        """Write the head."""
        self._out.write(f"{plan.people:,} people in each campaign, {CALL_SIZE} in each call.\n")
        self._write(_HEADS[0])
        self._write(_HEADS[1], "verdict")

    def row(self, outcome: Outcome) -> None:
        """Write what came of one campaign."""
        self._rows.append(outcome)
        good = self._style.SUCCESS("good")
        verdict = good if outcome.is_good else self._style.ERROR("; ".join(outcome.problems))
        numbers = (outcome.people, outcome.accepted, outcome.lost, outcome.doubled, outcome.doubt)
        rest = (outcome.bound, outcome.settled, outcome.left, outcome.left_out, outcome.kills)
        cells = [f"{number:,}" for number in (*numbers, *rest)]
        self._write((outcome.scenario, outcome.kind, *cells, f"{outcome.seconds:.0f}"), verdict)

    def end(self) -> bool:
        """Write the sums; say whether all is good."""
        rows = self._rows
        lost, doubled = sum(row.lost for row in rows), sum(row.doubled for row in rows)
        self._out.write(
            f"\n{sum(row.accepted for row in rows):,} mails in {len(rows)} campaigns,"
            f" {sum(row.kills for row in rows)} kills: {lost} lost, {doubled} doubled;"
            f" {sum(row.doubt for row in rows)} in doubt, of which"
            f" {sum(row.settled for row in rows)} were settled and"
            f" {sum(row.left for row in rows)} are shown as in doubt."
        )
        return bool(rows) and all(row.is_good for row in rows)

    def _write(self, cells: Sequence[str], last: str = "") -> None:
        texts = [cell.ljust(width) for cell, width in zip(cells[:2], _WIDTHS[:2], strict=True)]
        texts += [cell.rjust(width) for cell, width in zip(cells[2:], _WIDTHS[2:], strict=True)]
        self._out.write("".join([*texts, "  ", last]).rstrip())
