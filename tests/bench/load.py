"""Posts signed SendGrid webhooks as fast as they are answered, or so many per second.

    python -m tests.bench.load PLAN.json

A plan: {"port", "path", "private_key", "messages": [our ids], "posts", "events" (per post),
"connections", "rate" (posts per second, 0: no limit)}. With a rate, a post's time counts from when
it was due, so that a server which stalls cannot hide it. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from delivery.sandbox.signing import sign_sendgrid

DEADLINE_S = 120.0
KINDS = ("delivered", "open", "delivered", "click")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


@dataclass
class Load:
    """Requests ready to be written, and what became of them."""

    requests: list[bytes]
    rate: float
    took: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    started: float = 0.0

    def __post_init__(self) -> None:
        self._turns = iter(enumerate(self.requests))

    async def run(self, port: int, connections: int) -> dict[str, Any]:
        """Post everything; return the figures."""
        self.started, began = time.perf_counter(), time.time()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(self._connection(port) for _ in range(connections)))
        seconds = time.perf_counter() - self.started
        took = sorted(self.took)
        return {
            "posts": len(took),
            "seconds": seconds,
            "began": began,
            "statuses": self.statuses,
            **{f"p{share}": took[len(took) * share // 100] * 1000 for share in (50, 99)},
            "worst": took[-1] * 1000,
        }

    async def _connection(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number, request in self._turns:
            begun = time.perf_counter()
            if self.rate:
                due = self.started + number / self.rate
                await asyncio.sleep(max(0.0, due - begun))
                begun = due
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            await reader.readexactly(int(length[1]) if length else 0)
            self.took.append(time.perf_counter() - begun)
            self.statuses[int(head[9:12])] += 1
        writer.close()


def requests_of(plan: dict[str, Any]) -> list[bytes]:
    """Return complete, signed requests; every event has an id of its own."""
    messages = itertools.cycle(plan["messages"])
    run, numbers, now = secrets.token_hex(4), itertools.count(), int(time.time())
    made = []
    for _ in range(plan["posts"]):
        events = [
            {
                "email": "ana@gmail.com",
                "timestamp": now,
                "event": KINDS[number % len(KINDS)],
                "sg_event_id": f"{run}-{number}",
                "sg_message_id": f"{run}.filter-{number}",
                "message_id": next(messages),
                "useragent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36",
                "ip": "203.0.113.9",
                "url": "https://shop.example.test/p/fg-0001",
            }
            for number in itertools.islice(numbers, plan["events"])
        ]
        body = json.dumps(events).encode()
        signature = sign_sendgrid(plan["private_key"], str(now), body)
        head = (
            f"POST {plan['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Twilio-Email-Event-Webhook-Signature: {signature}\r\n"
            f"X-Twilio-Email-Event-Webhook-Timestamp: {now}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def main(path: Path) -> None:
    """Run the plan of a file."""
    plan = json.loads(path.read_text())
    load = Load(requests_of(plan), plan["rate"])
    figures = asyncio.run(load.run(plan["port"], plan["connections"]))
    print(json.dumps(figures), flush=True)  # noqa: T201 (the parent reads)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
