"""campaign_messages_per_s by kind of provider, each with a sink of its own: one worker, and two."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from campaigns.models import Campaign
from delivery.models import ProviderAccount
from subscribers.models import MailingList
from tests.bench.processes import MODULE, Processes
from tests.bench.sending import SENDERS, THREADS, Run, send, tell_steps, use_only
from tests.bench.sockets import free_port, wait_until_open
from tests.bench.table import Table

KINDS = ("sendgrid", "ses", "mailgun", "postmark", "smtp")
SMTP_SINK = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin:/usr/local/sbin:/opt/homebrew/sbin")


def measure(processes: Processes, table: Table, kind: str, target: MailingList) -> Campaign | None:
    """Send to a list through one kind of provider, with 1 worker process and with SENDERS.

    Returns the last campaign; None if there is no sink.
    """
    name = f"{kind}_batch" if kind != "smtp" else kind
    if kind == "smtp" and SMTP_SINK is None:
        table.add(f"campaign_messages_per_s_{name}", 0, "messages/s", "smtp-sink is not installed")
        return None
    with provider(processes, kind) as account:
        alone = send(processes, f"{account.name}, one worker", target, senders=1)
        _tell(table, f"{name}_1_process", alone, account, 1)
        run = send(processes, account.name, target)
        _tell(table, name, run, account, SENDERS)
        tell_steps(table, name, run)
    return run.campaign


@contextmanager
def provider(processes: Processes, kind: str) -> Iterator[ProviderAccount]:
    """Run a sink that plays a provider, and leave its account as the only active one."""
    if kind == "smtp":
        config, secrets = _start_smtp(processes), dict[str, str]()
    else:
        config, secrets = _start_api(processes, kind)
    account, _ = ProviderAccount.objects.update_or_create(
        name=kind, defaults={"kind": kind, "config": config, "secrets": secrets}
    )
    account.resume()
    use_only([account])
    try:
        yield account
    finally:
        processes.stop("sink")


def _start_api(processes: Processes, kind: str) -> tuple[dict[str, str], dict[str, str]]:
    """Start the sink of an API; return settings and secrets of an account there."""
    if kind == "sendgrid":
        processes.start("sink", [*MODULE, "delivery.sandbox.sink", "--port", "0"])
    else:
        processes.start("sink", [*MODULE, "tests.bench.api_sink", kind, "0"])
    url = processes.line("sink", "Sink: ").removeprefix("Sink: ")
    ses = {"region": "eu-central-1", "access_key_id": "AKIA", "endpoint_url": url}
    known: dict[str, tuple[dict[str, str], dict[str, str]]] = {
        "sendgrid": ({"api_url": f"{url}/v3/"}, {"api_key": "SG.x"}),
        "ses": (ses, {"secret_access_key": "x"}),
        "mailgun": ({"api_url": f"{url}/v3", "domain": "press.example"}, {"api_key": "x"}),
        "postmark": ({"api_url": f"{url}/"}, {"server_token": "x"}),
    }
    return known[kind]


def _start_smtp(processes: Processes) -> dict[str, str]:
    """Start Postfix's smtp-sink; return the settings of an account there."""
    port = free_port()
    as_nobody = ["-u", "nobody"] if os.geteuid() == 0 else []
    processes.start("sink", [str(SMTP_SINK), "-c", *as_nobody, f"127.0.0.1:{port}", "256"])
    wait_until_open(port)
    return {"host": "127.0.0.1", "port": str(port), "security": "none"}


def _tell(table: Table, name: str, run: Run, account: ProviderAccount, senders: int) -> None:
    words = f"{run.sent:,} messages, {account.call_size} per hand-off"
    words += f"; processes: {senders}, of {THREADS} threads"
    table.add(f"campaign_messages_per_s_{name}", run.sent / run.seconds, "messages/s", words)
    workers, postgres = run.cpu_us / 1000, run.postgres_s / run.sent * 1000
    words = f"workers {workers:.2f} + PostgreSQL {postgres:.2f}"
    table.add(f"{name}_cpu_s_per_1000", workers + postgres, "s", words)
