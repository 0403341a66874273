"""Show a mail as one person will get it, before and after it is sent."""

from __future__ import annotations

import re
from collections.abc import Sequence

from campaigns import personalising, rendering
from campaigns.models import Campaign
from subscribers.models import Subscriber

SAMPLE = {
    "email": "ana@example.com",
    "first_name": "Ana",
    "last_name": "Silva",
    "language": "en",
    "country": "PT",
    "time_zone": "Europe/Lisbon",
}
"""Who the mail is shown to while there is nobody yet."""


def preview(
    source: rendering.Source,
    person: Subscriber | None,
    campaign: Campaign | None = None,
    variables: Sequence[str] = (),
) -> rendering.Rendered:
    """Return the mail for `person`, or for a sample. Raises rendering.TemplateProblem.

    `variables` are those the API will bring; each is shown by its name.
    """
    names = [*personalising.known_names(), *variables]
    constants = personalising.constants_of(campaign)
    compiled = rendering.compile_source(source, names=names, constants=constants)
    named = {name: f"[{name.replace('_', ' ')}]" for name in variables}
    context = personalising.context_of(person or sample(), personalising.TEST_MESSAGE)
    return compiled.render({**named, **context})


def sample() -> Subscriber:
    """Return an invented person, not stored."""
    return Subscriber(**SAMPLE)


_VARIABLE = re.compile(r"\{\{-?\s*([\w.]+)[^}]*\}\}")
_TAG = re.compile(r"\{[%#].*?[%#]\}")


def in_brief(subject: str) -> str:
    """Return a subject as lists show it: variables by their names, tags left out.

    >>> in_brief("{{ first_name | default('You') }}, {% if vip %}thank you{% endif %}")
    '[first name], thank you'
    """
    named = _VARIABLE.sub(lambda found: f"[{found[1].split('.')[-1].replace('_', ' ')}]", subject)
    return _TAG.sub("", named).strip()


def find_person(beginning: str) -> Subscriber | None:
    """Return the first person whose address begins so; None without such, or for nothing."""
    term = beginning.strip().lower()
    people = Subscriber.objects.filter(email__startswith=term).order_by("email")
    return people.first() if term else None
