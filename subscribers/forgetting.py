"""What this app keeps of a person: told, and erased."""

from __future__ import annotations

import zipfile
from datetime import datetime
from pathlib import Path

from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet

from subscribers import erasing, scrubbing
from subscribers.erasing import Told, Who, rows_of
from subscribers.models import (
    Confirmation,
    ConsentRecord,
    Engagement,
    HygieneAct,
    Import,
    RefusedRow,
    ScoreDay,
    Segment,
    Subscriber,
    Subscription,
    Suppression,
)

_HELD_BACK = ("address_key",)


def tell(who: Who) -> Told:
    """Return the person, their lists, consent, engagement, suppressions, refused rows."""
    person = who.person or 0
    return {
        "person": rows_of(Subscriber.objects.filter(pk=person), _HELD_BACK),
        "lists": [
            {**row, "list": name}
            for row, name in zip(
                rows_of(Subscription.objects.filter(subscriber=person)),
                Subscription.objects.filter(subscriber=person)
                .order_by("pk")
                .values_list("list__name", flat=True),
                strict=True,
            )
        ],
        "consent": rows_of(
            ConsentRecord.objects.of(who.key, who.person), ("people", "salt", "hash", "chain")
        ),
        "waiting confirmations": rows_of(Confirmation.objects.filter(subscriber=person)),
        "engagement": rows_of(Engagement.objects.filter(subscriber=person)),
        "scores": rows_of(ScoreDay.objects.filter(subscriber=person)),
        "list hygiene": rows_of(HygieneAct.objects.filter(subscriber=person)),
        "suppressions": rows_of(Suppression.objects.of(who.key)),
        "rows of imports that were refused": rows_of(_refused(who)),
        "what the team did": rows_of(_deeds(who), ("user_id",)),
    }


def erase(who: Who, now: datetime) -> dict[str, int]:
    """Delete the person and whatever hangs on the row; blank what stands elsewhere."""
    found = {
        "refused rows of imports": _refused(who).update(content="", reason="Erased."),
        "uploads": sum(_blot_out(who, each) for each in _unfinished()),
        "imports": scrubbing.scrub(
            Import, who.email, ["filename", "reasons", "warnings", "error", "mapping"]
        ),
        "segments": scrubbing.scrub(Segment, who.email, ["name", "description", "rules"]),
        "details of consent": ConsentRecord.objects.forget_details(now, chain=who.key),
        "entries of the admin’s log": scrubbing.scrub(
            LogEntry, who.email, ["object_repr", "change_message"]
        ),
    }
    subscriptions = Subscription.objects.filter(subscriber=who.person or 0).count()
    people = Subscriber.objects.filter(pk=who.person or 0)
    gone = people.delete()[0] and 1
    return {"person": gone, "standings on lists": subscriptions, **found}


def _refused(who: Who) -> QuerySet[RefusedRow]:
    pattern = scrubbing.pattern_of(who.email)
    return RefusedRow.objects.filter(content__iregex=pattern)


def _deeds(who: Who) -> QuerySet[LogEntry]:
    pattern = scrubbing.pattern_of(who.email)
    by_words = LogEntry.objects.filter(object_repr__iregex=pattern)
    return by_words | LogEntry.objects.filter(change_message__iregex=pattern)


def _unfinished() -> QuerySet[Import]:
    """Imports whose file is still there: it is deleted at their end."""
    return Import.objects.exclude(file="", workbook="")


def _blot_out(who: Who, import_: Import) -> int:
    """Take an address out of the file of an import under way; a workbook that has it goes."""
    found = 0
    if import_.file:
        found += scrubbing.blot_out(who.email, Path(import_.file.path))
    if import_.workbook and _is_in_workbook(who.email, Path(import_.workbook.path)):
        found += 1
        if import_.file:
            import_.let_go_of_workbook()
        else:
            import_.discard()
    return found


def _is_in_workbook(email: str, path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as book:
            return any(
                scrubbing.is_in(email, book.read(name).decode("utf-8", "replace"))
                for name in book.namelist()
                if name.endswith(".xml")
            )
    except (OSError, zipfile.BadZipFile):
        return False


PART = erasing.Part(
    name="audience",
    tell=tell,
    erase=erase,
    holding=[
        "subscribers.Subscriber",
        "subscribers.Subscription",
        "subscribers.ConsentRecord",
        "subscribers.Confirmation",
        "subscribers.Engagement",
        "subscribers.ScoreDay",
        "subscribers.HygieneAct",
        "subscribers.Import",
        "subscribers.RefusedRow",
        "subscribers.Segment",
        "admin.LogEntry",
    ],
    holding_nothing={
        "subscribers.Suppression": "a keyed hash and words that never hold an address: it stays",
        "subscribers.Attribute": "names of fields",
        "subscribers.MailingList": "the team’s lists",
        "subscribers.RetentionRun": "numbers",
        "subscribers.CheckRun": "numbers",
        "subscribers.ScoreRun": "numbers",
        "subscribers.HygieneRule": "the team’s rules",
        "subscribers.HygieneRun": "numbers",
        "subscribers.ChurnModel": "numbers",
        "subscribers.ConsentText": "what everybody was asked",
        "subscribers.ConsentChain": "a keyed hash: the chain must be whole to prove anything",
        "subscribers.ConsentAnchor": "hashes",
        "subscribers.Domain": "names of domains",
        "subscribers.SeenAddress": "half a keyed hash, while an import runs",
        "subscribers.SignupForm": "the team’s forms",
        "subscribers.SignupDay": "numbers",
        "emailplatform.ApiKey": "the team’s",
        "emailplatform.AuditEntry": "what was done, by whom, to which number; never an address",
    },
)
