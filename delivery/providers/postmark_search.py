"""What Postmark tells when asked: its message search, and what became of each message.

Source: "Messages API" and "Bounce API", developer docs of Postmark. Deliveries and bounces are
asked for; opens and clicks are not: nobody is mailed wrongly for want of them, and each would be
another call. A search reaches 10,000 messages, so long spans are asked in parts.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from delivery.providers import hearing
from delivery.providers.asking import Questions
from delivery.providers.base import Account, Unavailable

PAGE = 500
REACH = 10_000
SHORTEST = timedelta(minutes=1)
EASTERN = ZoneInfo("America/New_York")
"""The zone of a search's times, as documented."""


def told_since(account: Account, since: datetime, until: datetime) -> Iterator[bytes]:
    """Yield a webhook's body for each delivery and bounce of mail sent between two times."""
    base = (account["api_url"] or "https://api.postmarkapp.com/").rstrip("/")
    headers = {"Accept": "application/json", "X-Postmark-Server-Token": account["server_token"]}
    streams = {account["message_stream"] or "broadcast"}
    streams.add(account["transactional_stream"] or "outbound")
    with Questions("Postmark", headers=headers) as questions:
        for stream in sorted(streams):
            for message in _messages(questions, base, stream, since, until):
                for record in _records(questions, base, message):
                    yield json.dumps(record).encode()


def _messages(
    questions: Questions, base: str, stream: str, since: datetime, until: datetime
) -> Iterator[str]:
    """Yield the ids of messages; a span with more than the search reaches is halved."""
    # Whole seconds: the last one counts in full.
    span = {"fromdate": _time(since), "todate": _time(until + timedelta(seconds=1))}
    offset = 0
    while True:
        answer = hearing.mapping(
            questions.get(
                f"{base}/messages/outbound",
                count=PAGE,
                offset=offset,
                messagestream=stream,
                **span,
            )
        )
        total = answer.get("TotalCount")
        if isinstance(total, int) and total > REACH and until - since > SHORTEST:
            middle = since + (until - since) / 2
            yield from _messages(questions, base, stream, since, middle)
            yield from _messages(questions, base, stream, middle, until)
            return
        page = hearing.items(answer.get("Messages"))
        yield from (hearing.text(hearing.mapping(each).get("MessageID")) for each in page)
        offset += PAGE
        if len(page) < PAGE or offset + PAGE > REACH:
            return


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(EASTERN):%Y-%m-%dT%H:%M:%S}"


def _records(questions: Questions, base: str, message: str) -> Iterator[dict[str, Any]]:
    if not message.replace("-", "").isalnum():
        raise Unavailable("Postmark named a message in a way that is none of its ids.")
    details = hearing.mapping(questions.get(f"{base}/messages/outbound/{message}/details"))
    shared = {"MessageID": message, "Metadata": hearing.mapping(details.get("Metadata"))}
    for event in map(hearing.mapping, hearing.items(details.get("MessageEvents"))):
        own = hearing.mapping(event.get("Details"))
        bounce = hearing.text(own.get("BounceID"))
        if event.get("Type") == "Delivered":
            yield {
                **shared,
                "RecordType": "Delivery",
                "Recipient": event.get("Recipient"),
                "DeliveredAt": event.get("ReceivedAt"),
            }
        elif bounce.isdecimal():
            told = dict(hearing.mapping(questions.get(f"{base}/bounces/{bounce}")))
            yield {**told, **shared, "RecordType": "Bounce"}
