"""Messages, the journal of hand-offs, and the provider accounts."""

from __future__ import annotations

from delivery.models.accounts import ProviderAccount
from delivery.models.campaigns import CampaignStat, Expansion
from delivery.models.messages import Handoff, Message, message_of, token_of
from delivery.models.streams import Stream

__all__ = [
    "CampaignStat",
    "Expansion",
    "Handoff",
    "Message",
    "ProviderAccount",
    "Stream",
    "message_of",
    "token_of",
]
