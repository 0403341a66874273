"""The main job in the terminal, from a CSV file to a report: `make demo`.

Works in a database of its own (the usual name with `_demo` behind it), made anew each time, so it
disturbs nobody. Everything is real but the providers: web, worker and beat run as in production,
and the sandbox posts its signed events to the web process.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import psycopg
import requests
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from psycopg import sql

from campaigns import launching, targeting
from campaigns.models import Campaign
from delivery import demonstrating, reports
from delivery.models import Message
from emailplatform import embedded
from emailplatform.processes import ProcessGroup
from emailplatform.terminal import Bar
from subscribers import importing
from subscribers.models import Import
from webhooks.models import Event, RawRequest, Sighting

_INSIDE = "DEMO_INSIDE"
_PATIENCE_S = 300.0
_QUIET_S = 6.0
"""Without a new event for so long, with nothing pending, all have come."""
_MESSAGES = ("sent", "delivered", "bounced", "soft_bounced", "dropped")
_PEOPLE = ("opened", "machine_opened", "clicked", "unsubscribed", "complained")
_ONCE = "Nobody got it twice"
_CLICKED = "Who clicked (mails of scanners aside) is who followed a link"
_THERE = "Every image and link was there"
_TOLD = {_ONCE: "{right:,} people did", _THERE: "{right:,} were not"}


@dataclass(frozen=True, slots=True)
class _Ports:
    web: int
    sandbox: int
    smtp: int


class Command(BaseCommand):
    help = (
        "Import, segment, send through two sandboxed providers, and report. Exit 0 if it adds up."
    )

    def handle(self, *_: Any, **__: Any) -> None:
        if os.environ.get(_INSIDE):
            self._demo()
        else:
            _enter_own_database()

    def _demo(self) -> None:
        started = time.monotonic()
        self.stdout.write("Preparing a database of its own …")
        call_command("migrate", verbosity=0)
        body = (settings.BASE_DIR / "demo" / "newsletter.mjml").read_text(encoding="utf-8")
        workspace = demonstrating.make_workspace(body)
        url = f"http://127.0.0.1:{settings.SANDBOX_PORT}"
        demonstrating.make_sandbox_accounts(url, settings.SANDBOX_ACCOUNTS)
        people = self._import(workspace)
        log = Path(settings.VAR_DIR) / "demo" / "processes.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as lines:

            def note(name: str, line: str) -> None:
                lines.write(f"{name} | {line}\n")

            with ProcessGroup(note, inherit=embedded.descriptors()) as group:
                _start(group)
                self._wait_for(url)
                sending_s = self._send(group, workspace.campaign)
                self._hear(group)
                seen = requests.get(f"{url}/_sandbox/stats", timeout=10).json()
                twice = requests.get(f"{url}/_sandbox/duplicates", timeout=10).json()
        self._report(people, workspace.campaign, sending_s, time.monotonic() - started)
        self._check(workspace.campaign, seen, twice)

    def _import(self, workspace: demonstrating.Workspace) -> Import:
        path = settings.BASE_DIR / "demo" / "subscribers.csv"
        with path.open("rb") as file:
            work = importing.start(file, path.name, workspace.mailing_list)
        importing.confirm(work, work.mapping)
        bar = Bar(sys.stdout, "Importing (bytes)", work.size)
        while not work.finished_at:
            importing.run(work.pk, 0.2)
            work.refresh_from_db()
            bar.show(work.offset)
        bar.close()
        return work

    def _wait_for(self, sandbox: str) -> None:
        for url in (f"{settings.PUBLIC_URL}/health", f"{sandbox}/_sandbox/stats"):
            _until(partial(_answers, url), f"Nothing answers at {url}.")

    def _send(self, group: ProcessGroup, campaign: Campaign) -> float:
        audience = targeting.measure(targeting.choice_of(campaign))
        self.stdout.write(
            f"Segment “{demonstrating.SEGMENT}”: {audience.reached:,} people"
            f" ({audience.chosen - audience.reached:,} left out)"
        )
        started = time.monotonic()
        launching.launch(campaign, timezone.now())
        bar = Bar(sys.stdout, "Sending", audience.reached)

        def is_sent() -> bool:
            group.tend()
            campaign.refresh_from_db()
            progress = reports.progress(campaign, timezone.now())
            bar.show(progress.decided, max(progress.total, audience.reached))
            return campaign.is_over

        _until(is_sent, "The campaign was not finished in time.")
        bar.close()
        return time.monotonic() - started

    def _hear(self, group: ProcessGroup) -> None:
        """Wait until the providers' events are in and applied: until it stays quiet."""
        bar = Bar(sys.stdout, "Events heard")
        last = (0, time.monotonic())

        def is_quiet() -> bool:
            nonlocal last
            group.tend()
            heard = Event.objects.count()
            waiting = RawRequest.objects.filter(status=RawRequest.Status.PENDING).exists()
            waiting = waiting or Sighting.objects.exists()
            if waiting or heard != last[0]:
                last = (heard, time.monotonic())
                bar.show(heard)
            return time.monotonic() - last[1] > _QUIET_S

        _until(is_quiet, "Events kept coming for too long.")
        bar.close()

    def _report(self, people: Import, campaign: Campaign, sending_s: float, all_s: float) -> None:
        say = self.stdout.write
        say("\nPeople")
        say(f"  rows {people.rows:,}, imported {people.created_count:,}", ending=", ")
        say(f"repeated {people.duplicate_count:,}, refused {people.refused_count:,}")
        for reason, count in sorted(people.reasons.items(), key=lambda item: -item[1]):
            say(f"    {count:>5,}  {reason}")
        totals = reports.totals(campaign)
        by_provider = reports.totals_by(campaign, "provider__name")
        say(f"\n{'Messages':<18}" + "".join(f"{name:>20}" for name in ["all", *by_provider]))
        cells = [totals, *by_provider.values()]
        rows = {name: [getattr(each, name) for each in cells] for name in _MESSAGES}
        waiting = _waiting(campaign)
        rows["still waiting"] = [waiting.total(), *(waiting[name] for name in by_provider)]
        rows |= {name: [getattr(each, name) for each in cells] for name in _PEOPLE}
        for name, numbers in rows.items():
            line = "".join(f"{number:>20,}" for number in numbers)
            say(f"  {name.replace('_', ' '):<16}{line}")
        speed = totals.sent / sending_s if sending_s else 0
        say(f"\n{totals.sent:,} messages in {sending_s:.1f} s, {speed:,.0f}/s;", ending=" ")
        say(f"{all_s:.1f} s from the file to this report.")

    def _check(self, campaign: Campaign, seen: dict[str, Any], twice: list[Any]) -> None:
        """Compare our numbers with the sandbox's inbox; raise CommandError where they differ."""
        status = Message.Status
        rows = Message.objects.filter(campaign=campaign)
        reached, sent = rows.count(), rows.filter(status=status.SENT).count()
        totals, readers = reports.totals(campaign), seen["readers"]
        facts = {
            "Everybody in the audience has a message that was sent": (reached, sent),
            "The sandbox's inbox holds one mail for each": (sent, seen["distinct"]),
            _ONCE: (0, len(twice)),
            "The report counts what was sent": (sent, totals.sent),
            "Of every mail the providers told what became of it": (sent, _accounted(campaign)),
            "Who opened is whom images were shown to": (totals.opened, readers["opened_by_people"]),
            _CLICKED: (_clicked(campaign), readers["clicked_by_people"]),
            _THERE: (0, readers["refused"] + readers["failed"]),
        }
        wrong = [claim for claim, (left, right) in facts.items() if left != right]
        for claim, (left, right) in facts.items():
            mark = self.style.ERROR("no ") if claim in wrong else self.style.SUCCESS("yes")
            told = _TOLD.get(claim, "{left:,} and {right:,}").format(left=left, right=right)
            self.stdout.write(f"{mark} {claim}: {told}")
        if wrong:
            raise CommandError("The numbers do not add up.")


