"""webhook_posts_per_s, webhook_ack_p99_ms, events_applied_per_s: what providers tell us."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from campaigns.models import Campaign
from delivery.models import Message, ProviderAccount, token_of
from delivery.sandbox import signing
from tests.bench.processes import MODULE, PATIENCE_S, Failed, Processes
from tests.bench.sockets import free_port, wait_until_open
from tests.bench.table import Table
from webhooks.models import Event, RawRequest

WEB_WORKERS, WEB_THREADS = 2, 4
CONNECTIONS = 32
AT_ONCE = 1000
RATE = 1000
"""Posts per second of the budget: p99 of the answer within 50 ms."""


def start_web(processes: Processes) -> int:
    """Start the product's web process; return its port."""
    port = free_port()
    argv = [*MODULE, "granian", "--interface", "wsgi", "--no-ws", "--host", "127.0.0.1"]
    argv += ["--port", str(port), "--workers", str(WEB_WORKERS)]
    argv += ["--blocking-threads", str(WEB_THREADS), "--log-level", "warning"]
    processes.start("web", [*argv, "emailplatform.wsgi:application"])
    wait_until_open(port)
    return port


def measure_posts(
    processes: Processes, table: Table, folder: Path, campaign: Campaign, posts: int
) -> None:
    """Post events of one message each, as fast as it goes and 1,000 per second; then hundreds."""
    account, keys = _listening(campaign)
    port = start_web(processes)
    ids = Message.objects.filter(campaign=campaign).order_by("pk").values_list("pk", flat=True)
    plan = {
        "port": port,
        "path": f"/api/webhooks/email/sendgrid/{account.webhook_token}",
        "private_key": keys["private_key"],
        "messages": [token_of(pk) for pk in ids[:20_000]],
        "connections": CONNECTIONS,
        "rate": 0,
        "events": 1,
    }
    _load(processes, folder, {**plan, "posts": posts // 10})  # connections, caches
    words = f"{WEB_WORKERS} granian workers of {WEB_THREADS} threads, {CONNECTIONS} connections"
    fast = _load(processes, folder, {**plan, "posts": posts})
    table.add("webhook_posts_per_s", fast["posts"] / fast["seconds"], "posts/s", words)
    table.add("webhook_ack_p99_ms_saturated", fast["p99"], "ms", f"p50 {fast['p50']:.1f}")
    calm = _load(processes, folder, {**plan, "posts": posts, "rate": RATE})
    reached = f"at {calm['posts'] / calm['seconds']:,.0f} posts/s; p50 {calm['p50']:.1f}"
    table.add("webhook_ack_p99_ms", calm["p99"], "ms", f"{reached}, worst {calm['worst']:.0f}")
    for events in (100, 1000):
        many = _load(processes, folder, {**plan, "posts": 2 * posts // events, "events": events})
        rate = many["posts"] / many["seconds"]
        words = f"{rate * events:,.0f} events/s; p50 {many['p50']:.0f}, p99 {many['p99']:.0f} ms"
        table.add(
            f"webhook_posts_per_s_of_{events}", rate, "posts/s", f"{events} events each, {words}"
        )
    at_once = _load(processes, folder, {**plan, "posts": AT_ONCE, "connections": AT_ONCE})
    words = (
        f"p50 {at_once['p50']:.0f}, p99 {at_once['p99']:.0f} ms, each on a connection of its own"
    )
    table.add("webhook_1000_at_once_s", at_once["worst"] / 1000, "s", f"until the last; {words}")
    processes.stop("web")


def measure_end_to_end(
    processes: Processes, table: Table, folder: Path, campaign: Campaign, posts: int
) -> None:
    """Post hundreds of events while one process applies them: all of it on the same cores."""
    account, keys = _listening(campaign)
    port = start_web(processes)
    processes.start("applier", [*MODULE, "tests.bench.worker", "apply"])
    processes.line("applier", "ready")
    ids = Message.objects.filter(campaign=campaign).order_by("pk").values_list("pk", flat=True)
    plan = {
        "port": port,
        "path": f"/api/webhooks/email/sendgrid/{account.webhook_token}",
        "private_key": keys["private_key"],
        "messages": [token_of(pk) for pk in ids],
        "connections": 8,
        "rate": 0,
        "events": 100,
        "posts": posts,
    }
    before = Event.objects.count()
    loaded = _load(processes, folder, plan)
    _await_applied()
    # From the first post: what the load took, and what was left to apply when it ended.
    seconds = time.time() - loaded["began"]
    events = Event.objects.count() - before
    for name in ("applier", "web"):
        processes.stop(name)
    if events != posts * 100:
        raise Failed(f"Of {posts * 100} events {events} were applied.")
    note = f"{events:,} signed events in {posts:,} posts: verified, stored, applied"
    table.add(
        "events_end_to_end_per_s", events / seconds, "events/s", f"{note}; Node pipeline 3,342"
    )


def measure_applying(processes: Processes, table: Table) -> None:
    """Apply everything that was posted, in one process."""
    waiting = RawRequest.objects.filter(status=RawRequest.Status.PENDING)
    before, requests = Event.objects.count(), waiting.count()
    processes.start("applier", [*MODULE, "tests.bench.worker", "apply"])
    processes.line("applier", "ready")
    _await_applied()
    done = processes.stop_and_report("applier")
    events = Event.objects.count() - before
    note = f"{events:,} events of {requests:,} posts, one process, worker CPU"
    table.add("events_applied_per_s", events / done["busy_s"], "events/s", note)
    table.add("apply_worker_cpu_us", done["cpu_s"] / events * 1e6, "µs/event", "budget 100")
    table.add("apply_wall_us", done["busy_s"] / events * 1e6, "µs/event", "by the clock")
    table.add("applier_peak_mb", done["peak_mb"], "MB", "resident")


def _await_applied() -> None:
    waiting = RawRequest.objects.filter(status=RawRequest.Status.PENDING)
    deadline = time.monotonic() + 2 * PATIENCE_S
    while waiting.exists():
        if time.monotonic() > deadline:
            raise Failed(f"{waiting.count()} webhooks are still waiting.")
        time.sleep(0.05)


def _listening(campaign: Campaign) -> tuple[ProviderAccount, dict[str, str]]:
    """Give the account that sent a campaign a key for webhooks; return both halves."""
    account = ProviderAccount.objects.get(kind="sendgrid", name="sendgrid")
    keys = signing.make_keys("sendgrid")
    account.secrets = {**account.secrets, "webhook_public_key": keys["public_key"]}
    account.save()
    return account, keys


def _load(processes: Processes, folder: Path, plan: dict[str, Any]) -> dict[str, Any]:
    path = folder / "plan.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(plan))
    processes.start("load", [*MODULE, "tests.bench.load", str(path)])
    figures = processes.report("load", 2 * PATIENCE_S)
    processes.stop("load")
    path.unlink()
    if set(figures["statuses"]) != {"200"}:
        raise Failed(f"Not every webhook was answered with 200: {figures['statuses']}")
    return figures
