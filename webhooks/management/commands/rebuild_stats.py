"""Count the messages of campaigns anew, and say where the counters were wrong; or only say so."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from campaigns.models import Campaign
from delivery import counting
from delivery.models import ProviderAccount, token_of
from webhooks import comparing
from webhooks.models import AnonymousCount
from webhooks.querysets import Drifted


class Command(BaseCommand):
    help = "Recount what became of messages: of one campaign, or of all and mail sent by API."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("campaign", nargs="?", type=int, help="The number of one campaign.")
        parser.add_argument(
            "--check",
            action="store_true",
            help="Change nothing: print by how much counters differ from the messages, and messages"
            " from the stored events. Exit status 1 if anything does.",
        )

    def handle(self, *_: Any, campaign: int | None, check: bool, **__: Any) -> None:
        labels = _labels(campaign)
        accounts = dict(ProviderAccount.objects.values_list("pk", "name"))
        if check:
            self._check(labels, accounts)
        else:
            for pk, label in labels.items():
                self._rebuild(pk, label, accounts)

    def _rebuild(self, campaign: int | None, label: str, accounts: dict[int, str]) -> None:
        found = "; ".join(
            f"{accounts[account]}: {', '.join(f'{name} {by:+}' for name, by in wrong.items())}"
            for account, wrong in counting.rebuild(campaign).items()
        )
        if campaign is not None and (wrong := AnonymousCount.objects.recount(campaign)):
            found = "; ".join(filter(None, [found, f"counted without names {wrong:+}"]))
        self.stdout.write(f"{label}: {found or 'right as it was'}")

    def _check(self, labels: dict[int | None, str], accounts: dict[int, str]) -> None:
        found = comparing.compare()
        total = 0
        for pk, label in labels.items():
            wrong = [each for each in found.counters if each.campaign == pk]
            words = [f"{accounts[each.provider]}: {each.counter} by {each.by}" for each in wrong]
            adrift = [each for each in found.messages if each.campaign == pk]
            words += [
                f"{each.number} messages unlike their events ({_some(each)})" for each in adrift
            ]
            nameless = AnonymousCount.objects.drift(pk) if pk is not None else 0
            words += [f"counted without names by {nameless}"] if nameless else []
            total += sum(each.by for each in wrong) + sum(each.number for each in adrift) + nameless
            self.stdout.write(f"{label}: {'; '.join(words) or 'drift 0'}")
        self.stdout.write(f"Drift in all: {total}")
        if total:
            raise CommandError("The numbers drifted. Without --check the counters are put right.")


def _labels(campaign: int | None) -> dict[int | None, str]:
    """Return what is looked at, in words, by campaign. None: mail sent by API."""
    rows = Campaign.objects.order_by("pk").values_list("pk", "name")
    if campaign is not None:
        rows = rows.filter(pk=campaign)
    labels: dict[int | None, str] = {pk: f"Campaign {pk} ({name})" for pk, name in rows}
    if campaign is None:
        labels[None] = "Mail sent by API"
    elif not labels:
        raise CommandError(f"There is no campaign {campaign}.")
    return labels


def _some(messages: Drifted) -> str:
    more = ", …" if messages.number > len(messages.some) else ""
    return ", ".join(token_of(pk) for pk in messages.some) + more
