"""The audience pages of the admin. Display and buttons only: the domain does the work."""

from subscribers.admin import (  # noqa: F401
    attributes,
    checks,
    engagement,
    imports,
    lists,
    people,
    retention,
    segments,
    signups,
    suppressions,
)
