"""Templates and campaigns over HTTP, from a draft to its end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from campaigns.models import Campaign, Content, Template
from tests import make
from tests.calling import Api

pytestmark = pytest.mark.django_db


def _draft(api: Api) -> str:
    """Make a complete draft through the API; return its path."""
    news = make.mailing_list()
    make.subscriber("ann@gmail.com", [news])
    template = api.post(
        "templates/",
        {"name": "Plain", "format": "html", "subject": "Hello {{ first_name }}", "body": make.BODY},
    )
    campaign = api.post(
        "campaigns/",
        {
            "name": "May",
            "template": template.data["id"],
            "from_name": "Example Press",
            "from_email": "news@example.com",
            "lists": [news.pk],
        },
    )
    assert (template.status, campaign.status) == (201, 201)
    assert campaign.data["status"] == "draft"
    return f"campaigns/{campaign.data['id']}/"


def test_a_campaign_is_sent_paused_resumed_and_cancelled() -> None:
    api = Api()
    path = _draft(api)

    states = [
        api.post(f"{path}{verb}/").data["status"] for verb in ("send", "pause", "resume", "cancel")
    ]

    assert states == ["sending", "paused", "sending", "cancelled"]
    assert Content.objects.get().body == make.BODY
    assert api.get(path).data["finished_at"] is not None


def test_a_verb_that_makes_no_sense_now_is_refused_and_changes_nothing() -> None:
    api = Api()
    path = _draft(api)

    for verb in ("pause", "resume", "cancel"):
        answer = api.post(f"{path}{verb}/")
        assert (answer.status, answer.error["code"]) == (409, "invalid_transition")
    api.post(f"{path}send/")
    api.post(f"{path}pause/")
    assert api.post(f"{path}send/").error["code"] == "invalid_transition", "resume is another verb"
    assert api.get(path).data["status"] == "paused"


def test_what_keeps_a_campaign_from_being_sent_is_said_with_its_field() -> None:
    api = Api()
    path = f"campaigns/{api.post('campaigns/', {'name': 'Empty'}).data['id']}/"

    answer = api.post(f"{path}send/")

    assert (answer.status, answer.error["code"]) == (409, "cannot_launch")
    assert answer.error["param"] == "lists"
    assert api.get(path).data["status"] == "draft"


def test_a_campaign_is_scheduled_and_taken_back() -> None:
    api = Api()
    path = _draft(api)
    later = timezone.now() + timedelta(hours=1)

    past = api.post(f"{path}schedule/", {"send_at": "2020-01-01T00:00:00Z"})
    scheduled = api.post(f"{path}schedule/", {"send_at": later.isoformat()})
    draft = api.post(f"{path}unschedule/")

    assert (past.status, past.error["param"]) == (400, "send_at")
    assert scheduled.data["status"] == "scheduled"
    assert draft.data["status"] == "draft"
    assert api.post(f"{path}schedule/", {"send_at": "soon"}).error["param"] == "send_at"


def test_a_draft_changes_and_what_is_sending_does_not() -> None:
    api = Api()
    path = _draft(api)

    assert api.patch(path, {"subject": "New"}).data["subject"] == "New"
    api.post(f"{path}send/")
    answer = api.patch(path, {"subject": "Too late"})

    assert answer.status == 400
    assert "sending" in answer.error["message"]
    assert api.get(path).data["subject"] == "New"


@pytest.mark.parametrize(
    ("data", "param"),
    [
        ({}, "name"),
        ({"name": "x", "status": "sending"}, "status"),
        ({"name": "x", "template": 999_999}, "template"),
        ({"name": "x", "lists": [999_999]}, "lists"),
        ({"name": "x", "segments": [999_999]}, "segments"),
        ({"name": "x", "from_email": "nobody"}, "from_email"),
        ({"name": "x", "send_at": "2030-01-01T00:00:00Z"}, "send_at"),
    ],
)
def test_a_campaign_that_cannot_be_is_refused(data: dict[str, object], param: str) -> None:
    answer = Api().post("campaigns/", data)

    assert (answer.status, answer.error["param"]) == (400, param), answer.data
    assert not Campaign.objects.exists()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"body": "{{ nose }}"}, "body"),
        ({"body": "{% for x in %}"}, "body"),
        ({"subject": "{{ first_name"}, "subject"),
        ({"format": "docx"}, "format"),
        ({"format": "mjml", "body": "<mjml><mj-nose/></mjml>"}, "body"),
    ],
)
def test_a_template_of_which_no_mail_can_be_made_is_refused(
    fields: dict[str, str], param: str
) -> None:
    good = {"name": "T", "format": "html", "subject": "Hello", "body": make.BODY}

    answer = Api().post("templates/", {**good, **fields})

    assert (answer.status, answer.error["param"]) == (400, param), answer.data
    assert not Template.objects.exists()


def test_a_template_is_checked_as_a_whole_when_a_part_changes() -> None:
    template = make.template()
    api = Api()

    wrong = api.patch(f"templates/{template.pk}/", {"subject": "{{ nose }}"})
    right = api.patch(f"templates/{template.pk}/", {"subject": "Hi"})

    assert wrong.error["param"] == "subject"
    assert right.data["body"] == template.body
