"""Tell the platform what happened: take due events, sign them, POST them, try again.

The events wait in the inbox, so a restart loses none and memory stays flat. Connections are kept;
`CONCURRENCY` POSTs are under way at once. A POST that is not answered 2xx is repeated after a
back-off that doubles each time, up to a number of attempts; 403 (Postmark) and 406 (Mailgun) mean
"never again".
"""

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Sequence

import aiohttp

from delivery.sandbox import outcomes
from delivery.sandbox.calls import LOOKS, Occurrence, Post
from delivery.sandbox.config import Account
from delivery.sandbox.inbox import FAILED, NOT_SENT, TOLD, Due
from delivery.sandbox.kinds import KINDS, with_url
from delivery.sandbox.office import Office
from delivery.sandbox.readers import Readers

CONCURRENCY = 32
FETCH = 3000
"""Events taken at once; also about how many are in memory."""
TIMEOUT_S = 15
IDLE_S = 0.5
"""The longest nap. New mail wakes the pump at once."""
GATHER_S = 0.03
"""A breath before each look, so that events of many messages share a query and a POST."""
MAX_BACKOFF_S = 60.0
NEVER_AGAIN = {403, 406}

log = logging.getLogger(__name__)


class Pump:
    """Moves due events from the inbox to the platform until it is closed.

    Looks are done by `readers` at that time, whether or not the provider tells them.
    """

    def __init__(self, office: Office, readers: Readers) -> None:
        self.base_url = ""
        self._readers = readers
        self._office = office
        self._awake = asyncio.Event()
        self._room = asyncio.Semaphore(CONCURRENCY)
        self._tasks: set[asyncio.Task[None]] = set()
        self._told: list[int] = []
        self._session: aiohttp.ClientSession | None = None

    def wake(self) -> None:
        """There may be something due."""
        self._awake.set()

    async def run(self) -> None:
        """Tell events as they come due, for ever."""
        limit = aiohttp.TCPConnector(limit=CONCURRENCY, keepalive_timeout=20)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(connector=limit, timeout=timeout) as session:
            self._session = session
            while True:
                self._awake.clear()
                due = self._office.inbox.due(time.time(), FETCH)
                await self._read(due)
                for post, account, attempts in self._posts(self._told_of(due)):
                    await self._room.acquire()
                    task = asyncio.create_task(self._tell(post, account, attempts))
                    self._tasks.add(task)
                    task.add_done_callback(self._finished)
                self._write_down()
                if len(due) < FETCH:
                    await self._nap()

    async def close(self) -> None:
        """Stop what is under way; those events are told again after a restart."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._write_down()

    async def send(self, post: Post) -> int:
        """POST once; return the status, or 0 when there was no answer."""
        if self._session is None:
            return 0
        try:
            async with self._session.post(
                post.url, data=post.body, headers=post.headers, allow_redirects=False
            ) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()
        if not self._tasks:
            # The last of its kind writes the results down, so that a drained queue shows at once.
            self._awake.set()

    async def _nap(self) -> None:
        next_due = self._office.inbox.next_due()
        pause = IDLE_S if next_due is None else min(IDLE_S, max(0.0, next_due - time.time()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._awake.wait()
        await asyncio.sleep(GATHER_S)

    async def _tell(self, post: Post, account: Account, attempts: int) -> None:
        """POST and note what to do with its events."""
        status = await self.send(post)
        if 200 <= status < 300:
            self._told.extend(post.events)
            return
        options = self._office.options_for(account.name)
        inbox = self._office.inbox
        if attempts + 1 >= options.webhook_attempts or status in NEVER_AGAIN:
            log.warning("webhook_given_up", extra={"account": account.name, "status": status})
            inbox.settle(post.events, FAILED)
            return
        pause = min(MAX_BACKOFF_S, options.webhook_backoff * 2.0**attempts)
        inbox.postpone(post.events, time.time() + pause)

    def _write_down(self) -> None:
        told, self._told = self._told, []
        if told:
            self._office.inbox.settle(told, TOLD)

    async def _read(self, due: Sequence[Due]) -> None:
        """Let people and machines look, the first time that a look is due."""
        for item in due if self._readers else ():
            if item.occurrence.type in LOOKS and not item.attempts:
                look = with_url(item)
                content = KINDS[item.kind].expand(look.shared, look.own)
                await self._readers.see(look, content)

    def _told_of(self, due: Sequence[Due]) -> list[Due]:
        """Return the events that the provider tells; looks that it does not count are over."""
        quiet = [item for item in due if not self._is_told(item)]
        if quiet:
            self._office.inbox.settle([item.occurrence.id for item in quiet], NOT_SENT)
            over = {item.occurrence.id for item in quiet}
            return [item for item in due if item.occurrence.id not in over]
        return list(due)

    def _is_told(self, item: Due) -> bool:
        look, account = item.occurrence, self._office.account(item.account)
        if not self._readers or look.type not in LOOKS or account is None:
            return True
        return bool(account.webhook_url) and look.type in KINDS[item.kind].tells(
            look.shared, look.own
        )

    def _posts(self, due: Sequence[Due]) -> list[tuple[Post, Account, int]]:
        """Return the POSTs for these events, those to be told twice at the end."""
        groups: dict[tuple[str, int], list[Occurrence]] = defaultdict(list)
        for item in due:
            groups[item.account, item.attempts].append(with_url(item))
        made = []
        for (name, attempts), occurrences in groups.items():
            account = self._office.account(name)
            posts = KINDS[account.kind].posts if account else None
            if account is None or posts is None:
                self._office.inbox.settle([item.id for item in occurrences], FAILED)
                continue
            self._note_inactive(name, occurrences)
            twice = [item for item in occurrences if self._is_doubled(name, item)]
            for part in (occurrences, twice):
                made += [(post, account, attempts) for post in posts(account, part, self.base_url)]
        return made

    def _note_inactive(self, account: str, occurrences: Sequence[Occurrence]) -> None:
        dead = [item.recipient for item in occurrences if item.type in ("bounce", "complaint")]
        self._office.inbox.deactivate(account, dead)

    def _is_doubled(self, account: str, item: Occurrence) -> bool:
        options = self._office.options_for(account)
        if not options.webhook_double:
            return False
        key = (options.seed, "double", account, item.recipient, item.type, item.pick)
        return outcomes.draws(*key)[0] < options.webhook_double
