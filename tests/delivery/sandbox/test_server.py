"""How the sandbox behaves as a whole: faults, webhooks, options, storage, pages."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import requests

from delivery.sandbox.config import Config, Options
from delivery.sandbox.server import Sandbox


def send(
    sandbox: Sandbox,
    *emails: str,
    html: str = "<p>Hello",
    key: str = "SG.key",
    timeout: float = 10,
) -> requests.Response:
    return requests.post(
        f"{sandbox.url}/sendgrid/v3/mail/send",
        json={
            "from": {"email": "news@news.example"},
            "subject": "Hello",
            "content": [{"type": "text/html", "value": html}],
            "personalizations": [
                {"to": [{"email": email}], "custom_args": {"message_id": f"m-{email}"}}
                for email in emails
            ],
        },
        headers={"Authorization": f"Bearer {key}"},
        timeout=timeout,
    )


def told(platform: Any) -> list[tuple[str, str, str]]:
    return [
        (event["email"], event["event"], event["sg_event_id"])
        for heard in platform.of("/sendgrid")
        for event in heard.json()
    ]


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def drained(sandbox: Sandbox) -> Callable[[], bool]:
    return lambda: bool(sandbox.stats()["pending_events"] == 0)


@pytest.mark.parametrize(("fault", "status"), [("429", 429), ("500", 500)])
def test_a_throttled_or_failing_call_keeps_nothing(sandbox, fault, status):
    sandbox.set_options(next_faults=[fault])

    first, second = send(sandbox, "anna@example.com"), send(sandbox, "anna@example.com")

    assert (first.status_code, second.status_code) == (status, 202)
    assert sandbox.stats()["messages"] == 1
    assert sandbox.stats()["refusals"] == {"sendgrid": {str(status): 1}}


@pytest.mark.parametrize("fault", ["hang", "reset"])
def test_silence_after_acceptance_keeps_and_tells_the_message(sandbox, platform, wait, fault):
    sandbox.set_options(next_faults=[fault], hang=0.1)

    with pytest.raises(requests.ConnectionError):
        send(sandbox, "anna@example.com")

    assert sandbox.messages()[0]["recipient"] == "anna@example.com"
    wait(lambda: len(told(platform)) == 2)


def test_a_hanging_call_outlasts_the_patience_of_its_client(sandbox):
    sandbox.set_options(next_faults=["hang"], hang=5)

    with pytest.raises(requests.ReadTimeout):
        send(sandbox, "anna@example.com", timeout=0.3)

    assert sandbox.stats()["messages"] == 1


def test_faults_hit_the_same_calls_in_every_run(accounts):
    def run(order: list[str]) -> dict[str, int]:
        options = Options().changed({"fault_429": 0.4, "seed": 3})
        config = Config(accounts=accounts[:1], options=options, port=0, smtp_port=None)
        running = Sandbox(config).start()
        found = {email: send(running, email).status_code for email in order}
        running.stop()
        return found

    people = [f"p{number}@example.com" for number in range(30)]

    first = run(people)

    assert first == run(people[::-1])
    assert set(first.values()) == {202, 429}


def test_a_call_that_met_a_fault_gets_through_in_the_end(sandbox):
    sandbox.set_options(fault_429=0.5)

    attempts = [send(sandbox, "anna@example.com").status_code for _ in range(20)]

    assert set(attempts) == {202, 429}


def test_faults_can_be_those_of_one_account(sandbox):
    sandbox.set_options(accounts={"sendgrid": {"fault_500": 1}})

    assert send(sandbox, "anna@example.com").status_code == 500
    sandbox.set_options(accounts={"mailgun": {"fault_500": 1}})
    assert send(sandbox, "anna@example.com").status_code == 202


def test_a_webhook_is_repeated_until_it_is_taken(sandbox, platform, wait):
    platform.statuses = [500, 503]

    send(sandbox, "anna@example.com")

    wait(drained(sandbox))
    assert len(platform.of("/sendgrid")) >= 3
    distinct = {(email, event) for email, event, _ in told(platform)}
    assert distinct == {("anna@example.com", "processed"), ("anna@example.com", "delivered")}
    assert len({identity for _, _, identity in told(platform)}) == 2
    events = sandbox.stats()["accounts"]["sendgrid"]["events"]
    assert events == {"processed": {"told": 1}, "delivered": {"told": 1}}


@pytest.mark.parametrize("statuses", [[406] * 2, [500] * 4])
def test_a_webhook_is_given_up_at_last(sandbox, platform, wait, statuses):
    sandbox.set_options(webhook_attempts=2)
    platform.statuses = statuses

    send(sandbox, "anna@example.com")

    wait(drained(sandbox))
    assert sandbox.stats()["accounts"]["sendgrid"]["events"]["delivered"] == {"failed": 1}


def test_a_webhook_nobody_listens_to_loses_no_other(sandbox, accounts, platform, wait):
    deaf = replace(accounts[0], webhook_url="http://127.0.0.1:9/")
    sandbox.set_accounts([deaf, *accounts[1:]])
    send(sandbox, "anna@example.com")

    sandbox.set_accounts(accounts)

    wait(drained(sandbox))
    assert {event for _, event, _ in told(platform)} == {"processed", "delivered"}


def test_webhooks_can_be_lost_or_doubled_and_repeat_so(sandbox, platform, wait):
    people = [f"p{number}@example.com" for number in range(200)]
    sandbox.set_options(webhook_drop=0.2, webhook_double=0.2)

    send(sandbox, *people)

    wait(drained(sandbox))
    wait(lambda: len(told(platform)) > len(set(told(platform))))
    lost = 400 - len(set(told(platform)))
    events = sandbox.stats()["accounts"]["sendgrid"]["events"]
    assert lost == sum(states.get("dropped", 0) for states in events.values())
    assert 40 < lost < 120
    assert 30 < len(told(platform)) - len(set(told(platform))) < 110


def test_the_same_messages_have_the_same_outcomes_in_every_run(accounts):
    people = [f"p{number}@example.com" for number in range(150)]

    def run(chunks: list[list[str]]) -> Any:
        options = Options().changed({"bounce": 0.2, "open": 0.5, "event_latency": 0})
        quiet = [replace(account, webhook_url="") for account in accounts]
        running = Sandbox(Config(accounts=quiet, options=options, port=0, smtp_port=None)).start()
        for chunk in chunks:
            send(running, *chunk)
        events = running.stats()["accounts"]["sendgrid"]["events"]
        running.stop()
        return events

    assert run([people]) == run([people[100:], people[:50], people[50:100]])


def test_many_events_get_through_in_arrays_of_up_to_500(sandbox, platform, wait):
    people = [f"p{number}@example.com" for number in range(1000)]

    for start in range(0, 3000, 1000):
        send(sandbox, *(f"{start}-{email}" for email in people))

    wait(drained(sandbox), timeout_s=30)
    sizes = [len(heard.json()) for heard in platform.of("/sendgrid")]
    assert sum(sizes) == 6000
    assert max(sizes) == 500


def test_stats_and_duplicates_tell_people_from_messages(sandbox):
    send(sandbox, "anna@example.com", "bo@example.com")
    send(sandbox, "Anna@example.com")
    other = requests.post(
        f"{sandbox.url}/postmark/email",
        json={
            "From": "news@news.example",
            "To": "bo@example.com",
            "TextBody": "x",
            "Metadata": {"message_id": "m-bo@example.com"},
        },
        headers={"Accept": "application/json", "X-Postmark-Server-Token": "token-postmark"},
        timeout=10,
    )

    counts = requests.get(f"{sandbox.url}/_sandbox/stats", timeout=10).json()
    twice = requests.get(f"{sandbox.url}/_sandbox/duplicates", timeout=10).json()

    assert other.status_code == 200
    assert (counts["messages"], counts["recipients"], counts["distinct"]) == (4, 2, 3)
    assert counts["accounts"]["sendgrid"]["messages"] == 3
    (found,) = twice
    assert (found["recipient"], found["count"]) == ("bo@example.com", 2)
    assert sorted(found["accounts"]) == ["postmark", "sendgrid"]


def test_messages_are_found_by_address_account_and_position(sandbox):
    send(sandbox, *(f"p{number}@example.com" for number in range(5)))
    url = f"{sandbox.url}/_sandbox/messages"

    everybody = requests.get(url, timeout=10).json()
    later = requests.get(url, params={"after": everybody[2]["id"]}, timeout=10).json()
    one = requests.get(url, params={"to": "P3@", "bodies": "0"}, timeout=10).json()

    assert [found["recipient"] for found in later] == ["p3@example.com", "p4@example.com"]
    assert [found["recipient"] for found in one] == ["p3@example.com"]
    assert "html" in everybody[0]
    assert "html" not in one[0]
    assert requests.get(url, params={"account": "mailgun"}, timeout=10).json() == []
    assert requests.get(url, params={"after": "x"}, timeout=10).status_code == 400
    assert requests.delete(url, timeout=10).status_code == 200
    assert requests.get(url, timeout=10).json() == []


def test_options_are_changed_while_it_runs_or_refused_in_plain_words(sandbox):
    url = f"{sandbox.url}/_sandbox/options"

    changed = requests.put(url, json={"bounce": 0.5, "next_faults": ["429"]}, timeout=10)
    refused = [
        requests.put(url, json=values, timeout=10)
        for values in ({"bounce": 2}, {"bonce": 1}, {"hang": "x"}, {"next_faults": ["x"]}, [1])
    ]

    assert changed.json()["bounce"] == 0.5
    assert [answer.status_code for answer in refused] == [400] * 5
    assert refused[0].json()["error"] == "The option bounce is 2; it must be 0 to 1."
    assert requests.get(url, timeout=10).json()["bounce"] == 0.5


def test_accounts_are_replaced_while_it_runs(sandbox):
    url = f"{sandbox.url}/_sandbox/accounts"
    new = [{"name": "new", "kind": "sendgrid", "credentials": {"api_key": "SG.new"}}]

    assert requests.put(url, json=new, timeout=10).json() == ["new"]

    assert send(sandbox, "anna@example.com", key="SG.key").status_code == 401
    assert send(sandbox, "anna@example.com", key="SG.new").status_code == 202
    twice = requests.put(url, json=[*new, *new], timeout=10)
    assert twice.json() == {"error": "Two accounts have the same name."}


def test_the_store_keeps_messages_and_untold_events_over_a_restart(
    accounts, platform, wait, tmp_path
):
    options = Options().changed({"bounce": 0, "open": 0, "event_latency": 0.2})
    deaf = [replace(account, webhook_url="http://127.0.0.1:9/") for account in accounts]
    config = Config(deaf, options, port=0, smtp_port=None, store=str(tmp_path / "inbox.db"))
    first = Sandbox(config).start()
    send(first, "open+anna@example.com")
    first.stop()

    second = Sandbox(replace(config, accounts=accounts)).start()

    assert [found["recipient"] for found in second.messages()] == ["open+anna@example.com"]
    wait(drained(second))
    second.stop()
    assert {event for _, event, _ in told(platform)} == {"processed", "delivered", "open"}


def test_shared_bodies_are_stored_once(accounts, tmp_path):
    path = tmp_path / "inbox.db"
    config = Config(accounts[:1], Options(), port=0, smtp_port=None, store=str(path))
    running = Sandbox(config).start()

    for start in range(10):
        send(running, *(f"p{start}-{n}@example.com" for n in range(100)), html="x" * 20_000)
    running.stop()

    stored = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert stored < 2_000_000


def test_bodies_of_their_own_are_stored_against_the_first_of_their_call(accounts, tmp_path):
    path = tmp_path / "inbox.db"
    config = Config(accounts, Options(), port=0, smtp_port=None, store=str(path))
    running = Sandbox(config).start()
    body = " ".join(f"{number * 7919 % 10_007:x}" for number in range(5000))
    entries = [
        {"From": "news@news.example", "To": f"p{n}@example.com", "HtmlBody": f"Dear {n}, {body}"}
        for n in range(200)
    ]

    requests.post(
        f"{running.url}/postmark/email/batch",
        json=entries,
        headers={"Accept": "application/json", "X-Postmark-Server-Token": "token-postmark"},
        timeout=20,
    )

    found = running.messages(limit=200)
    running.stop()
    assert [message["html"] for message in found] == [entry["HtmlBody"] for entry in entries]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 1_000_000


def test_the_list_and_a_message_are_shown_without_running_anything(sandbox, platform, wait):
    evil = '<script>alert(1)</script><p>Hello <a href="https://shop.example/">'
    send(sandbox, "click+<b>@example.com".replace("<b>", "b"), html=evil)
    wait(drained(sandbox))
    number = sandbox.messages()[0]["id"]

    index = requests.get(f"{sandbox.url}/", params={"to": '"><script>'}, timeout=10)
    found = requests.get(f"{sandbox.url}/", params={"to": "click"}, timeout=10)
    page = requests.get(f"{sandbox.url}/messages/{number}", timeout=10)
    body = requests.get(f"{sandbox.url}/messages/{number}/body", timeout=10)

    assert "Nothing here yet" in index.text
    assert "<script>" not in index.text + page.text
    assert f'href="/messages/{number}"' in found.text
    assert '<iframe sandbox="allow-popups' in page.text
    assert '<form action="/">' in page.text
    assert "unsubscribe" not in page.text
    assert "click<td>" in page.text
    assert body.headers["Content-Security-Policy"].startswith("sandbox")
    assert "script-src" not in body.headers["Content-Security-Policy"]
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert requests.get(f"{sandbox.url}/messages/999999", timeout=10).status_code == 404


def test_a_foreign_host_name_is_turned_away(sandbox):
    rebound = {"Host": "evil.example:8025"}

    for path in ("/", "/_sandbox/messages", "/_sandbox/options"):
        answer = requests.get(f"{sandbox.url}{path}", headers=rebound, timeout=10)
        assert answer.status_code == 403


def test_a_taken_port_is_an_error_at_start(sandbox):
    port = int(sandbox.url.rpartition(":")[2])

    with pytest.raises(OSError, match="in use"):
        Sandbox(Config(port=port, smtp_port=None)).start()


def test_it_runs_by_itself_and_ends_when_told(tmp_path):
    config = tmp_path / "sandbox.json"
    account = {"name": "sg", "kind": "sendgrid", "credentials": {"api_key": "SG.key"}}
    config.write_text(json.dumps({"accounts": [account], "options": {"bounce": 0}}))
    command = [sys.executable, "-m", "delivery.sandbox", "--config", str(config)]
    with subprocess.Popen(
        [*command, "--port", "0", "--smtp-port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        url = first_line(process).split()[1].rstrip(",")
        stats = requests.get(f"{url}/_sandbox/stats", timeout=10)
        process.terminate()

        assert process.wait(timeout=10) == 0
        assert stats.json()["messages"] == 0


def test_a_wrong_config_is_told_in_a_sentence(tmp_path):
    config = tmp_path / "sandbox.json"
    config.write_text(
        json.dumps({"accounts": [{"name": "sg", "kind": "sendgrid", "credentials": {}}]})
    )

    run = subprocess.run(
        [sys.executable, "-m", "delivery.sandbox", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (run.returncode, run.stderr) == (2, "Account sg needs credentials.api_key.\n")


def test_the_sink_takes_and_counts_everything():
    command = [sys.executable, "-m", "delivery.sandbox.sink", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = first_line(process).split()[1]
        with requests.Session() as session:
            for size in (0, 1, 100_000, 3_000_000):
                answer = session.post(f"{url}/v3/mail/send", data=b"x" * size, timeout=10)
                assert (answer.status_code, answer.content) == (202, b"")
                assert answer.headers["X-Message-Id"]
            counted = session.get(url, timeout=10).json()
        process.terminate()

    assert counted == {"requests": 4, "bytes": 3_100_001}


def test_stopping_does_not_wait_for_a_hanging_call(accounts):
    options = Options().changed({"next_faults": ["hang"], "hang": 60})
    running = Sandbox(Config(accounts[:1], options, port=0, smtp_port=None)).start()
    with pytest.raises(requests.ReadTimeout):
        send(running, "anna@example.com", timeout=0.2)

    started = time.monotonic()
    running.stop()

    assert time.monotonic() - started < 5
