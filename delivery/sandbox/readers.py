"""The people mail is for, and the machines that look at it: load its images, follow its links.

Off unless the sandbox is told of a host (`Config.reader_hosts`), and then they ask that host alone:
the very host and port, on this machine, over http. A redirect is not followed. Each speaks with its
own user agent, from the address that its provider would tell: in X-Forwarded-For, as the proxy in
front of a platform says it (the platform listens to one that it trusts: TRUSTED_PROXIES).
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import aiohttp
from yarl import URL

from delivery.sandbox.calls import Agent, Content, Occurrence
from delivery.sandbox.config import checked_host

READERS = 8
"""So many requests at once: people are not the load that a platform is measured with."""
WAITING = 2_000
"""Requests that may wait. The next ones keep the events behind them waiting."""
MOST_IMAGES = 20
"""Of one mail."""
TIMEOUT_S = 15

_IMAGE = re.compile(r"""<img\b[^>]*?\ssrc\s*=\s*["'](https?://[^"'\s>]+)""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request that a mail makes its reader's program send."""

    url: URL
    agent: Agent
    ip: str
    mail: str
    """Which mail: the provider's id and the recipient."""
    is_link: bool


@dataclass(slots=True)
class Tally:
    """What came of it, since the sandbox started."""

    counts: Counter[str] = field(default_factory=Counter)
    """Requests: `shown` images, `led` links, `refused` with a status of 400 and above, `trapped`
    machines that were refused (they follow what nobody sees), `failed` without any answer."""
    opened: set[str] = field(default_factory=set)
    """Mails whose images people were shown."""
    clicked: set[str] = field(default_factory=set)
    """Mails in which people, and no machine, followed a link that led on: a 3xx."""
    scanned: set[str] = field(default_factory=set)
    """Mails in which machines followed links: nobody can tell whose click was whose."""

    def as_json(self) -> dict[str, int]:
        """Return the counts as GET /_sandbox/stats does."""
        return {
            **{
                name: self.counts[name] for name in ("shown", "led", "refused", "trapped", "failed")
            },
            "opened_by_people": len(self.opened),
            "clicked_by_people": len(self.clicked - self.scanned),
        }

    def note(self, visit: Visit, status: int) -> None:
        """Count an answer; 0: there was none."""
        is_machine = visit.agent.is_machine
        if is_machine and visit.is_link:
            self.scanned.add(visit.mail)
        if not status:
            self.counts["failed"] += 1
        elif status >= 400:
            self.counts["trapped" if is_machine else "refused"] += 1
        else:
            self.counts["led" if visit.is_link else "shown"] += 1
            if not is_machine and (not visit.is_link or status >= 300):
                (self.clicked if visit.is_link else self.opened).add(visit.mail)


class Readers:
    """Sends the visits it is given, a few at a time, until it is closed."""

    def __init__(self, hosts: Sequence[str], tally: Tally) -> None:
        self._hosts = frozenset(map(checked_host, hosts))
        self._tally = tally
        self._waiting: asyncio.Queue[Visit] = asyncio.Queue(WAITING)
        self._tasks: list[asyncio.Task[None]] = []

    def __bool__(self) -> bool:
        return bool(self._hosts)

    def start(self) -> None:
        """Begin to read, in the running loop."""
        if self._hosts:
            self._tasks = [asyncio.create_task(self._read()) for _ in range(READERS)]

    async def close(self) -> None:
        """Stop reading; what waits is forgotten."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def see(self, look: Occurrence, content: Content) -> None:
        """Let a look happen: an open loads the mail's images, a click follows its link."""
        for visit in visits(look, content, self._hosts):
            await self._waiting.put(visit)

    async def _read(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(
            timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as me:
            while True:
                visit = await self._waiting.get()
                self._tally.note(visit, await _status_of(me, visit))


def visits(look: Occurrence, content: Content, hosts: frozenset[str]) -> list[Visit]:
    """Return what one open or click asks of these hosts; nothing of any other."""
    is_link = look.type == "click"
    written = [look.url] if is_link else _images(content.html)
    mail = f"{look.provider_message_id} {look.recipient}"
    return [
        Visit(url, look.agent, look.ip, mail, is_link)
        for url in map(_read_url, written)
        if url is not None and _host_of(url) in hosts
    ]


def _images(html: str) -> Iterable[str]:
    found = dict.fromkeys(map(unescape, _IMAGE.findall(html)))
    return list(found)[:MOST_IMAGES]


def _read_url(text: str) -> URL | None:
    """Return the address as it will be asked for, so that nobody reads it in another way."""
    try:
        return URL(text)
    except ValueError:
        return None


def _host_of(url: URL) -> str:
    """Return host:port of what is asked for over http and without a name; else nothing."""
    if url.scheme != "http" or url.user is not None or url.host is None:
        return ""
    return f"[{url.host}]:{url.port}" if ":" in url.host else f"{url.host}:{url.port}"


async def _status_of(session: aiohttp.ClientSession, visit: Visit) -> int:
    """Ask; return the status, or 0 when there was no answer."""
    headers: dict[str, Any] = {"User-Agent": visit.agent.user_agent, "X-Forwarded-For": visit.ip}
    try:
        async with session.get(visit.url, headers=headers, allow_redirects=False) as response:
            await response.read()
            return response.status
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return 0
