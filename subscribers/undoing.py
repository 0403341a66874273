"""An import taken back as far as it can be: whom it put on the list is taken off again."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from emailplatform.errors import InvalidInput
from subscribers import upserting
from subscribers.models import Import


def ask(import_: Import, now: datetime) -> None:
    """Have a worker take everybody whom the import newly put on its list off again.

    Raises InvalidInput if there is nobody to take off, or it was asked for already.
    """
    if not import_.is_undoable:
        raise InvalidInput(
            "Only an import that ended, and that put people on a list, can be taken back; once."
        )
    if not Import.objects.ask_undo(import_.pk, now):
        raise InvalidInput("This import is being taken back already.")
    import_.undo_asked_at = now


def undo(pk: int, now: datetime) -> int | None:
    """Take the people off, in one transaction; return how many, None if it is not to be done.

    Their subscription is deleted, as if it had never been: a later import or sign-up may put them
    on the list. Who left or came back by themselves meanwhile stays as they are, and so do people
    and what the file said of them. Two callers at once: one does it.
    """
    with transaction.atomic():
        import_ = Import.objects.take_undo(pk, now)
        if import_ is None:
            return None
        count = upserting.take_off(import_, now)
        Import.objects.filter(pk=pk).update(undone_count=count)
        return count
