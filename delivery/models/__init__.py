"""Messages, the journal of hand-offs, and the provider accounts."""

from __future__ import annotations

from delivery.models.accounts import ProviderAccount
from delivery.models.alerts import Alert, Notice
from delivery.models.attempts import Attempt, Refusal
from delivery.models.campaigns import CampaignStat, Expansion
from delivery.models.dead import DeadLetter
from delivery.models.domains import SendingDomain
from delivery.models.health import CircuitChange, ProviderReputation, SenderRefusal
from delivery.models.limits import DailyCount, LaneState, Worker
from delivery.models.listed import ListComparison, ListedAddress
from delivery.models.mails import Attachment, Mail, MailMessage, Submission
from delivery.models.messages import Handoff, Message, message_of, token_of
from delivery.models.promises import SlaBreach, SlaMark, SlaStat
from delivery.models.rules import RoutingRule, Stamping, Tier, covers
from delivery.models.streams import Stream
from delivery.models.types import MessageType

__all__ = [
    "Alert",
    "Attachment",
    "Attempt",
    "CampaignStat",
    "CircuitChange",
    "DailyCount",
    "DeadLetter",
    "Expansion",
    "Handoff",
    "LaneState",
    "ListComparison",
    "ListedAddress",
    "Mail",
    "MailMessage",
    "Message",
    "MessageType",
    "Notice",
    "ProviderAccount",
    "ProviderReputation",
    "Refusal",
    "RoutingRule",
    "SenderRefusal",
    "SendingDomain",
    "SlaBreach",
    "SlaMark",
    "SlaStat",
    "Stamping",
    "Stream",
    "Submission",
    "Tier",
    "Worker",
    "covers",
    "message_of",
    "token_of",
]
