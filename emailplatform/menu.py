"""How the admin looks: django-unfold's settings. The menu itself is in `navigating`."""

from __future__ import annotations

from typing import Any

from django.templatetags.static import static

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "E-mail platform",
    "SITE_HEADER": "E-mail platform",
    "SITE_SYMBOL": "forward_to_inbox",
    "SITE_URL": None,
    "LOGIN": {"form": "emailplatform.signing_in.SignInForm"},
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "emailplatform.navigating.environment",
    "BORDER_RADIUS": "6px",
    "STYLES": [lambda _request: static("ui/app.css")],
    "SCRIPTS": [lambda _request: static("ui/app.js")],
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda _request: static("ui/icon.svg"),
        }
    ],
    "COLORS": {
        "primary": {
            "50": "oklch(96.2% .018 272.314)",
            "100": "oklch(93% .034 272.788)",
            "200": "oklch(87% .065 274.039)",
            "300": "oklch(78.5% .115 274.713)",
            "400": "oklch(67.3% .182 276.935)",
            "500": "oklch(58.5% .233 277.117)",
            "600": "oklch(51.1% .262 276.966)",
            "700": "oklch(45.7% .24 277.023)",
            "800": "oklch(39.8% .195 277.366)",
            "900": "oklch(35.9% .144 278.697)",
            "950": "oklch(25.7% .09 281.288)",
        },
    },
    "DASHBOARD_CALLBACK": "webhooks.admin.overview.dashboard",
    "COMMAND": {"search_callback": "emailplatform.navigating.search", "search_models": False},
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": "emailplatform.navigating.navigation",
    },
}
