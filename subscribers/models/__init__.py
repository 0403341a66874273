"""People, lists and consent."""

from __future__ import annotations

from subscribers.models.consent import ConsentAnchor, ConsentChain, ConsentRecord, ConsentText
from subscribers.models.engagement import Engagement
from subscribers.models.forms import Confirmation, SignupDay, SignupForm
from subscribers.models.imports import Import, RefusedRow, SeenAddress
from subscribers.models.lists import MailingList, Segment, Subscription
from subscribers.models.people import Attribute, Subscriber
from subscribers.models.suppressions import Suppression

__all__ = [
    "Attribute",
    "Confirmation",
    "ConsentAnchor",
    "ConsentChain",
    "ConsentRecord",
    "ConsentText",
    "Engagement",
    "Import",
    "MailingList",
    "RefusedRow",
    "SeenAddress",
    "Segment",
    "SignupDay",
    "SignupForm",
    "Subscriber",
    "Subscription",
    "Suppression",
]
