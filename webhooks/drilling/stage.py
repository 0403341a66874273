"""What is broken: the processes of a small installation, sandboxed providers, people, campaigns."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import redis
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from campaigns import launching
from campaigns.models import Campaign, Template
from delivery import demonstrating
from delivery.journaling import insist
from delivery.models import ProviderAccount
from emailplatform.processes import ProcessGroup
from emailplatform.secrets import address_key
from subscribers.mailboxes import mailbox_of
from subscribers.models import MailingList, Subscriber, Subscription
from webhooks import applying, concluding
from webhooks.drilling.esp import QUIET, Esp, answers
from webhooks.drilling.servers import Server
from webhooks.models import RawRequest

PATIENCE_S = 150.0
CALL_SIZE = 20
"""People in one call: what one kill may leave in doubt."""
USUAL_S = 0.05
_DOMAINS = ("gmail.com", "outlook.com", "yahoo.com", "example.com")
ODD = "somebody@nowhere"
"""A domain of one word: a provider refuses the whole call that names it."""
_BODY = (
    "<html><body><h1>Hello {{ first_name }}</h1><p>This is a drill.</p>"
    '<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p></body></html>'
)
_CELERY = (sys.executable, "-m", "celery", "--quiet", "-A", "emailplatform")
_LASTING = ("web", "sandbox")


class Stuck(Exception):
    """Something did not happen in time; `str()` says what."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How large the drill is, and through which kinds of provider it sends."""

    people: int
    kinds: tuple[str, ...]
    seed: int = 1

    @property
    def second(self) -> str:
        """Another kind of provider, for when the first one is down."""
        return "mailgun" if self.kinds[0] != "mailgun" else "sendgrid"


