"""Why did, or didn't, this person get it: the verdict, and the page, the API and the command."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns import launching
from campaigns.models import Campaign
from delivery import expanding, sending
from delivery.models import Handoff, Message
from delivery.providers.base import Event as Heard
from delivery.providers.base import (
    EventType,
    OutcomeUnknown,
    Rejected,
    Result,
    Unavailable,
    Verdict,
)
from subscribers import consenting
from subscribers.models import Subscriber, Subscription, Suppression
from tests import make, scripted
from tests.calling import Api
from tests.pages import member, text
from tests.scripted import Scripted
from webhooks import concluding, explaining
from webhooks.models import Event

pytestmark = pytest.mark.django_db
ANA = "ana@gmail.com"


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.install(monkeypatch)


@pytest.fixture
def ana() -> Subscriber:
    return make.subscriber(ANA, lists=[make.mailing_list("News")], first_name="Ana")


def launched(*people: Subscriber, **fields: Any) -> Campaign:
    """A campaign to the lists of these people, launched now."""
    lists = [each.list for person in people for each in person.subscriptions.all()]
    campaign = make.campaign(lists, name="Autumn", **fields)
    launching.launch(campaign, timezone.now())
    return campaign


def sent(campaign: Campaign) -> Message:
    expanding.expand_all(timezone.now())
    sending.send_slice(5)
    return Message.objects.get(campaign=campaign)


def heard(message: Message, kind: str, **fields: Any) -> None:
    """Let the provider report an event, as its webhook would."""
    event = Heard(
        type=EventType(kind),
        occurred_at=fields.pop("at", timezone.now()),
        message_id=message.token,
        recipient=message.email,
        dedupe_key=f"{kind}-{Event.objects.count()}",
        **fields,
    )
    concluding.apply_own(event, timezone.now())


def verdict(campaign: Campaign, address: str = ANA) -> str:
    campaign.refresh_from_db()
    return explaining.explain(campaign, address, timezone.now()).verdict.sentence


# --- There is a message ------------------------------------------------------------------


def test_who_got_it_is_told_when_and_through_whom(ana):
    scripted.account("SES EU")
    campaign = launched(ana)
    message = sent(campaign)
    at = timezone.now().replace(microsecond=0)
    heard(message, "delivered", at=at)

    said = verdict(campaign)

    assert said == f"Ana got it: Gmail accepted it on {at:%-d %b %Y, %H:%M:%S} UTC through SES EU."
    assert explaining.explain(campaign, ANA, at).verdict.got_it is True


def test_mail_of_which_nobody_has_told_anything_is_not_called_delivered(ana):
    scripted.account("SES EU")
    campaign = launched(ana)
    sent(campaign)

    found = explaining.explain(campaign, ANA, timezone.now()).verdict

    assert found.got_it is None
    assert found.sentence.startswith("It went out: SES EU took it on ")


@pytest.mark.parametrize(
    ("kind", "fields", "part"),
    [
        (
            "bounced",
            {"bounce_class": "hard", "reason": "550 5.1.1 no such user"},
            "Ana did not get it: Gmail sent it back for good on",
        ),
        (
            "bounced",
            {"bounce_class": "soft", "reason": "552 mailbox full"},
            "Ana did not get it: Gmail did not take it on",
        ),
        ("dropped", {"reason": "on their list"}, "SES EU dropped it on"),
        ("deferred", {"reason": "421 slow down"}, "and Gmail delays it: 421 slow down."),
    ],
)
def test_what_the_mailbox_did_instead_is_told_in_its_words(ana, kind, fields, part):
    scripted.account("SES EU")
    campaign = launched(ana)
    heard(sent(campaign), kind, **fields)

    said = verdict(campaign)

    assert part in said
    assert fields["reason"] in said


def test_a_complaint_is_told_with_the_delivery(ana):
    scripted.account("SES EU")
    campaign = launched(ana)
    message = sent(campaign)
    heard(message, "delivered")
    heard(message, "complained")

    assert "They reported it as spam on" in verdict(campaign)


def test_who_left_the_list_after_the_launch_is_told_which_and_when(ana):
    scripted.account()
    campaign = launched(ana)
    expanding.expand_all(timezone.now())
    with time_machine.travel(timezone.now() + timedelta(minutes=2), tick=False):
        consenting.unsubscribe(ana, [ana.subscriptions.get().list_id], timezone.now())
    sending.send_slice(5)

    said = verdict(campaign)

    assert said.startswith("Left out at the last moment: Ana left the list “News” on ")
    assert "2 min" in said


def test_a_suppression_is_told_with_reason_source_and_date(ana):
    scripted.account()
    campaign = launched(ana)
    expanding.expand_all(timezone.now())
    consenting.suppress(ANA, "complained", "SendGrid reported it about campaign 3", timezone.now())
    sending.send_slice(5)

    said = verdict(campaign)

    assert "Ana has reported our mail as spam, since" in said
    assert "(SendGrid reported it about campaign 3)" in said


def test_a_suppression_is_found_after_the_person_is_erased(ana):
    scripted.account("SES EU")
    campaign = launched(ana)
    message = sent(campaign)
    heard(message, "bounced", bounce_class="hard", reason="550 gone")
    ana.delete()

    facts = explaining.explain(campaign, ANA, timezone.now()).facts

    assert facts.person is None
    assert facts.message == message
    assert facts.suppression is not None
    assert facts.suppression.reason == Suppression.Reason.BOUNCED
    assert f"{ANA} did not get it" in verdict(campaign)


def test_doubt_says_since_when_and_what_will_happen(ana):
    account = scripted.account("SES EU")
    Scripted.whole[account.pk] = scripted.raising(OutcomeUnknown("no answer within 20 s"))
    campaign = launched(ana)
    sent(campaign)

    said = verdict(campaign)

    assert said.startswith("In doubt since ")
    assert "SES EU may have taken it: no answer within 20 s." in said


def test_a_failure_is_told_with_the_providers_words(ana):
    account = scripted.account()
    Scripted.whole[account.pk] = scripted.raising(Rejected("400: the address is malformed"))
    campaign = launched(ana)
    sent(campaign)

    assert "it failed for good on" in verdict(campaign)
    assert "400: the address is malformed" in verdict(campaign)


def test_a_try_that_was_not_taken_is_told_with_the_next_one(ana):
    account = scripted.account("SES EU")
    Scripted.answer[account.pk] = lambda recipient: Result(
        recipient.message_id, Verdict.UNAVAILABLE, reason="421 later"
    )
    campaign = launched(ana)
    sent(campaign)

    said = verdict(campaign)

    assert said.startswith("Not yet: SES EU could not hand it over on ")
    assert "421 later. It is tried again from" in said


def test_a_paused_a_stopped_and_a_waiting_campaign_are_told_apart(ana):
    campaign = launched(ana)
    expanding.expand_all(timezone.now())
    assert verdict(campaign).startswith("Not yet: it is queued since")

    campaign.pause()
    assert verdict(campaign) == (
        "Not yet: it is queued, and the campaign is paused. The campaign is paused."
    )

    campaign.cancel(timezone.now())
    expanding.cancel_rest()
    assert "the campaign was stopped on" in verdict(campaign)


def test_mail_whose_time_was_over_is_told_so(ana):
    scripted.account()
    campaign = launched(ana)
    expanding.expand_all(timezone.now())
    Message.objects.update(expires_at=timezone.now())
    sending.send_slice(5)

    assert "Ana did not get it: its time was over on" in verdict(campaign)


# --- There is none -----------------------------------------------------------------------


def test_an_address_nobody_knows_is_told_so(ana):
    assert verdict(launched(ana), "bo@gmail.com") == ("Left out: nobody here has this address.")


def test_whoever_is_on_none_of_the_lists_is_told_so(ana):
    make.subscriber("bo@gmail.com", first_name="Bo")

    assert verdict(launched(ana), "bo@gmail.com") == "Left out: Bo is on none of its lists."


def test_an_excluded_list_is_named(ana):
    staff = make.mailing_list("Staff")
    bo = make.subscriber("bo@gmail.com", lists=[ana.subscriptions.get().list, staff])
    campaign = make.campaign([ana.subscriptions.get().list])
    campaign.excluded_lists.add(staff)
    launching.launch(campaign, timezone.now())
    expanding.expand_all(timezone.now())

    assert verdict(campaign, bo.email) == (
        "Left out: bo@gmail.com is on the excluded list “Staff”."
    )


def test_who_joined_or_came_after_the_launch_is_told_so(ana):
    known = make.subscriber("bo@gmail.com")
    campaign = launched(ana)
    expanding.expand_all(timezone.now())
    news = ana.subscriptions.get().list
    with time_machine.travel(timezone.now() + timedelta(hours=1), tick=False):
        Subscription.objects.create(subscriber=known, list=news, changed_at=timezone.now())
    new = make.subscriber("cy@gmail.com", lists=[news])

    assert "joined the list “News” on" in verdict(campaign, known.email)
    assert "cy@gmail.com came to us on" in verdict(campaign, new.email)


def test_who_was_suppressed_before_the_launch_is_told_why(ana):
    bo = make.subscriber("bo@gmail.com", lists=[ana.subscriptions.get().list], first_name="Bo")
    consenting.suppress(bo.email, "blocked", "asked by phone", timezone.now())
    campaign = launched(ana)
    expanding.expand_all(timezone.now())

    said = verdict(campaign, bo.email)

    assert said.startswith("Left out: Bo was blocked by the team, since")
    assert "(asked by phone)" in said


def test_somebody_who_fits_only_since_the_audience_was_read_is_not_explained_away(ana):
    bo = make.subscriber("bo@gmail.com", lists=[ana.subscriptions.get().list], first_name="Bo")
    suppression = make.suppression(bo.email)
    campaign = launched(ana)
    expanding.expand_all(timezone.now())
    consenting.lift(suppression, timezone.now())

    assert "Bo was not in the audience when it was read on" in verdict(campaign, bo.email)


def test_an_audience_that_is_still_put_together_is_not_a_no(ana):
    assert verdict(launched(ana)).startswith("Not yet: the audience is still being put together")


def test_a_draft_tells_who_would_get_it(ana):
    draft = make.campaign([ana.subscriptions.get().list])

    assert verdict(draft).endswith("As things stand, Ana gets it.")
    assert verdict(draft, "bo@gmail.com").endswith("nobody here has this address.")


# --- The page ----------------------------------------------------------------------------


def page(client: Client, campaign: Campaign, address: str = ANA) -> Any:
    query = urlencode({"campaign": campaign.pk, "email": address})
    return client.get(f"/admin/webhooks/event/why/?{query}")


def test_the_page_tells_every_try_why_it_went_that_way_and_every_event(ana, admin_client):
    alpha, beta = scripted.account("Alpha"), scripted.account("Beta")
    beta.pause()
    Scripted.whole[alpha.pk] = scripted.raising(Unavailable("503: down"))
    campaign = launched(ana)
    sent(campaign)
    beta.resume()
    sending.send_slice(5)
    message = Message.objects.get()
    heard(message, "delivered")
    heard(message, "opened", is_machine=True)

    shown = text(page(admin_client, campaign))

    for part in (
        "Ana got it: Gmail accepted it",
        "Try 1 of 2: Not taken by Alpha",
        "503: down",
        "Try 2 of 2: Accepted by Beta",
        "Why this way: ",
        "Opened by a machine",
        "takes them in",
        "As it was known at that moment",
    ):
        assert part in shown
    order = [shown.index(part) for part in ("was launched", "was queued", "Try 1", "Try 2")]
    assert order == sorted(order)


def test_whoever_may_not_see_people_or_campaigns_sees_no_explanation(ana):
    campaign = launched(ana)
    for right in ("campaigns.view_campaign", "subscribers.view_subscriber"):
        client = Client()
        user = make.user(is_staff=True)
        app, codename = right.split(".")
        user.user_permissions.add(
            Permission.objects.get(content_type__app_label=app, codename=codename)
        )
        client.force_login(user)

        assert page(client, campaign).status_code == 403
        assert client.get(f"/api/v1/campaigns/{campaign.pk}/why/?email={ANA}").status_code == 403
    assert page(member("Viewer"), campaign).status_code == 200


def test_a_wrong_address_is_marked_and_kept(ana, admin_client):
    shown = text(page(admin_client, launched(ana), "ana at gmail"))

    assert "is no e-mail address" in shown
    assert 'value="ana at gmail"' in shown


@pytest.mark.parametrize("query", ["", f"campaign=x&email={ANA}", f"campaign={'9' * 40}"])
def test_without_a_campaign_the_page_asks_for_one(admin_client, query):
    shown = text(admin_client.get(f"/admin/webhooks/event/why/?{query}"))

    assert "Choose a campaign" in shown


def test_what_people_wrote_is_never_markup(admin_client):
    hostile = "<script>alert(1)</script>"
    news = make.mailing_list(hostile)
    bo = make.subscriber("bo@gmail.com", first_name=hostile, lists=[news])
    campaign = launched(bo)

    assert hostile not in text(page(admin_client, campaign, bo.email))


def test_pages_of_campaign_person_and_message_lead_there(ana, admin_client):
    scripted.account()
    campaign = launched(ana)
    where = f"/admin/webhooks/event/why/?campaign={campaign.pk}&amp;email=ana%40gmail.com"
    assert 'action="/admin/webhooks/event/why/"' in text(
        admin_client.get(f"/admin/campaigns/campaign/{campaign.pk}/change/")
    )

    message = sent(campaign)

    person = f"/admin/webhooks/event/of-person/{ana.pk}/"
    assert where in text(admin_client.get(person))
    assert where in text(admin_client.get(f"/admin/delivery/message/{message.pk}/change/"))


def test_the_page_asks_the_database_as_often_however_much_there_is(ana, admin_client):
    scripted.account()
    campaign = launched(ana)
    message = sent(campaign)
    heard(message, "delivered")
    page(admin_client, campaign)

    def asked() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page(admin_client, campaign)
        return len(queries)

    before = asked()
    for _ in range(20):
        make.message(campaign)
        heard(message, "clicked", url="https://example.com/")

    assert asked() == before


# --- API and command ---------------------------------------------------------------------


def test_the_api_tells_the_same(ana):
    scripted.account("SES EU")
    campaign = launched(ana)
    heard(sent(campaign), "delivered")

    answer = Api(make.api_key("read")).get(f"campaigns/{campaign.pk}/why/?email={ANA}")

    assert answer.status == 200
    assert answer.data["got_it"] is True
    assert answer.data["verdict"] == verdict(campaign)
    assert answer.data["audience"]["lists"][0] == {
        "id": ana.subscriptions.get().list_id,
        "name": "News",
        "counts": True,
        "standing": "active",
        "since": answer.data["audience"]["lists"][0]["since"],
        "source": "",
        "note": "",
    }
    [attempt] = answer.data["attempts"]
    assert (attempt["number"], attempt["provider"], attempt["status"]) == (1, "SES EU", "sent")
    assert attempt["handoff"] == Handoff.objects.get().pk
    assert [each["type"] for each in answer.data["events"]] == ["delivered"]


@pytest.mark.parametrize(
    ("query", "status"), [("", 400), ("?email=nobody", 400), ("?email=bo@gmail.com", 200)]
)
def test_the_api_refuses_what_is_no_address(ana, query, status):
    assert Api().get(f"campaigns/{launched(ana).pk}/why/{query}").status == status


def test_the_api_knows_no_campaign_that_is_not_there():
    assert Api().get(f"campaigns/9/why/?email={ANA}").status == 404


def test_the_command_tells_the_same(ana):
    scripted.account("SES EU")
    rules = {"match": "any", "rules": [
        {"field": "language", "op": "is", "value": "de"},
        {"field": "first_name", "op": "is", "value": "Ana"},
    ]}  # fmt: skip
    campaign = make.campaign([ana.subscriptions.get().list])
    campaign.segments.add(make.segment(rules, name="Some"))
    launching.launch(campaign, timezone.now())
    heard(sent(campaign), "delivered")
    out = StringIO()

    call_command("why", campaign.pk, ANA, stdout=out)

    told = out.getvalue()
    assert told.splitlines()[0] == verdict(campaign)
    for line in (
        "[yes] List “News”: Subscribed",
        "[yes] Segment “Some”",
        "[no]  Language is de",
        "[yes] First name is Ana",
        "Try 1 of 1",
        "Sent by SES EU",
    ):
        assert line in told


def test_the_command_says_what_is_wrong(ana):
    campaign = launched(ana)
    with pytest.raises(CommandError, match="There is no campaign"):
        call_command("why", campaign.pk + 1, ANA)
    with pytest.raises(CommandError, match="is no e-mail address"):
        call_command("why", campaign.pk, "ana")
