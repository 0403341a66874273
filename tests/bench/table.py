"""The figures: collected, printed as a table, written as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    note: str = ""


@dataclass
class Table:
    """All figures of a run; each is shown as soon as it is there."""

    figures: list[Figure] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str, note: str = "") -> None:
        figure = Figure(name, round(value, 1 if value < 1000 else 0), unit, note)
        self.figures.append(figure)
        say(f"  {name} = {_number(figure.value)} {unit}  ({note})")

    def show(self, machine: dict[str, str]) -> None:
        """Print machine and figures as Markdown, so that they can be pasted into the docs."""
        say("")
        for name, value in machine.items():
            say(f"- {name}: {value}")
        say("\n| figure | value | unit | note |\n|---|--:|---|---|")
        for each in self.figures:
            say(f"| {each.name} | {_number(each.value)} | {each.unit} | {each.note} |")

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(each) for each in self.figures], indent=1) + "\n")


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (a table for the person at the terminal)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 or value.is_integer() else f"{value:,.1f}"
