"""What providers told us, in the admin; and the overview, which needs to know of everything."""

from webhooks.admin import endpoints, events, hygiene, overview, requests  # noqa: F401