def _waiting(campaign: Campaign) -> Counter[str]:
    """Return per provider's name how many were deferred and have not come to an end since."""
    rows = Message.objects.filter(campaign=campaign, deferred_at__isnull=False)
    open_ones = rows.filter(delivered_at=None, bounced_at=None, dropped_at=None)
    return Counter(open_ones.values_list("provider__name", flat=True))


def _clicked(campaign: Campaign) -> int:
    """Count clicks as the report does, without mails whose links a machine followed as well.

    In the demo's haste nobody could tell whose click was whose.
    """
    rows = Message.objects.filter(campaign=campaign, machine_clicked_at=None)
    return rows.filter(clicked_at__isnull=False).count()


def _accounted(campaign: Campaign) -> int:
    rows = Message.objects.filter(campaign=campaign)
    quiet = rows.filter(delivered_at=None, bounced_at=None, dropped_at=None, deferred_at=None)
    return rows.count() - quiet.count()


def _enter_own_database() -> None:
    """Create the demo's database anew and run this command again inside it."""
    name = f"{settings.DATABASES['default']['NAME']}_demo"
    with psycopg.connect(settings.DATABASE_URL, autocommit=True) as connection:
        quoted = sql.Identifier(name)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(quoted))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(quoted))
    ports = _free_ports()
    folder = Path(settings.VAR_DIR) / "demo"
    parts = urlsplit(settings.DATABASE_URL)
    environment = {
        _INSIDE: "yes",
        "DATABASE_URL": parts._replace(path=f"/{name}").geturl(),
        "REDIS_URL": _other_redis(settings.REDIS_URL),
        "PUBLIC_URL": f"http://127.0.0.1:{ports.web}",
        "TRUSTED_PROXIES": "1",  # The sandbox's people come from addresses of their own.
        "SANDBOX_PORT": str(ports.sandbox),
        "SANDBOX_SMTP_PORT": str(ports.smtp),
        "SANDBOX_ACCOUNTS": str(folder / "accounts.json"),
        "MEDIA_ROOT": str(folder / "media"),
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **environment})  # noqa: S606


