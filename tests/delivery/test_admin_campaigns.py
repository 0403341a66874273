"""The page of a campaign, from draft to report."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from campaigns import launching
from campaigns.models import Campaign
from delivery import counting
from delivery.models import Expansion, Message
from tests import make, racing, scripted
from tests.pages import member, text, use_own_cache
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db
LIST = "/admin/campaigns/campaign/"


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    use_own_cache(settings)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted.install(monkeypatch)


def at(campaign: Campaign, place: str) -> str:
    return f"{LIST}{campaign.pk}/{place}/"


def ready(people: int = 3, **fields: Any) -> Campaign:
    """A draft that passes its check, to a list of so many."""
    mailing_list = make.mailing_list()
    for _ in range(people):
        make.subscriber(lists=[mailing_list])
    return make.campaign([mailing_list], **fields)


def sent(people: int = 3, **fields: Any) -> Campaign:
    """A campaign that is over, all of it sent by one account and counted."""
    campaign = make.launched([], **fields)
    account = scripted.account()
    now = timezone.now()
    for _ in range(people):
        make.message(campaign, status="sent", provider=account, sent_at=now, delivered_at=now)
    Expansion.objects.create(campaign=campaign, queued=people, done_at=now)
    campaign.finish(now)
    counting.rebuild(campaign.pk)
    return campaign


# --- Draft -------------------------------------------------------------------------------


def test_an_empty_list_says_what_a_campaign_is_and_how_to_begin(admin_client):
    page = text(admin_client.get(LIST))

    assert "No campaigns yet" in page
    assert "/admin/campaigns/campaign/add/" in page


def test_a_new_campaign_takes_a_name_and_the_sender_of_the_one_before(admin_client):
    make.campaign(from_email="press@example.com", from_name="Press")

    answer = admin_client.post(f"{LIST}add/", {"name": "December"})

    campaign = Campaign.objects.get(name="December")
    assert answer["Location"] == at(campaign, "step/audience")
    assert (campaign.from_name, campaign.from_email) == ("Press", "press@example.com")


def test_the_page_of_a_draft_opens_where_something_is_missing(admin_client):
    campaign = ready(from_email="")

    answer = admin_client.get(at(campaign, "change"))

    assert answer["Location"] == at(campaign, "step/settings")


def test_ticked_lists_show_whom_they_reach_before_they_are_saved(admin_client):
    news, left_out = make.mailing_list("News"), make.mailing_list("Partners")
    make.subscriber("ana@example.com", lists=[news])
    make.subscriber("bea@example.com", lists=[news, left_out])
    make.subscriber("cem@example.com", lists=[news], status="bounced")
    campaign = make.campaign()

    page = text(
        admin_client.post(
            at(campaign, "measure"), {"lists": [news.pk], "excluded_lists": [left_out.pk]}
        )
    )

    assert "ana@example.com" in page
    assert "bea@example.com" not in page
    assert "Address does not work" in page, "why Cem is left out"
    assert not campaign.lists.exists(), "nothing is saved by looking"


def test_saving_a_step_leads_to_the_next(admin_client):
    campaign = make.campaign()
    news = make.mailing_list()

    answer = admin_client.post(at(campaign, "step/audience"), {"lists": [news.pk]})

    assert answer["Location"] == at(campaign, "step/content")
    assert list(campaign.lists.all()) == [news]


def test_what_is_wrong_in_the_settings_stands_at_its_field_and_stays_written(admin_client):
    campaign = make.campaign(from_name="Before")

    answer = admin_client.post(
        at(campaign, "step/settings"),
        {"name": "News", "from_name": "Press", "from_email": "no address", "when": "now"},
    )

    assert "from_email" in answer.context["form"].errors
    assert 'value="no address"' in text(answer)
    campaign.refresh_from_db()
    assert campaign.from_name == "Before", "nothing is half saved"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("step", "form", "kept"),
    [
        ("audience", {"lists": []}, "What you wrote is still here"),
        ("content", {"subject": "Too late"}, 'value="Too late"'),
        (
            "settings",
            {
                "name": "Too late",
                "from_name": "x",
                "from_email": "x@example.com",
                "tracking": "full",
            },
            "Too",
        ),
    ],
)
def test_a_step_saved_while_the_campaign_is_launched_is_refused_and_undoes_nothing(
    admin_client, step, form, kept
):
    campaign = ready()
    form = {"template": campaign.template_id, "preheader": "", "when": "now", **form}
    twin = Campaign.objects.get(pk=campaign.pk)

    answer = racing.overtaken(
        lambda: launching.launch(twin, timezone.now()),
        lambda: admin_client.post(at(campaign, f"step/{step}"), form),
    )

    assert "cannot be changed" in text(answer)
    assert kept in text(answer)
    campaign.refresh_from_db()
    assert (campaign.status, campaign.launched_at is None) == ("sending", False)
    assert "Too late" not in (campaign.name, campaign.subject)
    assert campaign.lists.exists()


@pytest.mark.django_db(transaction=True)
def test_two_steps_saved_at_once_both_count(admin_client):
    campaign = ready()
    form = {"template": campaign.template_id, "subject": "Late", "preheader": ""}

    racing.overtaken(
        lambda: Campaign.objects.filter(pk=campaign.pk).update(from_name="Early"),
        lambda: admin_client.post(at(campaign, "step/content"), form),
    )

    campaign.refresh_from_db()
    assert (campaign.from_name, campaign.subject) == ("Early", "Late")


def test_a_time_is_read_in_the_zone_of_the_reader(admin_client):
    campaign = make.campaign()
    admin_client.cookies["zone"] = "Asia/Tokyo"
    fields = {"name": "News", "from_name": "P", "from_email": "p@example.com", "when": "at"}
    fields["tracking"] = "anonymous"

    admin_client.post(at(campaign, "step/settings"), {**fields, "send_at": "2100-01-01T09:00"})

    campaign.refresh_from_db()
    assert campaign.send_at is not None
    assert campaign.send_at.isoformat() == "2100-01-01T00:00:00+00:00"
    assert campaign.tracking == "anonymous"


def test_the_check_says_what_to_mend_and_where(admin_client):
    campaign = make.campaign(from_name="", template=make.template(body="<p>No way out</p>"))

    page = text(admin_client.get(at(campaign, "step/check")))

    assert "Choose at least one list or segment" in page
    assert "The body has no unsubscribe link" in page
    for step in ("audience", "content", "settings"):
        assert f'<a class="ui-link" href="{at(campaign, f"step/{step}")}">Mend</a>' in page


def test_the_last_step_says_in_words_what_will_happen(admin_client):
    campaign = ready(3)
    scripted.account("Alpha")
    scripted.account("Beta")

    page = " ".join(text(admin_client.get(at(campaign, "step/send"))).split())

    assert "goes to <strong>3 people</strong>" in page
    assert "through Alpha and Beta" in page
    assert "Send to 3 people" in page


def test_sending_freezes_the_campaign_and_starts_it(admin_client):
    campaign = ready()

    admin_client.post(at(campaign, "launch"))

    campaign.refresh_from_db()
    assert campaign.status == "sending"
    assert campaign.content.subject == "Hello {{ first_name }}"


def test_what_cannot_be_sent_stays_a_draft_and_says_why(admin_client):
    campaign = ready(0)

    answer = admin_client.post(at(campaign, "launch"), follow=True)

    campaign.refresh_from_db()
    assert campaign.status == "draft"
    assert "Nobody in the chosen audience may be mailed." in text(answer)


def test_a_large_send_takes_typing_the_number_of_people(admin_client, monkeypatch):
    monkeypatch.setattr("delivery.admin.drafts.TYPE_ABOVE", 2)
    campaign = ready(3)

    refused = admin_client.post(at(campaign, "launch"), {"people": "2"}, follow=True)
    campaign.refresh_from_db()
    assert campaign.status == "draft"
    assert "Type the number of people, 3" in text(refused)

    admin_client.post(at(campaign, "launch"), {"people": "3"})
    campaign.refresh_from_db()
    assert campaign.status == "sending"


def test_a_campaign_with_a_time_is_scheduled_and_can_come_back(admin_client):
    campaign = ready(send_at=timezone.now() + timedelta(days=1))

    page = text(admin_client.post(at(campaign, "launch"), follow=True))
    campaign.refresh_from_db()
    assert campaign.status == "scheduled"
    assert "Back to draft" in page

    admin_client.post(at(campaign, "unschedule"))
    campaign.refresh_from_db()
    assert campaign.status == "draft"


def test_a_test_goes_to_oneself_as_anybody_and_is_counted_nowhere(admin_client):
    campaign = ready()
    account = scripted.account("Alpha")
    make.subscriber("bea@example.com", first_name="Bea")

    form = {"to": "me@example.com", "person": "bea@"}
    page = text(admin_client.post(at(campaign, "test"), form, follow=True))

    [batch] = Scripted.calls[account.pk]
    [recipient] = batch.recipients
    assert recipient.email == "me@example.com"
    assert batch.subject.fill(recipient.subject) == "[Test] Hello Bea"
    assert not batch.track_opens
    assert "Alpha accepted the test to me@example.com" in page
    assert not Message.objects.exists()


def test_a_test_saves_what_is_written_beside_it_first(admin_client):
    campaign = ready()
    account = scripted.account()
    other = make.template(subject="The other")
    form = {"to": "me@example.com", "template": other.pk, "subject": "", "preheader": "Soon"}

    answer = admin_client.post(at(campaign, "test"), form)

    campaign.refresh_from_db()
    [batch] = Scripted.calls[account.pk]
    [recipient] = batch.recipients
    assert (campaign.template, campaign.preheader) == (other, "Soon")
    assert batch.subject.fill(recipient.subject) == "[Test] The other"
    assert answer["Location"] == at(campaign, "step/content")


def test_a_test_of_what_cannot_be_saved_is_not_sent_and_keeps_what_was_written(admin_client):
    campaign = ready()
    account = scripted.account()
    form = {"to": "me@example.com", "template": "", "subject": "x" * 2000, "preheader": ""}

    page = text(admin_client.post(at(campaign, "test"), form))

    campaign.refresh_from_db()
    assert "Not saved yet" in page
    assert "x" * 2000 in page
    assert f'action="{at(campaign, "step/content")}"' in page
    assert campaign.template is not None
    assert not Scripted.calls.get(account.pk)


def test_before_a_template_is_chosen_the_preview_says_so_and_nothing_is_wrong(admin_client):
    campaign = make.campaign()
    form = {"template": "", "subject": "", "preheader": ""}

    answer = admin_client.post(at(campaign, "preview"), form).json()
    page = text(admin_client.get(at(campaign, "step/content")))

    assert answer["problems"] == []
    assert answer["hint"] == "Choose a template, and the mail is shown here."
    assert "/admin/campaigns/template/add/" in page


def test_a_test_without_provider_says_what_to_do(admin_client):
    page = text(admin_client.post(at(ready(), "test"), {"to": "me@example.com"}, follow=True))

    assert "There is no provider yet" in page


# --- Under way ---------------------------------------------------------------------------


def test_the_page_of_a_running_campaign_shows_how_far_it_is(admin_client):
    campaign = make.launched([])
    make.message(campaign, status="failed", error="mailbox full")
    make.message(campaign, status="unknown")
    Expansion.objects.create(campaign=campaign, queued=10, done_at=timezone.now())

    page = text(admin_client.get(at(campaign, "change")))

    assert "sent of 10" in page
    assert f"?campaign={campaign.pk}&amp;status__exact=failed" in page
    assert f"?campaign={campaign.pk}&amp;status__exact=unknown" in page
    assert "Mailbox full" in page


def test_before_anybody_is_found_the_page_says_that_the_audience_is_gathered(admin_client):
    page = text(admin_client.get(at(make.launched([]), "change")))

    assert "Gathering the audience…" in page
    assert "sent of 0" not in page
    assert "Finishing…" not in page


def test_why_nothing_moves_stands_above_the_progress(admin_client):
    campaign = make.launched([], problem="No provider can take mail now. Alpha is paused.")

    page = text(admin_client.get(at(campaign, "change")))

    assert "Nothing moves right now." in page
    assert "Alpha is paused." in page


def test_the_piece_that_refreshes_reloads_the_page_once_the_state_is_another(admin_client):
    campaign = make.launched([])
    piece = at(campaign, "progress")

    assert "HX-Refresh" not in admin_client.get(f"{piece}?state=sending").headers
    campaign.pause()
    assert admin_client.get(f"{piece}?state=sending").headers["HX-Refresh"] == "true"


@pytest.mark.parametrize(
    ("deeds", "status"),
    [
        (["pause"], "paused"),
        (["pause", "resume"], "sending"),
        (["cancel"], "cancelled"),
        (["pause", "cancel"], "cancelled"),
    ],
)
def test_a_campaign_is_paused_resumed_and_stopped(admin_client, deeds, status):
    campaign = make.launched([])

    for deed in deeds:
        admin_client.post(at(campaign, deed))

    campaign.refresh_from_db()
    assert campaign.status == status


def test_a_deed_that_comes_too_late_is_said_and_not_an_error(admin_client):
    campaign = sent()

    page = text(admin_client.post(at(campaign, "pause"), follow=True))

    assert "it cannot become paused" in page


def test_deeds_are_posts(admin_client):
    campaign = make.launched([])

    assert admin_client.get(at(campaign, "cancel")).status_code == 405


# --- Report ------------------------------------------------------------------------------


def test_the_report_counts_people_and_machines_apart(admin_client):
    campaign = sent(4)
    now = timezone.now()
    one, two, three, _ = Message.objects.filter(campaign=campaign)
    Message.objects.filter(pk=one.pk).update(
        opened_at=now, person_opened_at=now, clicked_at=now, person_clicked_at=now
    )
    Message.objects.filter(pk=three.pk).update(opened_at=now)
    Message.objects.filter(pk=two.pk).update(machine_opened_at=timezone.now())
    counting.rebuild(campaign.pk)

    page = " ".join(text(admin_client.get(at(campaign, "change"))).split())

    assert "at least 1 of 4 delivered" in page
    assert "1 unsure" in page
    assert f"?campaign={campaign.pk}&amp;outcome=unsure_opened" in page
    assert "· 1 by machines" in page
    assert f"?campaign={campaign.pk}&amp;outcome=opened" in page


def test_every_message_can_be_downloaded_and_no_cell_is_a_formula(admin_client):
    campaign = sent(2)
    Message.objects.filter(campaign=campaign).update(error="=1+1")

    answer = admin_client.get(f"{LIST}{campaign.pk}/messages.csv")

    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert lines[0].startswith("email,status,error,provider,sent_at")
    assert len(lines) == 3
    assert ",'=1+1," in lines[1]


def test_a_copy_has_audience_content_and_sender(admin_client):
    campaign = ready(subject="Hello")

    admin_client.post(at(campaign, "duplicate"))

    copy = Campaign.objects.exclude(pk=campaign.pk).get()
    assert copy.name == f"Copy of {campaign.name}"
    assert copy.status == "draft"
    assert list(copy.lists.all()) == list(campaign.lists.all())
    assert (copy.subject, copy.from_email) == ("Hello", campaign.from_email)


# --- Who may, and at what cost -----------------------------------------------------------


def test_a_viewer_looks_at_campaigns_and_sends_none():
    campaign = ready()
    viewer = member("Viewer")

    assert "Send to 3 people" not in text(viewer.get(at(campaign, "step/send")))
    assert viewer.post(at(campaign, "launch")).status_code == 403
    assert viewer.post(at(campaign, "step/audience"), {}).status_code == 403
    assert viewer.post(at(campaign, "test"), {"to": "me@example.com"}).status_code == 403
    campaign.refresh_from_db()
    assert campaign.status == "draft"


def test_only_drafts_can_be_deleted(admin_client):
    draft, over = ready(), sent()

    admin_client.post(at(draft, "delete"), {"post": "yes"})
    assert admin_client.post(at(over, "delete"), {"post": "yes"}).status_code == 403

    assert list(Campaign.objects.all()) == [over]


def queries(client: Any, url: str) -> list[str]:
    client.get(url)  # warm: sessions, content types, templates
    with CaptureQueriesContext(
        connection,
    ) as caught:
        assert client.get(url).status_code == 200
    return [each["sql"] for each in caught.captured_queries]


@pytest.mark.parametrize(
    ("place", "most"),
    [("", 10), ("{}/change/", 18), ("{}/totals/", 12)],
)
def test_pages_cost_the_same_however_many_campaigns_and_messages_there_are(
    admin_client, place, most
):
    campaign = sent(2)
    few = queries(admin_client, LIST + place.format(campaign.pk))

    for _ in range(5):
        sent(10)
    many = queries(admin_client, LIST + place.format(campaign.pk))

    assert len(many) <= len(few) <= most
    counts = [sql for sql in many if "COUNT" in sql.upper() and "delivery_message" in sql]
    assert all('"delivery_message"."status" IN' in sql for sql in counts), "by the partial index"


def test_watching_a_campaign_costs_little_and_nothing_within_a_second(admin_client):
    campaign = make.launched([])
    Expansion.objects.create(campaign=campaign, queued=10, done_at=timezone.now())

    assert len(queries(admin_client, f"{at(campaign, 'progress')}?state=sending")) <= 3
