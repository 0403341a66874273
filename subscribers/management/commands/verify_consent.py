"""`manage.py verify_consent`: is the record of consent whole?"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from emailplatform.formats import number
from subscribers import verifying


class Command(BaseCommand):
    help = "Recompute every hash and seal of the record of consent. Ends with 1 if one is broken."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--seal",
            default="",
            help="The seal an earlier run ended with: it must still be there.",
        )

    def handle(self, *_: Any, seal: str, **__: Any) -> None:
        report = verifying.verify()
        for sentence in report.breaks:
            self.stdout.write(self.style.ERROR(f"BROKEN  {sentence}"))
        self.stdout.write(
            f"{number(report.records)} records in {number(report.chains)} chains, "
            f"{number(report.texts)} texts; {number(report.sealed)} records under "
            f"{number(report.anchors)} seals."
        )
        if report.newest_seal:
            self.stdout.write(f"Newest seal: {report.newest_seal}")
        if seal and not verifying.has_seal(seal):
            raise CommandError("That seal is not there any more: the end of the record is cut off.")
        if report.breaks:
            raise CommandError(f"The record is broken; the first place: {report.breaks[0]}")
        self.stdout.write(self.style.SUCCESS("The record is whole."))
