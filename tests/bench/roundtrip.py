"""The whole way: two sandboxed providers, signed webhooks back, applied, counters right."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from campaigns.models import Campaign
from delivery import counting, reports
from delivery.models import Message, ProviderAccount
from delivery.sandbox import signing
from subscribers.models import MailingList
from tests.bench.hearing import start_web
from tests.bench.processes import MODULE, PATIENCE_S, Failed, Processes
from tests.bench.sending import Run, send, tell_steps, use_only
from tests.bench.sockets import free_port
from tests.bench.table import Table
from webhooks.models import Event, RawRequest

DOMAIN = "press.example"
FATES = ("delivered_at", "bounced_at", "dropped_at", "deferred_at")
"""One of these is told of each message; a soft bounce of Mailgun ends as deferred."""


def measure(processes: Processes, table: Table, folder: Path, target: MailingList) -> None:
    """Send through SendGrid and Mailgun of the sandbox until every event is applied."""
    port = free_port()
    accounts, halves = zip(*(_account(kind, port) for kind in ("sendgrid", "mailgun")), strict=True)
    use_only(accounts)
    web = start_web(processes)
    _start_sandbox(processes, folder, port, [_told(half, web) for half in halves])
    processes.start("applier", [*MODULE, "tests.bench.worker", "apply"])
    processes.line("applier", "ready")
    before = Event.objects.count()
    started = time.monotonic()
    run = send(processes, "Sandbox", target)
    _await_events(run.campaign, started + 3 * PATIENCE_S)
    seconds = time.monotonic() - started
    for name in ("sandbox", "applier", "web"):
        processes.stop(name)
    _check(run)
    events = Event.objects.count() - before
    words = f"{run.sent:,} messages, SendGrid and Mailgun; sandbox, web and applier run beside it"
    table.add("campaign_messages_per_s_sandbox", run.sent / run.seconds, "messages/s", words)
    heard = f"until the last of {events:,} events was applied, {seconds:.1f} s"
    table.add("campaign_messages_per_s_sandbox_heard", run.sent / seconds, "messages/s", heard)
    tell_steps(table, "sandbox", run)


def _account(kind: str, port: int) -> tuple[ProviderAccount, dict[str, Any]]:
    """Return our account, and what the sandbox knows of it."""
    keys, key = signing.make_keys(kind), f"sandbox-{kind}"
    base = f"http://127.0.0.1:{port}"
    config, hidden = {
        "sendgrid": ({"api_url": f"{base}/sendgrid/v3/"}, "webhook_public_key"),
        "mailgun": ({"api_url": f"{base}/mailgun/v3", "domain": DOMAIN}, "webhook_signing_key"),
    }[kind]
    account = ProviderAccount.objects.create(
        name=f"{kind} sandbox",
        kind=kind,
        config=config,
        secrets={"api_key": key, hidden: keys.get("public_key") or keys["signing_key"]},
    )
    half = {"name": kind, "kind": kind, "domain": DOMAIN, "signing": keys}
    path = f"/api/webhooks/email/{kind}/{account.webhook_token}"
    return account, {**half, "credentials": {"api_key": key}, "webhook_url": path}


def _told(half: dict[str, Any], web: int) -> dict[str, Any]:
    return {**half, "webhook_url": f"http://127.0.0.1:{web}{half['webhook_url']}"}


def _start_sandbox(
    processes: Processes, folder: Path, port: int, accounts: list[dict[str, Any]]
) -> None:
    path = folder / "sandbox.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"accounts": accounts, "smtp_port": None}))
    argv = [*MODULE, "delivery.sandbox", "--config", str(path), "--port", str(port)]
    processes.start("sandbox", argv)
    processes.line("sandbox", "Sandbox: ")
    path.unlink()


def _await_events(campaign: Campaign, deadline: float) -> None:
    """Wait until every message's fate is known and nothing has come for a second."""
    unknown = Message.objects.filter(campaign=campaign, **dict.fromkeys(FATES))
    waiting = RawRequest.objects.filter(status=RawRequest.Status.PENDING)
    quiet_since = time.monotonic()
    newest = 0
    while time.monotonic() - quiet_since < 1.0 or waiting.exists() or unknown.exists():
        latest = RawRequest.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        if latest != newest:
            newest, quiet_since = latest, time.monotonic()
        if time.monotonic() > deadline:
            raise Failed(f"The fate of {unknown.count()} messages is not known.")
        time.sleep(0.1)


def _check(run: Run) -> None:
    """The counters must be what a recount gives, or the figure means nothing."""
    wrong = counting.rebuild(run.campaign.pk)
    totals = reports.totals(run.campaign)
    if wrong or totals.sent != run.sent:
        raise Failed(f"The counters were wrong: {wrong}, {totals}")
