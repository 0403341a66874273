"""Campaigns, providers, hand-offs and messages in the admin. Display and buttons only."""

from delivery.admin import (  # noqa: F401
    alerts,
    campaigns,
    dead_letters,
    domains,
    handoffs,
    late_mail,
    mails,
    messages,
    providers,
    queues,
    rules,
    types,
)
