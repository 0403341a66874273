"""The audience pages of the admin. Display and buttons only: the domain does the work."""

from subscribers.admin import attributes, checks, imports, lists, people, segments, suppressions  # noqa: F401
