"""Our own tracking, through the addresses that stand in the mails."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.db import IntegrityError, OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns import launching
from campaigns.models import Campaign, Link
from delivery import composing, counting, mailing, tracking
from delivery.models import CampaignStat, Mail, Message, SendingDomain
from delivery.querysets import Claimed
from emailplatform import secrets
from emailplatform.limiting import Ceiling
from emailplatform.models import AuditEntry
from tests import make
from tests.pages import use_own_cache
from tests.webhooks.esp import esp, sendgrid_event
from webhooks import clicking, crediting
from webhooks.applying import apply_pending
from webhooks.marks import ASKED_BY_HEAD, HIDDEN_LINK
from webhooks.models import AnonymousCount, Event, Sighting

pytestmark = pytest.mark.django_db

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"
BODY = (
    '<html><body><a href="https://shop.example/?a=1&amp;b=2#c">Shop</a>'
    '<a href="https://shop.example/for/{{ first_name }}">Yours</a>'
    '<a href="{{ unsubscribe_url }}">Unsubscribe</a><a href="{{ view_url }}">View</a></body></html>'
)


@pytest.fixture(autouse=True)
def nothing_is_remembered():
    clicking._frozen.cache_clear()
    clicking.keeper.kept.clear()
    clicking.keeper.away_until = 0.0
    tracking.forget()


@pytest.fixture
def browser() -> Client:
    return Client(headers={"user-agent": BROWSER})


def sent(**fields) -> Message:
    """A message of a campaign, as a provider has taken it."""
    account = make.account()
    template = make.template(body=BODY)
    campaign = make.launched(template=template, **fields)
    person = make.subscriber(first_name="Ana")
    message = make.message(campaign, person, status="sent", provider=account)
    Message.objects.filter(pk=message.pk).update(sent_at=timezone.now())
    counting.rebuild(campaign.pk)
    return message


def campaign_of(message: Message) -> Campaign:
    assert message.campaign is not None
    return message.campaign


def html_of(message: Message) -> str:
    person = message.subscriber
    assert person is not None
    claimed = Claimed(
        message.pk, message.email, person.pk, person.first_name, "", "", "", "", person.attributes
    )
    batch = composing.compose(campaign_of(message), [claimed]).batch
    return batch.html.fill(batch.recipients[0].html)


def links(html: str) -> list[str]:
    return [unescape(each) for each in re.findall(r'(?:href|src)="([^"]*)"', html)]


def path_of(url: str) -> str:
    return re.sub(r"^https?://[^/]+", "", url)


def counters(message: Message) -> dict[str, int]:
    stat = CampaignStat.objects.filter(campaign=message.campaign)
    names = ("opened", "machine_opened", "clicked", "machine_clicked", "delivered")
    return {name: sum(getattr(each, name) for each in stat) for name in names}


def test_a_click_leads_on_and_marks_the_message_and_its_campaign(browser):
    message = sent()
    shop, yours, *_ = links(html_of(message))

    answer = browser.get(path_of(shop))
    other = browser.get(path_of(yours))
    crediting.credit_sightings(timezone.now())

    assert (answer.status_code, answer["Location"]) == (302, "https://shop.example/?a=1&b=2#c")
    assert other["Location"] == "https://shop.example/for/Ana"
    message.refresh_from_db()
    assert message.clicked_at is not None
    assert message.delivered_at == message.clicked_at
    assert counters(message)["clicked"] == 1
    assert not counting.rebuild(message.campaign_id)
    urls = Event.objects.order_by("pk").values_list("url", flat=True)
    assert list(urls) == [
        "https://shop.example/?a=1&b=2#c",
        "https://shop.example/for/{{ first_name }}",
    ]
    event = Event.objects.order_by("pk")[0]
    assert (event.type, event.subscriber_id) == ("clicked", message.subscriber_id)
    assert (event.ip, event.browser, event.account_id) == ("127.0.0.1", "Firefox", None)
    assert not Sighting.objects.exists()


def test_a_sighting_that_cannot_be_applied_holds_up_no_other(browser):
    message = sent()
    [pixel] = [link for link in links(html_of(message)) if link.endswith(".gif")]
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'poison'; END $$;"
            "CREATE TRIGGER refuse BEFORE INSERT ON webhooks_event FOR EACH ROW"
            " WHEN (NEW.user_agent = 'poison') EXECUTE FUNCTION refuse()"
        )

    for agent in ("Firefox", "poison", "Thunderbird"):
        browser.get(path_of(pixel), HTTP_USER_AGENT=agent)
    while crediting.credit_sightings(timezone.now()):
        pass

    assert set(Event.objects.values_list("user_agent", flat=True)) == {"Firefox", "Thunderbird"}
    assert Sighting.objects.get().is_aside


def test_a_pixel_marks_an_open_and_is_never_cached(browser):
    message = sent()
    [pixel] = [link for link in links(html_of(message)) if link.endswith(".gif")]

    answer = browser.get(path_of(pixel))
    crediting.credit_sightings(timezone.now())

    assert (answer.status_code, answer["Content-Type"]) == (200, "image/gif")
    assert len(answer.content) == 43
    assert answer["Cache-Control"] == "no-store"
    assert not answer.cookies
    message.refresh_from_db()
    assert message.opened_at is not None
    assert counters(message)["opened"] == 1


def test_neither_address_nor_name_is_in_a_link():
    message = sent()

    counted = [link for link in links(html_of(message)) if "/c/" in link]

    assert len(counted) == 4
    assert not any(word in "".join(counted) for word in ("Ana", "@", "%40", message.email))


def test_every_altered_byte_of_a_link_leads_nowhere(browser, settings):
    message = sent()
    shop, yours, *_ = links(html_of(message))

    for link in (path_of(shop), path_of(yours)):
        token = link.removeprefix("/c/")
        for place, letter in enumerate(token):
            other = "B" if letter == "A" else "A"
            answer = browser.get(f"/c/{token[:place]}{other}{token[place + 1 :]}")
            assert answer.status_code in (404, 429), (place, answer)
            assert "Location" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/c/",
        "/c/x",
        "/c/1.2.AAAAAAAAAAAAAAAAAAAAAA/1",
        "/c/1.2.AAAAAAAAAAAAAAAAAAAAAA/99999",
        "/c/1.2.AAAAAAAAAAAAAAAAAAAAAA/1/https://evil.example/",
        "/c/1.2.AAAAAAAAAAAAAAAAAAAAAA/1?url=https://evil.example/",
        "/c/%00/1",
    ],
)
def test_a_forged_link_gets_a_friendly_page_and_no_redirect(browser, path):
    answer = browser.get(path, REMOTE_ADDR=f"192.0.2.{len(path)}")

    assert answer.status_code == 404
    assert "Location" not in answer.headers
    assert b"This link does not work" in answer.content
    assert not Sighting.objects.exists()


def test_a_forged_pixel_looks_like_a_true_one_and_notes_nothing(browser):
    message = sent()
    [pixel] = [link for link in links(html_of(message)) if link.endswith(".gif")]

    true = browser.get(path_of(pixel))
    forged = browser.get("/c/1.2.AAAAAAAAAAAAAAAAAAAAAA/o.gif")

    assert (forged.status_code, forged.content) == (true.status_code, true.content)
    assert dict(forged.headers) == dict(true.headers)
    assert Sighting.objects.count() == 1


def test_a_head_counts_as_a_machine_and_leads_on_all_the_same(browser):
    message = sent()
    shop, *_ = links(html_of(message))

    answer = browser.head(path_of(shop))
    crediting.credit_sightings(timezone.now())

    assert answer["Location"] == "https://shop.example/?a=1&b=2#c"
    [event] = Event.objects.all()
    assert (event.is_machine, event.reason) == (True, ASKED_BY_HEAD)
    message.refresh_from_db()
    assert (message.clicked_at, message.delivered_at) == (None, None)
    assert counters(message)["machine_clicked"] == 1


def test_other_methods_are_refused(browser):
    shop, *_ = links(html_of(sent()))

    assert browser.post(path_of(shop)).status_code == 405
    assert not Sighting.objects.exists()


def test_who_follows_the_hidden_link_is_a_machine(browser):
    message = sent()
    [trap] = [link for link in links(html_of(message)) if link.endswith("/0")]

    answer = browser.get(path_of(trap))
    crediting.credit_sightings(timezone.now())

    assert answer.status_code == 404
    [event] = Event.objects.all()
    assert (event.type, event.url, event.reason) == ("clicked", "", HIDDEN_LINK)
    assert event.is_machine


def test_the_hidden_link_can_be_left_out(settings):
    settings.TRACKING_HIDDEN_LINK = False
    composing._compile_frozen.cache_clear()

    assert not [link for link in links(html_of(sent())) if link.endswith("/0")]


def test_a_known_click_costs_one_statement(browser):
    shop, *_ = links(html_of(sent()))
    browser.get(path_of(shop))

    with CaptureQueriesContext(
        connection,
    ) as queries:
        browser.get(path_of(shop))

    [insert] = [each["sql"] for each in queries if "SAVEPOINT" not in each["sql"]]
    assert insert.strip().startswith("INSERT INTO webhooks_sighting")


def test_one_mail_is_noted_so_often_and_always_led_on(browser, monkeypatch):
    monkeypatch.setattr(clicking, "_of_one_mail", Ceiling("test-clicks", 10))
    shop, *_ = links(html_of(sent()))

    answers = [browser.get(path_of(shop)) for _ in range(25)]

    assert {answer.status_code for answer in answers} == {302}
    assert Sighting.objects.count() <= 11


# --- Anonymous, none, provider -----------------------------------------------------------


def test_anonymous_mails_are_alike_and_their_events_name_nobody(browser):
    message = sent(tracking="anonymous")
    html = html_of(message)
    other = make.message(message.campaign, make.subscriber(first_name="Bo"), status="sent")
    counted = [link for link in links(html) if "/c/" in link]

    assert counted == [link for link in links(html_of(other)) if "/c/" in link]
    assert "https://shop.example/for/Ana" in links(html)
    for link in (*counted, counted[0]):
        browser.get(path_of(link), headers={"user-agent": BROWSER})
    [*rows] = Sighting.objects.all()
    assert {(row.ip, row.user_agent, row.message_id) for row in rows} == {(None, "", None)}
    crediting.credit_sightings(timezone.now())

    for event in Event.objects.all():
        assert event.campaign_id == message.campaign_id
        assert (event.message_id, event.subscriber_id, event.ip) == (None, None, None)
        assert (event.user_agent, event.recipient, event.device) == ("", "", "desktop")
        assert (event.browser, event.client, event.os, event.country) == ("", "", "", "")
    totals = AnonymousCount.objects.values_list("number", "people", "machines")
    assert sorted(totals) == [(-1, 1, 0), (1, 2, 0)]
    message.refresh_from_db()
    assert message.clicked_at is None


def test_totals_of_nobody_are_what_their_events_say(browser):
    message = sent(tracking="anonymous")
    for link in [link for link in links(html_of(message)) if "/c/" in link]:
        browser.get(path_of(link))
        browser.head(path_of(link))
    crediting.credit_sightings(timezone.now())
    before = list(AnonymousCount.objects.order_by("number").values("number", "people", "machines"))
    AnonymousCount.objects.filter(number=1).update(people=77)
    assert AnonymousCount.objects.drift(campaign_of(message).pk) == 76

    assert AnonymousCount.objects.recount(campaign_of(message).pk) == 76

    assert AnonymousCount.objects.drift(campaign_of(message).pk) == 0
    rows = AnonymousCount.objects.order_by("number").values("number", "people", "machines")
    assert list(rows) == before


@pytest.mark.parametrize(("mode", "by_provider"), [("none", False), ("provider", True)])
def test_without_own_tracking_the_mail_is_as_written(mode, by_provider):
    message = sent(tracking=mode)

    html = html_of(message)
    claimed = Claimed(message.pk, message.email, 1, "Ana", "", "", "", "", {})
    batch = composing.compose(campaign_of(message), [claimed]).batch

    assert "https://shop.example/?a=1&b=2#c" in links(html)
    assert "/c/" not in html
    assert (batch.track_opens, batch.track_clicks) == (by_provider, by_provider)


@pytest.mark.parametrize("mode", ["full", "anonymous"])
def test_who_counts_for_us_counts_nothing_for_the_provider(mode):
    campaign = campaign_of(sent(tracking=mode))

    batch = composing.batch_of(campaign, composing.compiled_of(campaign), [])

    assert (batch.track_opens, batch.track_clicks) == (False, False)


def test_opens_and_clicks_are_switched_apart():
    html = html_of(sent(track_opens=False))
    assert "o.gif" not in html
    assert "/c/" in html
    html = html_of(sent(track_clicks=False))
    assert "o.gif" in html
    assert "https://shop.example/?a=1&amp;b=2#c" in html


# --- When something is away --------------------------------------------------------------


def test_without_the_database_a_known_link_leads_on_and_is_noted_later(browser, monkeypatch):
    message = sent()
    shop, *_ = links(html_of(message))
    browser.get(path_of(shop))
    crediting.credit_sightings(timezone.now())

    def away(*_args):
        raise OperationalError("away")

    with monkeypatch.context() as broken:
        broken.setattr("webhooks.querysets.sightings._note", away)
        answer = browser.get(path_of(shop))
        again = browser.get(path_of(shop))
    assert (answer.status_code, again.status_code) == (302, 302)
    assert len(clicking.keeper.kept) == 2

    clicking.keeper.away_until = 0.0
    browser.get(path_of(shop))

    assert Sighting.objects.count() == 3
    assert not clicking.keeper.kept


@pytest.mark.django_db(transaction=True)
def test_one_that_cannot_be_noted_takes_no_other_along(browser, monkeypatch, caplog):
    """Neither the new one, nor one of those that were kept while the database was away."""
    shop, *_ = links(html_of(sent()))

    def away(*_args):
        raise OperationalError("away")

    with monkeypatch.context() as broken:
        broken.setattr("webhooks.querysets.sightings._note", away)
        for _ in range(5):
            browser.get(path_of(shop))
    good = list(clicking.keeper.kept)
    bad = good[0]._replace(ip="nowhere")
    clicking.keeper.away_until = 0.0

    clicking.keeper.write(bad)
    assert list(clicking.keeper.kept) == good, "only the new one is dropped"
    assert Sighting.objects.count() == 0
    assert "click_dropped" in caplog.text

    clicking.keeper.kept.insert(2, bad)
    assert browser.get(path_of(shop)).status_code == 302

    assert Sighting.objects.count() == 6
    assert not clicking.keeper.kept


def test_a_click_that_cannot_be_noted_leads_on_all_the_same(browser, monkeypatch):
    shop, *_ = links(html_of(sent()))

    def refused(*_args):
        raise IntegrityError("no")

    monkeypatch.setattr("webhooks.querysets.sightings._note", refused)

    assert browser.get(path_of(shop)).status_code == 302
    assert not clicking.keeper.kept


def test_without_the_database_an_unknown_link_asks_to_come_again(browser, monkeypatch):
    shop, *_ = links(html_of(sent()))

    def away(*_args, **_more):
        raise OperationalError("away")

    monkeypatch.setattr(Link.objects, "get", away)
    answer = browser.get(path_of(shop))

    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    assert b"One moment" in answer.content


# --- Hosts -------------------------------------------------------------------------------


def test_links_of_a_sending_domain_lead_to_its_own_host(browser):
    SendingDomain.objects.create(domain="example.com", tracking_host="links.example.com")
    message = sent(from_email="news@example.com")

    shop, *_ = links(html_of(message))

    assert shop.startswith("https://links.example.com/c/")
    answer = browser.get(path_of(shop), headers={"host": "links.example.com"})
    assert answer["Location"] == "https://shop.example/?a=1&b=2#c"


@pytest.mark.parametrize("path", ["/", "/admin/login/", "/api/v1/campaigns/", "/health", "/v/x/"])
def test_a_tracking_host_has_nothing_but_links(browser, path):
    SendingDomain.objects.create(domain="example.com", tracking_host="links.example.com")

    answer = browser.get(path, headers={"host": "links.example.com"})

    assert (answer.status_code, b"This link does not work" in answer.content) == (404, True)


def test_a_host_that_nobody_named_is_refused_as_ever(browser):
    shop, *_ = links(html_of(sent()))

    assert browser.get(path_of(shop), headers={"host": "evil.example"}).status_code == 400
    assert not Sighting.objects.exists()


def test_links_are_numbered_at_launch_and_stay():
    campaign = make.campaign([make.mailing_list()], template=make.template(body=BODY))
    make.subscriber(lists=list(campaign.lists.all()))

    launching.launch(campaign, timezone.now())

    rows = Link.objects.filter(campaign=campaign).order_by("number")
    assert list(rows.values_list("number", "url", "is_personal")) == [
        (1, "https://shop.example/?a=1&b=2#c", False),
        (2, "https://shop.example/for/{{ first_name }}", True),
    ]


# --- In a browser ------------------------------------------------------------------------


def view_of(message: Message) -> str:
    return path_of(next(link for link in links(html_of(message)) if "/v/" in link))


def test_a_mail_is_shown_as_it_was_sent_without_counting(browser):
    message = sent()
    tracked = html_of(message)

    answer = browser.get(view_of(message))

    shown = answer.content.decode()
    assert "/c/" not in shown
    assert "https://shop.example/for/Ana" in links(shown)
    bare = re.sub(r'<a href="[^"]*/0" style.*?</a><img [^>]*o.gif[^>]*>', "", tracked)
    assert re.sub(r'href="[^"]*"', "", shown) == re.sub(r'href="[^"]*"', "", bare)
    policy = answer["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-popups")
    assert "script-src" not in policy
    assert "default-src 'none'" in policy
    assert "noindex" in answer["X-Robots-Tag"]
    assert not Sighting.objects.exists()


def test_the_unsubscribe_link_of_a_shown_mail_works(browser):
    message = sent()
    shown = browser.get(view_of(message)).content.decode()
    [leave] = [link for link in links(shown) if "/u/" in link]

    assert browser.get(path_of(leave)).status_code == 200
    message.refresh_from_db()
    assert message.unsubscribed_at is None
    browser.post(path_of(leave))
    message.refresh_from_db()
    assert message.unsubscribed_at is not None


def test_what_is_erased_is_said_to_be_gone(browser):
    message = sent()
    path = view_of(message)
    person = message.subscriber
    assert person is not None
    person.delete()

    answer = browser.get(path)

    assert (answer.status_code, b"no longer here" in answer.content) == (410, True)


@pytest.mark.parametrize("purpose", ["unsubscribe", "click", "preferences"])
def test_a_token_of_another_purpose_shows_nothing(browser, purpose):
    message = sent()

    path = f"/v/{secrets.sign(purpose, message.pk)}/"
    answer = browser.get(path, REMOTE_ADDR=f"192.0.2.2{len(purpose)}")

    assert answer.status_code == 404


# --- Mail by API, providers, sending domains ---------------------------------------------


def test_mail_by_api_is_counted_if_its_sender_asks_for_it(browser):
    message = make.mail(provider=make.account(), status="sent")
    html = '<p><a href="https://shop.example/?a=1&amp;b=2">Order</a></p>'
    Mail.objects.filter(pk=message.pk).update(html=html, track_opens=True, track_clicks=True)
    claimed = Claimed(message.pk, message.email, 0, "", "", "", "", "", {})

    [composed] = [mailing.compose(claimed).batch]
    counted = composed.html.static[0]
    answer = browser.get(path_of(links(counted)[0]))
    browser.get(path_of(links(counted)[-1]))
    crediting.credit_sightings(timezone.now())

    assert answer["Location"] == "https://shop.example/?a=1&b=2"
    assert (composed.track_opens, composed.track_clicks) == (False, False)
    message.refresh_from_db()
    assert message.clicked_at is not None
    assert message.opened_at is not None
    clicked = Event.objects.get(type="clicked")
    assert (clicked.url, clicked.message_id) == ("https://shop.example/?a=1&b=2", message.pk)


def test_a_provider_that_tells_of_our_own_pages_is_stored_and_not_counted(client):
    postmaster = esp("sendgrid")
    campaign = make.launched(tracking="provider")
    message = make.message(campaign, status="sent", provider=postmaster.account)
    leave = f"http://127.0.0.1:8000/u/{secrets.sign('unsubscribe', message.pk)}/"

    event = sendgrid_event(message, "click", timezone.now(), url=leave)
    postmaster.post(client, [event])
    apply_pending(10, timezone.now())

    [stored] = Event.objects.all()
    assert (stored.type, stored.url, stored.message_id) == ("visited", leave, message.pk)
    message.refresh_from_db()
    assert (message.clicked_at, message.machine_clicked_at) == (None, None)
    assert counters(message)["clicked"] == 0


def test_sending_domains_are_made_and_changed_by_api(client):
    key = {"Authorization": f"Bearer {make.api_key()}"}
    made = client.post(
        "/api/v1/sending-domains/",
        {"domain": "example.com", "tracking_host": "links.example.com"},
        content_type="application/json",
        headers=key,
    )
    path = f"/api/v1/sending-domains/{made.json()['id']}/"
    refused = client.patch(
        path, {"tracking_host": "127.0.0.1"}, content_type="application/json", headers=key
    )
    own = client.patch(
        path, {"tracking_host": "testserver"}, content_type="application/json", headers=key
    )
    emptied = client.patch(
        path, {"tracking_host": None}, content_type="application/json", headers=key
    )

    assert made.status_code == 201, made.json()
    assert (refused.status_code, own.status_code) == (400, 400)
    assert emptied.json()["tracking_host"] is None
    actions = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["sending_domain.create", "sending_domain.partial_update"]


def test_the_page_of_sending_domains_takes_a_host_and_refuses_its_own(admin_client):
    url = "/admin/delivery/sendingdomain/add/"
    admin_client.post(url, {"domain": "Example.com", "tracking_host": "links.example.com"})
    answer = admin_client.post(url, {"domain": "example.org", "tracking_host": "https://x.org"})

    assert SendingDomain.objects.get().domain == "example.com"
    assert "without https" in answer.content.decode()
    assert (
        "links.example.com" in admin_client.get("/admin/delivery/sendingdomain/").content.decode()
    )


def test_the_report_of_an_anonymous_campaign_shows_times(browser, admin_client):
    message = sent(tracking="anonymous")
    for link in [link for link in links(html_of(message)) if "/c/" in link]:
        browser.get(path_of(link))
    crediting.credit_sightings(timezone.now())

    page = admin_client.get(f"/admin/webhooks/event/of-campaign/{message.campaign_id}/")

    assert "Opened 1 times" in page.content.decode()
    assert "https://shop.example/?a=1&amp;b=2#c" in page.content.decode()


@pytest.mark.parametrize(
    ("query", "accepted", "language", "words"),
    [
        ("", "", "en", "This link does not work"),
        ("", "sv, ja;q=0.8", "ja", "このリンクは使えません"),
        ("?lang=de", "ja", "de", "Dieser Link funktioniert nicht"),
    ],
)
@pytest.mark.parametrize("path", ["/c/nobody/1", "/v/nobody/"])
def test_a_dead_link_is_explained_in_the_reader_s_language(
    browser, settings, path, query, accepted, language, words
):
    use_own_cache(settings)
    answer = browser.get(path + query, headers={"Accept-Language": accepted})

    page = answer.content.decode()
    assert (answer.status_code, answer["Content-Language"]) == (404, language)
    assert words in page
    assert f'<html lang="{language}"' in page
    assert f'href="{path}?lang=fr"' in page
    assert "nonce-" in answer["Content-Security-Policy"]
    assert (answer["Cache-Control"], answer["Referrer-Policy"]) == ("no-store", "no-referrer")
