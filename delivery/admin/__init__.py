"""Campaigns, providers, hand-offs and messages in the admin. Display and buttons only."""

from delivery.admin import alerts, campaigns, dead_letters, handoffs, messages, providers  # noqa: F401
