"""Why did, or didn't, somebody get a campaign? `manage.py why 7 ana@example.com`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from campaigns.belonging import Belonging, InSegment, OnList
from campaigns.models import Campaign
from emailplatform.errors import DomainError
from emailplatform.formats import exact
from subscribers.explaining import Answer
from webhooks import explaining
from webhooks.judging import Facts


class Command(BaseCommand):
    help = "Say why somebody did or did not get a campaign, with everything it rests on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("campaign", type=int, help="The number of the campaign.")
        parser.add_argument("address", help="The whole address.")

    def handle(self, *_: Any, campaign: int, address: str, **__: Any) -> None:
        asked = Campaign.objects.filter(pk=campaign).first()
        if asked is None:
            raise CommandError(f"There is no campaign {campaign}.")
        try:
            found = explaining.explain(asked, address, timezone.now())
        except DomainError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(found.verdict.sentence)
        for title, lines in _sections(found.facts).items():
            if lines:
                self.stdout.write(f"\n{title}")
                for line in lines:
                    self.stdout.write(f"  {line}")


def _sections(facts: Facts) -> dict[str, list[str]]:
    return {
        "Person": _person(facts),
        "Audience": _audience(facts.belonging) if facts.belonging else [],
        "Message": _message(facts),
        "Events": [
            " · ".join(filter(None, [exact(each.event.occurred_at), each.label, each.event.reason]))
            for each in facts.moments
        ],
    }


def _person(facts: Facts) -> list[str]:
    lines = []
    if facts.person is not None:
        since = exact(facts.person.status_changed_at)
        lines.append(f"{facts.person.get_status_display()} since {since}")
    if facts.suppression is not None:
        row = facts.suppression
        source = f" ({row.source})" if row.source else ""
        lines.append(
            f"Suppressed since {exact(row.created_at)}: {row.get_reason_display()}{source}"
        )
    return lines or ["Not known, not suppressed"]


def _audience(found: Belonging) -> list[str]:
    lines = [f"{'In it' if found.is_in else 'Not in it'}, by what is known now"]
    for kind, some in (
        ("List", found.lists),
        ("Segment", found.segments),
        ("Excluded list", found.excluded_lists),
        ("Excluded segment", found.excluded_segments),
    ):
        for each in some:
            lines += _place(kind, each)
    if found.came_late:
        lines.append("[no] Known before the launch")
    return lines


def _place(kind: str, each: OnList | InSegment) -> list[str]:
    head = f"{_mark(each.counts)} {kind} “{each.name}”"
    if isinstance(each, OnList):
        since = f"{each.label} {exact(each.since)}" if each.since else each.label
        return [": ".join([head, " · ".join(filter(None, [since, each.source, each.note]))])]
    if each.answer is None:
        return [f"{head}: {each.problem}"]
    return [head, *_answers(each.answer, "  ")]


def _answers(answer: Answer, indent: str) -> list[str]:
    known = f" · {answer.known}" if answer.known else ""
    lines = [f"{indent}{_mark(answer.holds)} {answer.text}{known}"]
    for part in answer.parts:
        lines += _answers(part, f"{indent}  ")
    return lines


def _mark(holds: bool) -> str:
    return "[yes]" if holds else "[no] "


def _message(facts: Facts) -> list[str]:
    message = facts.message
    if message is None:
        return []
    lines = [f"{message.get_status_display()}, queued {exact(message.created_at)}"]
    total = facts.trace.earlier + len(facts.trace.tries)
    for number, each in enumerate(facts.trace.tries, facts.trace.earlier + 1):
        said = f": {each.error}" if each.error else ""
        lines.append(
            f"Try {number} of {total}, {exact(each.at)}: {each.label} by "
            f"{each.provider or 'a provider that is gone'}{said}"
        )
    return lines
