"""What is done from lists and forms: a refusal of the domain becomes a message, not a 500."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import BaseForm
from django.http import HttpRequest

from emailplatform.errors import DomainError


def in_words(form: BaseForm, error: DomainError) -> None:
    """Put a refusal at the field it is about, or at the top of the form."""
    form.add_error(error.param if error.param in form.fields else None, str(error))


def transition_action(verb: str, description: str, done: str) -> Any:
    """Return a list action that calls `row.<verb>()` on each selected row.

    `done` says in one sentence what is now: "{obj} is paused."
    """

    @admin.action(description=description, permissions=["change"])
    def action(modeladmin: Any, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset:
            try:
                getattr(row, verb)()
            except DomainError as error:
                modeladmin.message_user(request, str(error), messages.ERROR)
            else:
                modeladmin.done(request, row, done.format(obj=row))

    action.__name__ = verb
    return action
