from django.urls import path, re_path

from webhooks import views

EMAIL_WEBHOOK = r"^api/webhooks/email/(?P<kind>[a-z]+)/(?P<token>[A-Za-z0-9_-]+)/?$"
"""With and without a slash: a provider that is redirected drops its POST."""

urlpatterns = [
    re_path(EMAIL_WEBHOOK, views.email_webhook, name="email-webhook"),
    path("u/<str:token>/", views.unsubscribe, name="unsubscribe"),
]
