"""Which looks a provider tells, and the people who read: what they ask for, and whom."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from delivery.sandbox.calls import Incoming
from delivery.sandbox.config import Account, Config, ConfigError, Options
from delivery.sandbox.kinds import KINDS
from delivery.sandbox.outcomes import PEOPLE, SCANNER, clicked_link
from delivery.sandbox.server import Sandbox
from tests.delivery.sandbox.conftest import QUIET

OFF, ON = {"enable": False}, {"enable": True}


@dataclass
class Site:
    """A platform's pages: pixels, links that lead on, and a hidden one that leads nowhere."""

    host: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Path, user agent and address of each request."""
    posted: list[Any] = field(default_factory=list)

    def paths(self) -> list[str]:
        return sorted(path for path, _, _ in self.asked)


def serve(site: Site) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            agent, address = self.headers["User-Agent"], self.headers["X-Forwarded-For"]
            site.asked.append((self.path, agent, address))
            status = {"o": 200, "0": 404}.get(self.path[-1], 302)
            self.send_response(status)
            self.send_header("Location", f"http://{site.host}/far")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            site.posted += json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.host = f"127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    return server


@pytest.fixture
def sites() -> Iterator[tuple[Site, Site]]:
    """The platform, and somebody else on this machine."""
    both = Site(), Site()
    servers = [serve(site) for site in both]
    yield both
    for server in servers:
        server.shutdown()
        server.server_close()


def run(
    site: Site, keys: dict[str, Any], *, reader_host: str | None = None, **options: Any
) -> Sandbox:
    """Start a sandbox that tells the site; people read what lies there, or on `reader_host`."""
    account = Account(
        "sg", "sendgrid", {"api_key": "SG.key"}, f"http://{site.host}/hooks", keys["sendgrid"]
    )
    host = site.host if reader_host is None else reader_host
    hosts = [host] if host else []
    chosen = Options().changed({**QUIET, **options})
    return Sandbox(Config([account], chosen, port=0, smtp_port=None, reader_hosts=hosts)).start()


def send(sandbox: Sandbox, to: str, html: str, opens: Any = OFF, clicks: Any = OFF) -> None:
    answer = requests.post(
        f"{sandbox.url}/sendgrid/v3/mail/send",
        json={
            "from": {"email": "news@news.example"},
            "subject": "Hello",
            "content": [{"type": "text/html", "value": html}],
            "personalizations": [{"to": [{"email": to}]}],
            "tracking_settings": {"open_tracking": opens, "click_tracking": clicks},
        },
        headers={"Authorization": "Bearer SG.key"},
        timeout=10,
    )
    assert answer.status_code == 202


def html_of(site: Site, stranger: Site) -> str:
    return (
        f'<img src="http://{stranger.host}/logo"><img alt="" src="http://{site.host}/c/7/o">'
        f'<a href="http://{site.host}/c/7/1">Read</a>'
        f'<a href="http://{site.host}/u/7">Unsubscribe</a>'
        f'<a href="http://{site.host}/c/7/0" style="display:none"></a>'
    )


def test_a_person_sees_the_images_and_follows_a_link_of_the_platform_alone(sites, keys, wait):
    site, stranger = sites
    sandbox = run(site, keys)

    send(sandbox, "click+ada@example.com", html_of(site, stranger))

    wait(lambda: sandbox.stats()["readers"]["clicked_by_people"] == 1)
    sandbox.stop()
    assert site.paths() == ["/c/7/1", "/c/7/o"]
    agents, addresses = ({each[place] for each in site.asked} for place in (1, 2))
    assert len(agents) == 1
    assert agents <= {agent.user_agent for agent in PEOPLE}
    assert all(each.startswith(tuple(agent.network for agent in PEOPLE)) for each in addresses)
    assert stranger.asked == []
    assert [event["event"] for event in site.posted] == ["processed", "delivered"]


def test_a_scanner_follows_the_hidden_link_too(sites, keys, wait):
    site, stranger = sites
    sandbox = run(site, keys, machine_click=1.0)

    send(sandbox, "ada@example.com", html_of(site, stranger))

    wait(lambda: len(site.asked) == 3)
    wait(lambda: sandbox.stats()["readers"]["trapped"] == 1)
    sandbox.stop()
    assert site.paths() == ["/c/7/0", "/c/7/1", "/u/7"]
    assert {agent for _, agent, _ in site.asked} == {SCANNER.user_agent}


def test_a_provider_that_counts_tells_what_people_do(sites, keys, wait):
    site, stranger = sites
    sandbox = run(site, keys)

    send(sandbox, "click+ada@example.com", html_of(site, stranger), opens=ON)

    wait(lambda: sandbox.stats()["readers"]["clicked_by_people"] == 1)
    wait(lambda: sandbox.stats()["pending_events"] == 0)
    sandbox.stop()
    assert [event["event"] for event in site.posted] == ["processed", "delivered", "open"]
    assert len(site.asked) == 2


def test_nobody_reads_unless_told_to(sites, keys, wait):
    site, stranger = sites
    sandbox = run(site, keys, reader_host="")

    send(sandbox, "click+ada@example.com", html_of(site, stranger), opens=ON)

    wait(lambda: sandbox.stats()["pending_events"] == 0)
    sandbox.stop()
    assert [event["event"] for event in site.posted] == ["processed", "delivered", "open"]
    assert site.asked == []


def test_a_platform_that_is_away_is_counted_and_disturbs_nobody(sites, keys, wait):
    site, stranger = sites
    gone = Site("127.0.0.1:9")
    sandbox = run(site, keys, reader_host=gone.host)

    send(sandbox, "click+ada@example.com", html_of(gone, stranger))

    wait(lambda: sandbox.stats()["readers"]["failed"] == 2)
    wait(lambda: sandbox.stats()["pending_events"] == 0)
    sandbox.stop()
    assert [event["event"] for event in site.posted] == ["processed", "delivered"]


@pytest.mark.parametrize(
    "host", ["mail.example.com:80", "10.0.0.1:80", "127.0.0.1", "127.0.0.1.example:80", ":80"]
)
def test_readers_ask_this_machine_only(host):
    with pytest.raises(ConfigError, match="this machine"):
        Config(reader_hosts=[host])


def test_a_link_within_a_name_or_of_another_scheme_is_not_the_platform_s(sites, keys, wait):
    site, _ = sites
    sandbox = run(site, keys)
    images = [
        f"http://{site.host}@127.0.0.1:9/o",
        f"https://{site.host}/o",
        f"http://ada@{site.host}/o",
        f"http://{site.host}.example/o",
        f"http://{site.host}/right/o",
    ]

    send(sandbox, "open+ada@example.com", "".join(f'<img src="{each}">' for each in images))

    wait(lambda: sandbox.stats()["readers"]["shown"] == 1)
    wait(lambda: sandbox.stats()["pending_events"] == 0)
    sandbox.stop()
    assert site.paths() == ["/right/o"]


def test_people_see_no_hidden_link_and_machines_begin_with_it():
    html = (
        '<a href="https://x.example/1">One</a><a class=b href="https://x.example/2">Two</a>'
        '<a href="https://x.example/0" style="display: none"></a>'
        '<a href="https://x.example/u/9">Unsubscribe</a>'
    )

    people = {clicked_link(html, "", pick) for pick in range(9)}
    machine = [clicked_link(html, "", pick, is_machine=True)[-1] for pick in range(4)]

    assert people == {"https://x.example/1", "https://x.example/2"}
    assert machine == ["0", "1", "2", "9"]


# --- Which looks a provider counts -----------------------------------------------------------


def told(kind: str, **asked: Any) -> set[str]:
    """Return which of open and click the provider tells of a mail sent with these settings."""
    basics: dict[str, Any] = {
        "sendgrid": {
            "from": {"email": "news@news.example"},
            "subject": "Hello",
            "content": [{"type": "text/html", "value": "<p>Hello"}],
            "personalizations": [{"to": [{"email": "ada@example.com"}]}],
        },
        "mailgun": {
            "from": "news@news.example",
            "to": "ada@example.com",
            "subject": "Hello",
            "html": "<p>Hello",
        },
        "postmark": {
            "From": "news@news.example",
            "To": "ada@example.com",
            "Subject": "Hello",
            "HtmlBody": "<p>Hello",
        },
        "ses": {
            "FromEmailAddress": "news@news.example",
            "Destination": {"ToAddresses": ["ada@example.com"]},
            "Content": {"Simple": {"Subject": {"Data": "x"}, "Body": {"Html": {"Data": "x"}}}},
        },
    }
    paths = {
        "sendgrid": "/v3/mail/send",
        "mailgun": "/v3/news.example/messages",
        "postmark": "/email",
        "ses": "/v2/email/outbound-emails",
    }
    data = {**basics[kind], **asked}
    is_form = kind == "mailgun"
    headers = {
        "accept": "application/json",
        "content-type": f"application/{'x-www-form-urlencoded' if is_form else 'json'}",
    }
    body = (urlencode(data) if is_form else json.dumps(data)).encode()
    accept = KINDS[kind].accept
    assert accept is not None
    account = Account(kind, kind, {}, domain="news.example")
    call = accept(Incoming(paths[kind], headers, body, domain="news.example"), account)
    [letter] = call.letters
    return {"open", "click"} & KINDS[kind].tells(call.shared, letter.own)


@pytest.mark.parametrize(
    ("kind", "asked", "counted"),
    [
        ("sendgrid", {}, {"open", "click"}),
        ("sendgrid", {"tracking_settings": {"open_tracking": OFF}}, {"click"}),
        ("sendgrid", {"tracking_settings": {"click_tracking": OFF}}, {"open"}),
        ("sendgrid", {"tracking_settings": {"open_tracking": OFF, "click_tracking": OFF}}, set()),
        ("mailgun", {}, set()),
        ("mailgun", {"o:tracking": "yes"}, {"open", "click"}),
        ("mailgun", {"o:tracking": "no", "o:tracking-opens": "yes"}, set()),
        ("mailgun", {"o:tracking": "yes", "o:tracking-clicks": "no"}, {"open"}),
        ("mailgun", {"o:tracking-clicks": "htmlonly"}, {"click"}),
        ("mailgun", {"o:tracking-opens": "yes", "o:tracking-clicks": "no"}, {"open"}),
        ("postmark", {}, set()),
        ("postmark", {"TrackOpens": True}, {"open"}),
        ("postmark", {"TrackOpens": False, "TrackLinks": "None"}, set()),
        ("postmark", {"TrackLinks": "HtmlOnly"}, {"click"}),
        ("postmark", {"TrackLinks": "TextOnly"}, set()),
        ("postmark", {"TrackOpens": True, "TrackLinks": "HtmlAndText"}, {"open", "click"}),
        ("ses", {}, set()),
        ("ses", {"ConfigurationSetName": "events"}, {"open", "click"}),
    ],
)
def test_a_provider_counts_what_the_call_asks_for(kind, asked, counted):
    assert told(kind, **asked) == counted
