"""Batches to send: a small one, and the 20 KB newsletter with values for each person."""

import importlib.util
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment
from markupsafe import escape

from delivery.providers.base import Batch, Recipient, Skeleton

DATA = Path(__file__).parents[2] / "campaigns" / "data"
OWN = ("first_name", "last_name", "email", "mid", "unsub")
MARK = re.compile("\x01(.*?)\x01")


def person(number: int = 1, **changes: Any) -> Recipient:
    """Return a recipient of `small`."""
    fields: dict[str, Any] = {
        "message_id": f"m{number:x}",
        "email": f"ana{number}@example.com",
        "name": f"Ana Lee {number}",
        "subject": (f"Ana {number}",),
        "html": (f"<b>Ana {number}</b>", f"https://t.example/{number}"),
        "text": (f"Ana {number}",),
        "headers": unsubscribe_headers(number),
    }
    return Recipient(**{**fields, **changes})


def unsubscribe_headers(number: int) -> dict[str, str]:
    """Return the headers that every campaign mail carries for one person."""
    return {
        "List-Unsubscribe": f"<https://t.example/u/m{number:x}>, <mailto:u+m{number:x}@t.example>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Message-ID": f"<m{number:x}@example.org>",
    }


def small(people: int | Sequence[Recipient] = 3, **changes: Any) -> Batch:
    """Return a small batch: its subject, HTML and text hold values of the person."""
    recipients = [person(n) for n in range(people)] if isinstance(people, int) else people
    fields: dict[str, Any] = {
        "from_email": "news@example.org",
        "from_name": "Example Press",
        "subject": Skeleton(("Hello ", "!")),
        "html": Skeleton(("<p>Dear ", ',</p>\n<a href="', '">read “on”</a>\n')),
        "text": Skeleton(("Dear ", ",\nread on.\n")),
        "recipients": recipients,
        "tag": "campaign-7",
        "headers": {"Feedback-ID": "7:example"},
    }
    return Batch(**{**fields, **changes})


def newsletter(people: int) -> Batch:
    """Return the newsletter for so many people, every second one a member."""
    html, html_names = _split("newsletter-20k.html.j2")
    text, text_names = _split("newsletter-20k.txt.j2")
    recipients = []
    for number in range(people):
        own = _values(number)
        recipients.append(
            Recipient(
                message_id=f"m{number:x}",
                email=f"u{number:06d}@example.test",
                name=f"Ana{number} D'Souza",
                subject=(f"Ana{number}",),
                html=tuple(own(name, escape) for name in html_names),
                text=tuple(own(name, str) for name in text_names),
                headers=unsubscribe_headers(number),
            )
        )
    return small(
        recipients,
        subject=Skeleton(("Five guides & three experiments, ", "")),
        html=html,
        text=text,
    )


def full_render(number: int) -> str:
    """Return the newsletter's HTML of one person as the template engine renders it whole."""
    source = (DATA / "newsletter-20k.html.j2").read_text()
    return _environment().from_string(source).render(_context()(number))


def _values(number: int) -> Callable[[str, Callable[[Any], str]], str]:
    context = _context()(number)

    def value(name: str, quote: Callable[[Any], str]) -> str:
        if not name.startswith("{%"):
            return str(quote(context[name]))
        return _environment().from_string(name).render(context)

    return value


@cache
def _split(template: str) -> tuple[Skeleton, list[str]]:
    """Return a template's static parts, and what stands between them: names, or an if."""
    source = (DATA / template).read_text()
    source = re.sub(r"\{% if is_vip %\}.*?\{% endif %\}", _marked_block, source, flags=re.DOTALL)
    marks = {name: f"\x01{name}\x01" for name in OWN}
    pieces = MARK.split(_environment().from_string(source).render({**_context()(0), **marks}))
    return Skeleton(tuple(pieces[::2])), pieces[1::2]


def _marked_block(match: re.Match[str]) -> str:
    return "\x01{% raw %}" + match.group() + "{% endraw %}\x01"


@cache
def _environment() -> Environment:
    return Environment(autoescape=True, keep_trailing_newline=True)


@cache
def _context() -> Callable[[int], dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("newsletter", DATA / "newsletter_context.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context: Callable[[int], dict[str, Any]] = module.context
    return context
