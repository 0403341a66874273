"""Campaigns, providers, hand-offs and messages in the admin. Display and buttons only."""

from delivery.admin import alerts, campaigns, handoffs, messages, providers  # noqa: F401
