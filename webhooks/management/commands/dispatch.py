"""Everything that sends, and hears back, without a broker: `manage.py dispatch`."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from campaigns import launching
from delivery import (
    accepting,
    confirming,
    expanding,
    reputing,
    ruling,
    sending,
    telling,
    watching,
)
from delivery.attending import here
from delivery.models import Handoff, Message, Worker
from webhooks import applying, crediting, delivering, doubting
from webhooks.tasks import BATCH

_SLICE_S = 2.0
_RATE_EVERY_S = 300.0
_WATCH_EVERY_S = 15.0
_HEAR_S = 1.0
"""The most that a round gives to webhooks."""
_SETTLE_EVERY_S = 15.0
_FORGET_EVERY_S = 3600.0
_PAUSE_S = 1.0
"""Between two tries when the database is away."""


class Command(BaseCommand):
    help = "Send everything that is due, and apply what providers report, without Celery (Ctrl-C)."

    _rated_at = float("-inf")
    _watched_at = float("-inf")
    _settled_at = float("-inf")
    _forgot_at = float("-inf")
    _posted = False
    """Something was posted to an endpoint in the last round, or is being posted."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Stop when nothing is due.")
        parser.add_argument("--slice", type=float, default=_SLICE_S, help="Seconds per round.")

    def handle(self, *_: Any, once: bool, slice: float, **__: Any) -> None:  # noqa: A002
        here.kind = "dispatch"
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        while not stop.is_set():
            try:
                sent = self._round(slice)
            except (OperationalError, InterfaceError) as error:
                if once:
                    raise
                self.stderr.write(f"{timezone.now():%H:%M:%S} The database is away: {error}")
                connection.close()
                stop.wait(_PAUSE_S)
                continue
            if sent:
                self.stdout.write(f"{timezone.now():%H:%M:%S} {sent} messages")
            elif once and not self._posted:
                return
            else:
                stop.wait(0.1 if self._posted else 0.5)

    def _round(self, seconds: float) -> int:
        now = timezone.now()
        launching.start_due(now)
        expanding.expand_all(now)
        expanding.cancel_rest()
        confirming.ask_due(now)
        sent = sending.send_slice(seconds)
        Handoff.objects.sweep()
        ruling.stamp_queued(timezone.now())
        if time.monotonic() - self._rated_at > _RATE_EVERY_S:
            self._rated_at = time.monotonic()
            reputing.rate_accounts(timezone.now())
        self._hear(time.monotonic() + _HEAR_S)
        posted = delivering.turn(0, timezone.now())
        Message.objects.expire(timezone.now())
        Worker.objects.forget_dead()
        expanding.finish_done(timezone.now())
        self._look_after()
        self._posted = bool(posted)
        return sent

    def _hear(self, stop_at: float) -> None:
        """Apply what was seen and posted; what is in doubt then is settled or sent again."""
        while crediting.credit_sightings(timezone.now()) and time.monotonic() < stop_at:
            pass
        while applying.apply_pending(BATCH, timezone.now()) and time.monotonic() < stop_at:
            pass
        if time.monotonic() - self._settled_at > _SETTLE_EVERY_S:
            self._settled_at = time.monotonic()
            doubting.settle(timezone.now())

    def _look_after(self) -> None:
        """Raise the alerts of what is wrong, and tell operators."""
        if time.monotonic() - self._watched_at > _WATCH_EVERY_S:
            self._watched_at = time.monotonic()
            watching.watch(timezone.now())
        telling.tell(timezone.now())
        if time.monotonic() - self._forgot_at > _FORGET_EVERY_S:
            self._forgot_at = time.monotonic()
            accepting.forget_keys(timezone.now())
            delivering.forget(timezone.now())
