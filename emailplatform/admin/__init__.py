"""The admin's building blocks, and the pages of the kernel itself: keys, audit, team, schedules."""

from emailplatform.admin.base import Button, Empty, ModelAdmin, PageAdmin, ReadOnlyAdmin
from emailplatform.admin.deeds import in_words, transition_action
from emailplatform.admin.keyset import KeysetChangeList

__all__ = [
    "Button",
    "Empty",
    "KeysetChangeList",
    "ModelAdmin",
    "PageAdmin",
    "ReadOnlyAdmin",
    "in_words",
    "transition_action",
]

# The registrations come last: they use the above, as the apps do.
from emailplatform.admin import audit, keys, schedules, team  # noqa: F401
