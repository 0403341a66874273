"""Settings about time: how long data is kept, when an address rests. Part of `settings`."""

from __future__ import annotations

from emailplatform import env

KEEP_UPLOADS_DAYS = env.whole("KEEP_UPLOADS_DAYS", 7)
KEEP_REFUSED_ROWS_DAYS = env.whole("KEEP_REFUSED_ROWS_DAYS", 90)
KEEP_WEBHOOK_BODIES_DAYS = env.whole("KEEP_WEBHOOK_BODIES_DAYS", 30)
KEEP_IP_DAYS = env.whole("KEEP_IP_DAYS", 30)
KEEP_EVENTS_DAYS = env.whole("KEEP_EVENTS_DAYS", 400)
KEEP_AUDIT_DAYS = env.whole("KEEP_AUDIT_DAYS", 730)
"""How long what is kept, in days; 0: for ever. `subscribers.retaining`."""
SOFT_BOUNCES_TO_REST = env.whole("SOFT_BOUNCES_TO_REST", 5)
"""So many soft bounces in a row, and an address gets no marketing mail for a time."""
SOFT_BOUNCE_REST_DAYS = env.whole("SOFT_BOUNCE_REST_DAYS", 14)
