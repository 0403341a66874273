from django.urls import path, re_path

from webhooks import views

urlpatterns = [
    # With and without a slash: a provider that is redirected drops its POST.
    re_path(
        r"^api/webhooks/email/(?P<kind>[a-z]+)/(?P<token>[A-Za-z0-9_-]+)/?$",
        views.email_webhook,
        name="email-webhook",
    ),
    path("u/<str:token>/", views.unsubscribe, name="unsubscribe"),
]
