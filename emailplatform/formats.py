"""Numbers, times and shares as people read them."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString

_STEPS = ((60, "second"), (3600, "minute"), (86_400, "hour"), (30 * 86_400, "day"))


def number(value: float) -> str:
    """Return a count with separators.

    >>> number(1234567)
    '1,234,567'
    """
    return f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """Return a part as a percentage of the whole; a dash where there is nothing to divide by.

    >>> share(1, 8), share(3, 10_000), share(0, 5), share(1, 0)
    ('12.5 %', '0.03 %', '0 %', '–')
    """
    if not whole:
        return "–"
    percent = 100 * part / whole
    digits = 2 if percent < 1 else 1
    return f"{percent:.{digits}f}".rstrip("0").rstrip(".") + " %"


def span(duration: timedelta | float) -> str:
    """Return a duration (or seconds) in the one or two units that matter.

    >>> span(0.4), span(75), span(3700), span(timedelta(days=3, hours=2))
    ('less than a second', '1 min 15 s', '1 h 1 min', '3 d 2 h')
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if seconds < 1:
        return "less than a second"
    days, rest = divmod(round(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next(place for place, (amount, _unit) in enumerate(parts) if amount)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount)


def relative(when: datetime, now: datetime) -> str:
    """Return how long ago, or in how long, in one unit; beyond a month the date.

    >>> now = datetime(2026, 11, 23)
    >>> relative(now - timedelta(minutes=2), now), relative(now + timedelta(hours=1), now)
    ('2 minutes ago', 'in 1 hour')
    """
    seconds = (now - when).total_seconds()
    if abs(seconds) < 10:
        return "just now"
    size = 1
    for limit, unit in _STEPS:
        if abs(seconds) < limit:
            amount = int(abs(seconds) // size)
            words = f"{amount} {unit}{'' if amount == 1 else 's'}"
            return f"{words} ago" if seconds > 0 else f"in {words}"
        size = limit
    return date_format(timezone.localtime(when) if timezone.is_aware(when) else when, "j M Y")


def exact(when: datetime) -> str:
    """Return the moment in the reader's zone, the zone named."""
    local = timezone.localtime(when)
    return f"{date_format(local, 'j M Y, H:i:s')} {local.tzname()}"


def ago(when: datetime | None, missing: str = "–") -> SafeString | str:
    """Return a <time> that reads relative and shows the exact moment on hover."""
    if when is None:
        return missing
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        when.isoformat(),
        exact(when),
        relative(when, timezone.now()),
    )


def badge(text: object, tone: str = "quiet") -> SafeString:
    """Return a small label. Tones: ok, info, warn, bad, quiet."""
    return format_html('<span class="ui-badge ui-{}">{}</span>', tone, text)
