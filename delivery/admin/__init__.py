"""Campaigns, providers, hand-offs and messages in the admin. Display and buttons only."""

from delivery.admin import campaigns, handoffs, messages, providers  # noqa: F401