class Stage:
    """A running installation, with handles to break it."""

    def __init__(self, plan: Plan, group: ProcessGroup) -> None:
        self.plan = plan
        self.dice = random.Random(plan.seed)  # noqa: S311
        self.database = Server("DATABASE_URL", settings.VAR_DIR)
        self.redis = Server("REDIS_URL", settings.VAR_DIR)
        self.esp = Esp(f"http://127.0.0.1:{settings.SANDBOX_PORT}")
        self.accounts: dict[str, ProviderAccount] = {}
        self.spoken: set[str] = set()
        """Processes that have written a line since they were started: they are at work."""
        self._group = group
        self._names: list[str] = []

    # --- What is there before the first scenario -----------------------------------------

    def build(self) -> None:
        """Make tables, people and providers; start the web process and the providers."""
        call_command("migrate", verbosity=0)
        _make_people(self.plan.people)
        Template.objects.create(name="Drill", format="html", subject="Drill", body=_BODY)
        kinds = dict.fromkeys((*self.plan.kinds, self.plan.second))
        made = demonstrating.make_sandbox_accounts(self.esp.url, settings.SANDBOX_ACCOUNTS, kinds)
        for account in made:
            account.batch_size = CALL_SIZE
            account.save()
        self.accounts = {account.kind: account for account in made}
        store = str(settings.VAR_DIR / "inbox.db")
        options = ["--store", store, "--options", json.dumps(QUIET)]
        self._start("sandbox", [sys.executable, "manage.py", "sandbox", *options])
        self._start("web", _web())
        self.wait_for_providers()
        self.until(lambda: answers(f"{settings.PUBLIC_URL}/health"), "The web process is silent.")

    def use(self, *kinds: str) -> None:
        """Let these providers take mail, and no others; forget what they did before."""
        self.pace(kinds[0], USUAL_S)
        for kind, account in self.accounts.items():
            if kind in kinds:
                account.resume()
            else:
                account.pause()

    def pace(self, kind: str, call_s: float) -> None:
        """Let a call take so long; over SMTP it is as many conversations as it has people."""
        self.esp.behave(answer_latency=call_s / (CALL_SIZE if kind == "smtp" else 1))

    def launch(self, name: str, *, with_odd: bool = False) -> Campaign:
        """Start a campaign to everybody; also to the one for whom a whole call is refused?"""
        campaign = Campaign.objects.create(
            name=name,
            template=Template.objects.get(name="Drill"),
            from_name="Drill",
            from_email="drill@press.example",
        )
        lists = MailingList.objects.all()
        campaign.lists.set(lists if with_odd else lists.filter(name="Everybody"))
        launching.launch(campaign, timezone.now())
        return campaign

    def fail(self, fault: str, kind: str, *, calls: int = 0, share: float = 0.0) -> None:
        """Let the next calls to a provider, or a share of all of them, go wrong."""
        self.esp.fail(fault, self.accounts[kind].name, calls=calls, share=share)

    def hear(self) -> None:
        """Wait until the providers have told everything, and apply it."""
        waiting = RawRequest.objects.filter(status=RawRequest.Status.PENDING)

        def is_quiet() -> bool:
            while insist(lambda: applying.apply_pending(200, timezone.now())):
                pass
            return not self.esp.is_telling() and not insist(waiting.exists)

        self.until(is_quiet, "Events keep coming.")
        insist(concluding.settle_doubts)

    # --- Processes -----------------------------------------------------------------------

    def dispatchers(self, count: int) -> list[str]:
        """Start so many `manage.py dispatch`; return their names."""
        names = [f"dispatch {number}" for number in range(1, count + 1)]
        for name in names:
            self.dispatcher(name)
        return names

    def dispatcher(self, name: str, **environment: str) -> None:
        """Start one `manage.py dispatch`."""
        command = [sys.executable, "manage.py", "dispatch", "--slice", "0.5"]
        self._start(name, command, environment)

    def celery(self, count: int) -> list[str]:
        """Start beat, and so many Celery workers of two threads; return the workers' names."""
        names = [f"celery {number}" for number in range(1, count + 1)]
        how = ("-P", "threads", "-c", "2", "--without-gossip", "--without-mingle", "-l", "WARNING")
        for number, name in enumerate(names):
            where = ("-n", f"celery{number}@%h", "-Q", "marketing,default")
            said = {"CELERY_LOG_LEVEL": "INFO"}  # That it is ready.
            self._start(name, [*_CELERY, "worker", *how, *where], said)
        self._start("beat", [*_CELERY, "beat", "-l", "WARNING"])
        return names

    def kill(self, name: str) -> None:
        """End a process and its children with SIGKILL."""
        os.killpg(self._group.pid(name), signal.SIGKILL)

    def restart(self, name: str) -> None:
        """Start a dead process again; stop one that lives, politely, and start it again."""
        self._group.restart(name)
        self.spoken.discard(name)

    def wake(self, name: str) -> None:
        """Let a process go on that fell asleep."""
        os.kill(self._group.pid(name), signal.SIGCONT)

    def wait_for_death(self, name: str) -> None:
        """Wait until a process has killed itself, and forget it."""
        self._wait(lambda: not self._group.is_alive(name), f"{name} does not die.")
        self._stop(name)

    def wait_for_sleep(self, name: str) -> None:
        """Wait until a process has put itself to sleep."""

        def sleeps() -> bool:
            pid, status = os.waitpid(self._group.pid(name), os.WNOHANG | os.WUNTRACED)
            return bool(pid) and os.WIFSTOPPED(status)

        self._wait(sleeps, f"{name} does not fall asleep.")

    def wait_for_providers(self) -> None:
        """Wait until the sandbox answers."""
        self.until(self.esp.is_up, "The sandbox is silent.")

    def clear(self) -> None:
        """Stop all that a scenario has started."""
        for name in [name for name in self._names if name not in _LASTING]:
            self._stop(name)

    def flush_redis(self) -> None:
        """Empty Redis: tasks, limits, caches."""
        with redis.Redis.from_url(settings.REDIS_URL) as client:
            client.flushall()

    def until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        """Wait, and keep processes running meanwhile. Raises Stuck."""

        def tended() -> bool:
            self._group.tend()
            return is_so()

        self._wait(tended, otherwise)

    def _wait(self, is_so: Callable[[], bool], otherwise: str) -> None:
        stop_at = time.monotonic() + PATIENCE_S
        while not is_so():
            if time.monotonic() > stop_at:
                raise Stuck(otherwise)
            time.sleep(0.03)

    def _start(
        self, name: str, command: Sequence[str], environment: dict[str, str] | None = None
    ) -> None:
        self.spoken.discard(name)
        self._group.start(name, command, environment)
        self._names.append(name)

    def _stop(self, name: str) -> None:
        self._group.stop(name)
        self._names.remove(name)


@contextmanager
def stage(plan: Plan) -> Iterator[Stage]:
    """Bring an installation up, and stop all of it at the end."""
    with (settings.VAR_DIR / "processes.log").open("w", encoding="utf-8", buffering=1) as log:

        def note(name: str, line: str) -> None:
            log.write(f"{time.strftime('%H:%M:%S')} {name} | {line}\n")
            ready.spoken.add(name)

        with ProcessGroup(note) as group:
            ready = Stage(plan, group)
            ready.build()
            yield ready


def _web() -> list[str]:
    granian = [sys.executable, "-m", "granian", "--interface", "wsgi", "--no-ws"]
    where = ["--host", "127.0.0.1", "--port", str(urlsplit(settings.PUBLIC_URL).port)]
    how = ["--blocking-threads", "4", "--log-level", "warning"]
    return [*granian, *where, *how, "emailplatform.wsgi:application"]


def _make_people(count: int) -> None:
    """Make so many, on one list and in several lanes, and amid them the odd one on another."""
    everybody = MailingList.objects.create(name="Everybody")
    odd = MailingList.objects.create(name="The odd one")
    emails = [f"p{number}@{_DOMAINS[number % len(_DOMAINS)]}" for number in range(count)]
    emails.insert(count // 2, ODD)
    people = Subscriber.objects.bulk_create(
        Subscriber(email=email, address_key=address_key(email), mailbox=mailbox_of(email))
        for email in emails
    )
    Subscription.objects.bulk_create(
        Subscription(subscriber=person, list=odd if person.email == ODD else everybody)
        for person in people
    )