def _other_redis(url: str) -> str:
    """Return the same Redis with another database number, so that no worker but ours listens."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        # Not geturl(): before Python 3.12.6 it loses the two slashes of a URL without a host.
        return f"unix://{parts.path}?{urlencode({'db': '1'})}"
    return parts._replace(path="/1").geturl()


def _free_ports() -> _Ports:
    sockets = [socket.socket() for _ in range(3)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return _Ports(*(each.getsockname()[1] for each in sockets))
    finally:
        for each in sockets:
            each.close()


def _start(group: ProcessGroup) -> None:
    port = str(urlsplit(settings.PUBLIC_URL).port)
    python = sys.executable
    celery = [python, "-m", "celery", "--quiet", "-A", "emailplatform"]
    queues = "critical,transactional,marketing,events,default"
    granian = [python, "-m", "granian", "--interface", "wsgi", "--no-ws", "--log-level", "warning"]
    where = ["--host", "127.0.0.1", "--port", port, "--blocking-threads", "8"]
    group.start("web", [*granian, *where, "emailplatform.wsgi:application"])
    threads = ["-P", "threads", "-c", "6", "--without-gossip", "--without-mingle"]
    group.start("worker", [*celery, "worker", *threads, "-l", "WARNING", "-Q", queues])
    group.start("beat", [*celery, "beat", "-l", "WARNING"])
    options = json.dumps({"event_latency": 0.2})
    store = str(Path(settings.VAR_DIR) / "demo" / "inbox.db")
    Path(store).unlink(missing_ok=True)
    readers = ["--reader-hosts", f"127.0.0.1:{port}"]
    sandbox = [python, "manage.py", "sandbox", "--store", store, "--options", options, *readers]
    group.start("sandbox", sandbox)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.ConnectionError:
        return False


def _until(is_done: Callable[[], bool], otherwise: str) -> None:
    stop_at = time.monotonic() + _PATIENCE_S
    while not is_done():
        if time.monotonic() > stop_at:
            raise CommandError(f"{otherwise} The processes' words: var/demo/processes.log")
        time.sleep(0.1)
