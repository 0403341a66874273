"""What sets of states are called in the schema of the API: else it has StatusEnum twice."""

from __future__ import annotations

ENUM_NAMES = {
    "SuppressionReason": "subscribers.models.Suppression.Reason",
    "SuppressionListReason": "subscribers.api.suppressions.LIST_REASONS",
    "PersonStatus": "subscribers.models.Subscriber.Status",
    "SubscriptionStatus": "subscribers.models.Subscription.Status",
    "AddressCheckStatus": "subscribers.models.CheckRun.Status",
    "ImportStatus": "subscribers.models.Import.Status",
    "HygieneStatus": "subscribers.models.HygieneRun.Status",
    "TrackedBy": "campaigns.models.TrackedBy",
    "CampaignStatus": "campaigns.models.Campaign.Status",
    "MessageStatus": "delivery.models.Message.Status",
    "HandoffStatus": "delivery.models.Handoff.Status",
    "WebhookStatus": "webhooks.models.RawRequest.Status",
    "DeliveryStatus": "webhooks.models.Delivery.Status",
}
