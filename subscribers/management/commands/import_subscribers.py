"""`manage.py import_subscribers people.csv --list News`: the same import as in the admin."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from emailplatform.errors import DomainError
from emailplatform.terminal import Bar
from subscribers import estimating, importing, undoing
from subscribers.models import Import, MailingList

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP_S = 0.5
"""How long it works between two looks at the progress bar."""


class Command(BaseCommand):
    """Import people from a CSV file, with progress, and say what became of every row."""

    help = "Import people from a CSV or Excel file (- for standard input), put them on a list."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", nargs="?", help="CSV or Excel file; - reads standard input")
        parser.add_argument("--list", help="name of the list they go on; left out: on none")
        parser.add_argument("--create-list", action="store_true", help="make the list if need be")
        parser.add_argument(
            "--known", choices=Import.Known.values, default=Import.Known.UPDATE.value,
            help="people we know: update them (default), skip them, or only add them to the list",
        )  # fmt: skip
        parser.add_argument(
            "--map", action="append", default=[], metavar="HEADER=FIELD", dest="mapped",
            help='a column\'s field where the guess is wrong: "Haus=attributes.house", "Notes="',
        )  # fmt: skip
        parser.add_argument(
            "--dry-run", action="store_true", help="say what would happen, change nothing"
        )
        parser.add_argument("--errors", metavar="FILE", help="write the refused rows there, as CSV")
        parser.add_argument("--sheet", default="", help="of an Excel workbook; else the first")
        parser.add_argument("--tags", default="", help="for everybody, with commas between them")
        parser.add_argument(
            "--undo", type=int, metavar="ID", help="take off the list whom an import put on it"
        )
        parser.add_argument("--resume", type=int, metavar="ID", help="go on with an import")

    def handle(self, **options: Any) -> None:
        """Import, or raise CommandError with one sentence."""
        try:
            if options["dry_run"] or options["undo"]:
                self._undo(options["undo"]) if options["undo"] else self._estimate(options)
                return
            import_ = _resumed(options["resume"]) if options["resume"] else self._start(options)
            self._run(import_)
            self._figures(estimating.ImportReport.of(import_))
            if options["errors"]:
                self._write_errors(import_, Path(options["errors"]))
        except DomainError as error:
            raise CommandError(str(error)) from error
        if import_.status != Import.Status.DONE:
            raise CommandError(_why_not_done(import_))

    def _start(self, options: Mapping[str, Any]) -> Import:
        """Store the file, show how it is understood and, unless this is a dry run, queue it."""
        target = _list(options["list"], is_new_welcome=options["create_list"])
        with _content(options["file"]) as content:
            name = "standard input" if options["file"] == "-" else options["file"]
            import_ = importing.start(
                content, name, target, known=options["known"], sheet=options["sheet"]
            )
        try:
            import_.mapping = _mapping(import_, options["mapped"])
            self._show_columns(import_)
            importing.check_mapping(import_, import_.mapping)
            if not options["dry_run"]:
                importing.confirm(
                    import_, import_.mapping, options["known"], tags=[options["tags"]]
                )
        except (DomainError, CommandError):
            import_.discard()
            raise
        return import_

    def _show_columns(self, import_: Import) -> None:
        preview = importing.preview(import_)
        self.stdout.write(f"{import_.filename}: {preview.encoding}, {preview.delimiter}")
        rows = [("Column", "Field", "For example")]
        for column in preview.columns:
            kind = f" ({column.type})" if column.field.startswith("attributes.") else ""
            field = f"{column.field}{kind}" if column.field else "left out"
            rows.append((column.header, field, " · ".join(column.samples)))
        self._table(rows)
        for problem in preview.problems:
            self.stderr.write(problem)

    def _table(self, rows: list[tuple[str, str, str]]) -> None:
        widths = [min(max(len(row[place]) for row in rows), 40) for place in (0, 1)]
        for first, second, third in rows:
            self.stdout.write(
                f"  {first[:40]:<{widths[0]}}  {second[:40]:<{widths[1]}}  {third[:60]}"
            )

    def _estimate(self, options: Mapping[str, Any]) -> None:
        with transaction.atomic():
            import_ = self._start(options)
            report = estimating.dry_run(import_)
            import_.discard()
            transaction.set_rollback(True)  # the list of --create-list
        self.stdout.write("Nothing was changed. This would be the result:")
        self._figures(report)

    def _undo(self, pk: int) -> None:
        import_ = Import.objects.filter(pk=pk).first()
        if import_ is None:
            raise CommandError(f"There is no import {pk}.")
        now = timezone.now()
        undoing.ask(import_, now)
        undoing.undo(pk, now)
        import_.refresh_from_db(fields=["undone_count"])
        self.stdout.write(f"{import_.undone_count:,} were taken off {import_.list} again.")

    def _run(self, import_: Import) -> None:
        """Work until it is over, whoever works: a worker may take turns with us."""
        self.stdout.write(f"Import {import_.pk}")
        bar = Bar(getattr(self.stdout, "_out", sys.stdout), "Importing")
        try:
            while import_.is_working:
                if not importing.run(import_.pk, _STEP_S):
                    time.sleep(_STEP_S)  # somebody else has it, or a dead worker's lease runs out
                import_.refresh_from_db()
                share = import_.share_done
                bar.show(import_.rows, round(import_.rows / share) if share else 0)
        except KeyboardInterrupt:
            import_.pause()
        bar.close()

    def _figures(self, report: estimating.ImportReport) -> None:
        """Print every number once; the first lines add up to the rows."""
        self._counts(
            [
                ("rows", report.rows),
                ("new people", report.created),
                ("updated", report.updated),
                ("known, left as they are", report.unchanged),
                ("twice in the file: the first counts", report.duplicate),
                ("refused", report.refused),
            ]
        )
        self._counts((f"  {reason}", count) for reason, count in _most_first(report.reasons))
        self._counts(
            [
                ("newly on the list", report.subscribed),
                ("taken, but get no mail: unsubscribed, bounced or suppressed", report.unmailable),
            ]
        )
        self._counts(_most_first(report.warnings))

    def _counts(self, rows: Iterable[tuple[str, int]]) -> None:
        for label, count in rows:
            self.stdout.write(f"{count:>12,}  {label}")

    def _write_errors(self, import_: Import, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(importing.refused_csv(import_))
        self.stdout.write(f"Refused rows: {path}")


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _list(name: str | None, *, is_new_welcome: bool) -> MailingList | None:
    if not name:
        return None
    known = MailingList.objects.filter(name__iexact=name).first()
    if known is None and is_new_welcome:
        return MailingList.objects.create(name=name)
    if known is None:
        raise CommandError(f"There is no list “{name}”: check the name, or add --create-list.")
    return known


@contextmanager
def _content(file: str | None) -> Iterator[BinaryIO]:
    if not file:
        raise CommandError("Name a CSV file (- for standard input), or an import with --resume.")
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        content = Path(file).open("rb")  # noqa: SIM115 — closed below; errors inside are others
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
    with content:
        yield content


def _mapping(import_: Import, wishes: list[str]) -> dict[str, str]:
    """Return the guessed mapping with what --map says instead."""
    mapping = dict(import_.mapping)
    for wish in wishes:
        header, sign, field = wish.rpartition("=")
        if not sign or header not in import_.headers:
            names = ", ".join(import_.headers)
            raise CommandError(f"--map {wish}: write HEADER=FIELD with one of the columns {names}.")
        mapping = {name: "" if old == field else old for name, old in mapping.items()}
        mapping[header] = field
    return mapping


def _resumed(pk: int) -> Import:
    import_ = Import.objects.filter(pk=pk).first()
    if import_ is None:
        raise CommandError(f"There is no import {pk}.")
    if import_.status == Import.Status.PAUSED:
        import_.resume()
    if not import_.is_working:
        state = import_.get_status_display().lower()
        raise CommandError(f"Import {pk} is {state}: there is nothing to resume.")
    return import_


def _why_not_done(import_: Import) -> str:
    if import_.status == Import.Status.PAUSED:
        return f"Paused after line {import_.line}: go on with --resume {import_.pk}."
    return import_.error or f"The import is {import_.get_status_display().lower()}."
