"""Keep a provider from reading its own merge language in our text.

Whoever may write "%unsubscribe_url%" into a name or a page should see just that in the mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from delivery.providers.base import Batch, Recipient

WORD_JOINER = "\u2060"
"""An invisible character that breaks a word for a program and not for a reader."""

_Defused = Callable[[re.Match[str]], str]


def defuse(batch: Batch, recipients: Sequence[Recipient], spark: re.Pattern[str]) -> Batch:
    """Return a batch of `recipients` in which nothing matches `spark`.

    `spark` matches the one character with which the provider's language begins. It becomes an
    entity in HTML and is followed by WORD_JOINER in plain text. Most batches hold none.
    """
    return replace(
        batch,
        subject=replace(batch.subject, static=_defused(batch.subject.static, spark, _joined)),
        html=replace(batch.html, static=_defused(batch.html.static, spark, _entity)),
        text=replace(batch.text, static=_defused(batch.text.static, spark, _joined)),
        recipients=[_defused_person(person, spark) for person in recipients],
    )


def _defused_person(person: Recipient, spark: re.Pattern[str]) -> Recipient:
    if not _is_live(person, spark):
        return person
    return replace(
        person,
        subject=_defused(person.subject, spark, _joined),
        html=_defused(person.html, spark, _entity),
        text=_defused(person.text, spark, _joined),
    )


def _is_live(person: Recipient, spark: re.Pattern[str]) -> bool:
    values = "\n".join((*person.subject, *person.html, *person.text))
    return spark.search(values) is not None


def _defused(texts: Sequence[str], spark: re.Pattern[str], replaced: _Defused) -> tuple[str, ...]:
    return tuple(spark.sub(replaced, text) for text in texts)


def _entity(match: re.Match[str]) -> str:
    return f"&#{ord(match.group())};"


def _joined(match: re.Match[str]) -> str:
    return match.group() + WORD_JOINER
