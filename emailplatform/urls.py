"""Every URL of the product."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from campaigns import api as campaigns_api
from delivery import api as delivery_api
from delivery.views import health
from emailplatform import refusing, signing_in
from subscribers import api as subscribers_api
from webhooks import api as webhooks_api

router = SimpleRouter()
router.trailing_slash = "/?"  # addresses of the API may do without
router.register("subscribers", subscribers_api.SubscriberViewSet, basename="subscriber")
router.register("tags", subscribers_api.TagViewSet, basename="tag")
router.register("suppressions", subscribers_api.SuppressionViewSet, basename="suppression")
router.register("lists", subscribers_api.ListViewSet, basename="list")
router.register("segments", subscribers_api.SegmentViewSet, basename="segment")
router.register("address-checks", subscribers_api.CheckRunViewSet, basename="address_check")
router.register("forms", subscribers_api.FormViewSet, basename="form")
router.register("hygiene/rules", webhooks_api.HygieneRuleViewSet, basename="hygiene_rule")
router.register("hygiene/runs", webhooks_api.HygieneRunViewSet, basename="hygiene_run")
router.register("privacy", subscribers_api.PrivacyViewSet, basename="privacy")
router.register("imports", subscribers_api.ImportViewSet, basename="import")
router.register("templates", campaigns_api.TemplateViewSet, basename="template")
router.register("campaigns", campaigns_api.CampaignViewSet, basename="campaign")
router.register("email/messages", webhooks_api.MessageViewSet, basename="mail")
router.register("sending-domains", delivery_api.SendingDomainViewSet, basename="sending_domain")
router.register("email/dead-letters", delivery_api.DeadLetterViewSet, basename="dead_letter")

router.register("email/webhooks/events", webhooks_api.WebhookEventViewSet, basename="event")
router.register("email/webhooks/requests", webhooks_api.WebhookRequestViewSet, basename="webhook")
router.register("webhooks/endpoints", webhooks_api.EndpointViewSet, basename="endpoint")
router.register("webhooks/deliveries", webhooks_api.DeliveryViewSet, basename="delivery")

retry_webhook = webhooks_api.WebhookRequestViewSet.as_view(
    {"post": "retry"}, basename="webhook", detail=True
)
send_api = delivery_api.SendViewSet.as_view
PERSON = subscribers_api.SubscriberViewSet.lookup_value_regex
v1 = [
    re_path(r"^subscribers/check/?$", subscribers_api.CheckAddressView.as_view()),
    re_path(r"^subscribers/export/?$", subscribers_api.ExportView.as_view(), name="people-export"),
    re_path(r"^lists/(?P<pk>[0-9]{1,18})/members/?$", subscribers_api.MembersView.as_view()),
    re_path(r"^subscribers/stats/?$", subscribers_api.AudienceStatsView.as_view()),
    re_path(r"^subscribers/bulk-import/?$", subscribers_api.BulkImportView.as_view()),
    re_path(
        r"^subscribers/segment/(?P<segment>[^/]+)/?$", subscribers_api.SegmentPeopleView.as_view()
    ),
    re_path(
        r"^subscribers/(?P<email>[^@]+@[^/]+)/consent/?$", subscribers_api.ConsentView.as_view()
    ),
    re_path(rf"^subscribers/(?P<email>{PERSON})/history/?$", webhooks_api.HistoryView.as_view()),
    re_path(
        rf"^subscribers/(?P<email>{PERSON})/track-token/?$", webhooks_api.TrackTokenView.as_view()
    ),
    re_path(r"^engagement/track/?$", webhooks_api.TrackView.as_view()),
    re_path(r"^analytics/trends/?$", webhooks_api.TrendsView.as_view()),
    re_path(
        rf"^analytics/subscriber/(?P<email>{PERSON})/history/?$",
        webhooks_api.PersonHistoryView.as_view(),
    ),
    re_path(
        r"^campaigns/(?P<pk>[0-9]{1,18})/conversions/?$", webhooks_api.ConversionsView.as_view()
    ),
    re_path(r"^campaigns/(?P<pk>[0-9]{1,18})/stats/?$", delivery_api.CampaignStatsView.as_view()),
    re_path(r"^email/send/?$", delivery_api.SendViewSet.as_view({"post": "send"}, basename="mail")),
    re_path(
        r"^email/batch/?$", delivery_api.SendViewSet.as_view({"post": "batch"}, basename="mail")
    ),
    re_path(r"^campaigns/(?P<pk>[0-9]{1,18})/why/?$", webhooks_api.CampaignWhyView.as_view()),
    re_path(r"^email/events/stream/?$", webhooks_api.EventStreamView.as_view()),
    re_path(r"^email/webhooks/stats/?$", webhooks_api.WebhookStatsView.as_view()),
    re_path(r"^email/webhooks/config/?$", webhooks_api.WebhookConfigView.as_view()),
    re_path(r"^email/webhooks/retry/(?P<pk>[^/.]+)/?$", retry_webhook),
    re_path(r"^system/status/?$", delivery_api.SystemStatusView.as_view()),
    re_path(r"^system/queues/?$", delivery_api.QueuesView.as_view()),
    re_path(r"^system/providers/(?P<pk>[0-9]{1,18})/reset/?$", delivery_api.ResetView.as_view()),
    *router.urls,
]

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("health", health),
    path("admin/login/", signing_in.login),
    path("admin/", admin.site.urls),
    path("api/v1/", include((v1, "v1"))),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("", include("webhooks.urls")),
    path("", include("subscribers.urls")),
    re_path(r"^api/", refusing.nothing_here),
]

handler400 = refusing.bad_request
handler500 = refusing.server_error
