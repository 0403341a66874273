"""What Mailgun tells when asked: its Events API, whose items are the webhooks' event-data.

Source: API reference "Events", docs of Mailgun. It never repeats a failed webhook of a delivery,
so asking is the only way to hear of one that went missing. Events are kept 1 to 30 days.
"""

import json
from collections.abc import Iterator
from datetime import datetime

from delivery.providers import hearing
from delivery.providers.asking import Questions
from delivery.providers.base import Account, Unavailable

PAGE = 300
MOST_PAGES = 20_000


def told_since(account: Account, since: datetime, until: datetime) -> Iterator[bytes]:
    """Yield a webhook's body for each event between two times, the oldest first."""
    base = (account["api_url"] or "https://api.mailgun.net/v3").rstrip("/")
    first = f"{base}/{account['domain']}/events"
    asked = {"begin": since.timestamp(), "end": until.timestamp(), "ascending": "yes"}
    with Questions("Mailgun", auth=("api", account["api_key"])) as questions:
        answer = hearing.mapping(questions.get(first, limit=PAGE, **asked))
        for _ in range(MOST_PAGES):
            items = hearing.items(answer.get("items"))
            yield from (json.dumps({"event-data": item}).encode() for item in items)
            following = hearing.mapping(answer.get("paging")).get("next")
            if not items or not isinstance(following, str):
                return
            if not following.startswith(f"{first}/"):  # the key goes nowhere else
                raise Unavailable("Mailgun's next page is not at Mailgun's address.")
            answer = hearing.mapping(questions.get(following))
