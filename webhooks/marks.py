"""What each type of event leaves on a message: the one table, as data and SQL.

Earliest wins for every time, the worst class for a bounce, so events may come twice and in any
order: the end is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from delivery.providers.base import BounceClass, EventType

HARMFUL = (
    EventType.BOUNCED,
    EventType.DROPPED,
    EventType.COMPLAINED,
    EventType.SPAM_REPORT,
    EventType.UNSUBSCRIBED,
)
"""What may end a person's mail: believed only with the address we mailed beside our id."""

NO_EVIDENCE = (EventType.DROPPED, EventType.FAILED, EventType.CONVERTED, EventType.CUSTOM)
"""All others show that the provider took the mail: they settle a message in doubt."""

COMPLAINTS = (EventType.COMPLAINED, EventType.SPAM_REPORT)

WORST_FIRST = (BounceClass.HARD, BounceClass.BLOCK, BounceClass.SOFT, BounceClass.UNKNOWN)

HIDDEN_LINK = "hidden link"
"""The `reason` of a click on the link that no person sees: whoever follows it is a machine."""

ASKED_BY_HEAD = "asked by HEAD"
"""The `reason` of an open or click in which only the headers were wanted: no browser does that."""

OWN_PAGE = "visited"
"""The type of a click, told by a provider, on a page of ours: stored, and no interest in a mail."""

MARKS: Mapping[str, str] = MappingProxyType(
    {
        "delivered_at": (
            "type IN ('delivered', 'opened') OR (type = 'clicked' AND is_machine IS NOT TRUE)"
        ),
        "deferred_at": "type = 'deferred'",
        "bounced_at": "type = 'bounced'",
        "dropped_at": "type IN ('dropped', 'failed')",
        "opened_at": "type = 'opened' AND is_machine IS NOT TRUE",
        "person_opened_at": "type = 'opened' AND is_machine IS FALSE",
        "machine_opened_at": "type = 'opened' AND is_machine",
        "clicked_at": "type = 'clicked' AND is_machine IS NOT TRUE",
        "person_clicked_at": "type = 'clicked' AND is_machine IS FALSE",
        "machine_clicked_at": "type = 'clicked' AND is_machine",
        "unsubscribed_at": "type = 'unsubscribed'",
        "complained_at": "type IN ('complained', 'spam_report')",
    }
)
"""Column of Message -> which events set it.

What is opened was delivered. A machine's click was not: gateways follow links before they decide.
`opened_at` is the first open not known to be a machine's, `person_opened_at` the first that was a
person's for all we know. What lies between them is unsure.
"""

LOOK_MARKS = tuple(name for name, events in MARKS.items() if "is_machine" in events)
"""Those that move when a verdict on an open or a click is revised."""
