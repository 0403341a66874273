"""Templates in the admin: the editor, its preview, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from campaigns.models import Template
from tests import make
from tests.pages import member, text, use_own_cache

pytestmark = pytest.mark.django_db
ADD = "/admin/campaigns/template/add/"
PREVIEW = "/admin/campaigns/template/preview/"


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    use_own_cache(settings)


def written(**fields: str) -> dict[str, str]:
    given = {"name": "News", "format": "html", "subject": "Hello", "body": make.BODY}
    return {**given, "preheader": "", "text": "", **fields}


def test_a_new_template_begins_with_one_that_can_be_sent(admin_client):
    page = text(admin_client.get(ADD))

    # what stands in the form is what the browser would post
    shown = admin_client.get(ADD).context["form"].initial
    answer = admin_client.post(PREVIEW, {**written(), **shown}).json()

    assert "mj-button" in page
    assert 'placeholder="Shown after the subject in the inbox"' in page
    assert not shown.get("preheader")
    assert answer["problems"] == []
    assert "Ana" in answer["html"]


def test_a_template_is_saved_with_the_line_ends_its_author_meant(admin_client):
    admin_client.post(ADD, written(body=make.BODY.replace("<p>", "\r\n<p>")))

    assert "\r" not in Template.objects.get().body


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("{% for x in y %}", "Body, line 1"),
        ("{{ firstname }}", "did you mean"),
        ("{{ first_name", "Body, line 1"),
    ],
)
def test_a_template_that_cannot_be_used_is_not_saved_and_what_was_written_stays(
    admin_client, body, sentence
):
    answer = admin_client.post(ADD, written(body=body))

    errors = answer.context["form"].errors
    assert sentence in errors["body"][0]
    assert answer.context["form"]["body"].value() == body
    assert not Template.objects.exists()


def test_a_preview_is_made_for_the_person_whose_address_begins_so(admin_client):
    make.subscriber("bea@example.com", first_name="Bea")

    answer = admin_client.post(PREVIEW, {**written(), "person": "BEA@"}).json()

    assert "Hello Bea" in answer["html"]
    assert "bea@example.com" in answer["person"]


def test_a_preview_for_nobody_says_so_and_shows_a_sample(admin_client):
    answer = admin_client.post(PREVIEW, {**written(), "person": "zoe@"}).json()

    assert "zoe@" in answer["note"]
    assert "Hello Ana" in answer["html"]


def test_the_previewed_mail_is_guarded_before_anything_an_author_wrote(admin_client):
    answer = admin_client.post(PREVIEW, written(body="<script>x()</script>" + make.BODY)).json()

    guard, mail = answer["html"].split("<script>")
    assert "default-src 'none'" in guard
    assert mail
    assert 'sandbox=""' in text(admin_client.get(ADD))


def test_a_body_without_unsubscribe_link_is_told_while_writing(admin_client):
    answer = admin_client.post(PREVIEW, written(body="<p>Hello</p>")).json()

    assert any("unsubscribe" in problem for problem in answer["problems"])
    assert answer["html"], "it can be looked at all the same"


def test_a_viewer_reads_templates_and_a_marketer_writes_them():
    template = make.template()
    page = f"/admin/campaigns/template/{template.pk}/change/"
    viewer, marketer = member("Viewer"), member("Marketer")

    assert "Save template" not in text(viewer.get(page))
    assert viewer.post(page, written(name="Mine")).status_code == 403
    assert marketer.post(page, written(name="Mine")).status_code == 302
    template.refresh_from_db()
    assert template.name == "Mine"


def test_a_copy_gets_a_name_of_its_own(admin_client):
    template = make.template(name="News")
    make.template(name="Copy of News")

    admin_client.post(f"/admin/campaigns/template/{template.pk}/duplicate/")

    assert Template.objects.filter(name="Copy of News (2)", body=template.body).exists()
