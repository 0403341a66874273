from django.urls import path, re_path

from webhooks import pages, public, views

EMAIL_WEBHOOKS = (
    r"^api/webhooks/email/(?P<kind>[a-z]+)/?$",
    r"^api/webhooks/email/(?P<kind>[a-z]+)/(?P<account>[A-Za-z0-9_-]+)/?$",
)
"""With and without a slash: a provider that is redirected drops its POST."""

HEALTH = "api/webhooks/email/health"

urlpatterns = [
    path(HEALTH, views.health, name="webhook-health"),
    path(f"{HEALTH}/", views.health),
    *(re_path(each, views.email_webhook, name="email-webhook") for each in EMAIL_WEBHOOKS),
    path("v/<str:token>/", public.view, name="view-mail"),
    path("u/<str:token>/", pages.unsubscribe, name="unsubscribe"),
    path("p/<str:token>/", pages.preferences, name="preferences"),
]
