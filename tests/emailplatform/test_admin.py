"""The shell of the admin: who sees what, what opens, what is refused, how lists page."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.text import capfirst
from django_celery_beat.models import PeriodicTask

from emailplatform import roles
from emailplatform.models import ApiKey
from subscribers.models import Subscriber
from tests import make

pytestmark = pytest.mark.django_db
PEOPLE = "/admin/subscribers/subscriber/"


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    """Keep what other tests left in Redis out of this one."""
    default = {**settings.CACHES["default"], "KEY_PREFIX": uuid4().hex}
    settings.CACHES = {"default": default}


def member(role: str) -> Client:
    """A client signed in with one of the roles."""
    user = make.user(is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


def rows_of_everything() -> None:
    news = make.mailing_list()
    person = make.subscriber(lists=[news])
    make.segment({"match": "all", "rules": [{"field": "list", "op": "is", "value": news.pk}]})
    make.suppression("gone@example.com")
    campaign = make.launched([news])
    account = make.account()
    handoff = make.handoff(campaign, account)
    make.message(campaign, person, handoff=handoff, provider=account)
    make.mail()
    make.api_key()


def pages() -> Iterator[str]:
    """Every address of every registered admin; those about a row with the first row there is."""
    request = RequestFactory().get("/admin/")
    request.user = User(is_staff=True, is_superuser=True)
    for page in admin.site._registry.values():
        row = page.get_queryset(request).first()
        for pattern in page.get_urls():
            if not pattern.name:
                continue
            args = {"object_id": row and row.pk, "pk": row and row.pk, "id": row and row.pk}
            wanted = {name: args[name] for name in pattern.pattern.converters if name in args}
            if set(pattern.pattern.converters) - set(args) or (wanted and row is None):
                continue
            try:
                yield reverse(f"admin:{pattern.name}", kwargs=wanted)
            except NoReverseMatch:  # Django's page for a password has the name of another app
                yield f"/admin/auth/user/{wanted['id']}/password/"


def test_every_page_opens(admin_client):
    rows_of_everything()

    answers = {url: admin_client.get(url).status_code for url in ["/admin/", *pages()]}

    assert len(answers) > 40
    assert {url: code for url, code in answers.items() if code not in {200, 302, 403, 405}} == {}
    lists = {url for url in answers if re.fullmatch(r"/admin/\w+/\w+/", url)}
    assert {url: answers[url] for url in lists if answers[url] != 200} == {}


def test_the_browser_s_title_of_a_list_is_what_it_lists(admin_client):
    rows_of_everything()

    for model, page in admin.site._registry.items():
        meta = model._meta
        answer = admin_client.get(reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist"))

        title = html.unescape(answer.content.decode().partition("<title>")[2].partition("</")[0])
        name = getattr(page, "heading", "") or capfirst(meta.verbose_name_plural)
        assert title.split("|")[0].strip() == name


@pytest.mark.parametrize("role", roles.NAMES)
def test_every_page_opens_or_is_refused_to_each_role(role):
    rows_of_everything()
    client = member(role)

    answers = {url: client.get(url).status_code for url in ["/admin/", *pages()]}

    assert {url: code for url, code in answers.items() if code not in {200, 302, 403, 405}} == {}
    assert answers["/admin/"] == answers[PEOPLE] == 200
    assert answers["/admin/auth/user/"] == (200 if role == "Admin" else 403)


def test_a_viewer_changes_nothing():
    rows_of_everything()
    client = member("Viewer")

    answers = {url: client.post(url).status_code for url in pages() if "logout" not in url}

    allowed = {url for url, code in answers.items() if code not in {403, 405}}
    looking = re.compile(
        r"/(change|history|progress|size|sample|look|timeline|preview)/$|/\d+/$|csv$"
    )
    assert {url for url in allowed if not looking.search(url) and not url.endswith("/")} == set()
    assert Subscriber.objects.get().status == "active"
    assert ApiKey.objects.filter(revoked_at=None).count() == 1


def test_strangers_are_sent_to_the_login_page(client):
    rows_of_everything()

    answers = {url: client.get(url) for url in pages()}

    assert {
        url for url, answer in answers.items() if "/login/" not in answer.headers["Location"]
    } == set()


def test_the_menu_shows_what_one_may_see():
    marketer = member("Marketer").get("/admin/").content.decode()
    operator = member("Operator").get("/admin/").content.decode()

    for page in ("subscribers/subscriber", "subscribers/import", "subscribers/segment"):
        assert f'href="/admin/{page}/"' in marketer
    for page in ("emailplatform/apikey", "django_celery_beat/periodictask"):
        assert f'href="/admin/{page}/"' in operator
        assert f'href="/admin/{page}/"' not in marketer
    assert 'href="/admin/auth/user/"' not in marketer + operator


def test_the_sandbox_is_in_the_menu_only_where_there_is_one(admin_client, settings):
    settings.SANDBOX_URL = ""
    without = admin_client.get("/admin/").content.decode()
    settings.SANDBOX_URL = "http://127.0.0.1:8025/"

    with_it = admin_client.get("/admin/").content.decode()

    assert "Sandbox inbox" not in without
    assert 'href="http://127.0.0.1:8025/"' in with_it


def test_every_right_of_a_role_exists():
    for name, rights in roles.roles().items():
        wanted = sum(len(verbs) for verbs in rights.values())

        assert Group.objects.get(name=name).permissions.count() == wanted


def test_migrating_gives_roles_back_what_they_lost():
    group = Group.objects.get(name="Marketer")
    before = set(group.permissions.values_list("codename", flat=True))
    group.permissions.set(Permission.objects.filter(codename="delete_user"))

    roles.write_roles()

    assert set(group.permissions.values_list("codename", flat=True)) == before


def test_an_admin_raises_neither_themselves_nor_others_to_superuser():
    boss = make.user("boss", is_staff=True, is_superuser=True)
    client = member("Admin")
    me = User.objects.exclude(pk=boss.pk).get()
    form = {"username": me.username, "is_active": "on", "is_staff": "on", "is_superuser": "on"}

    client.post(f"/admin/auth/user/{me.pk}/change/", form)

    assert not User.objects.get(pk=me.pk).is_superuser
    assert client.post(f"/admin/auth/user/{boss.pk}/change/", form).status_code == 403
    assert client.post(f"/admin/auth/user/{boss.pk}/password/", form).status_code == 403


def test_the_four_roles_cannot_be_changed_by_hand(admin_client):
    group = Group.objects.get(name="Viewer")

    answer = admin_client.post(f"/admin/auth/group/{group.pk}/change/", {"name": "Mine"})

    assert answer.status_code == 403


def test_a_key_is_shown_once_and_never_again(admin_client):
    form = {"name": "shop", "scopes": ["read", "manage"], "expires_at_0": "", "expires_at_1": ""}

    made = admin_client.post("/admin/emailplatform/apikey/add/", form)

    plain = re.search(r"ep_[0-9a-f]{8}_[0-9a-f]{64}", made.content.decode())
    assert plain
    key = ApiKey.objects.find(plain.group(), timezone.now())
    assert key
    assert key.scopes == ["read", "manage"]
    assert "no-store" in made.headers["Cache-Control"]
    for url in ("/admin/emailplatform/apikey/", f"/admin/emailplatform/apikey/{key.pk}/change/"):
        assert plain.group() not in admin_client.get(url).content.decode()


def test_a_key_without_scopes_is_refused_at_the_field(admin_client):
    answer = admin_client.post("/admin/emailplatform/apikey/add/", {"name": "shop"})

    assert "Choose at least one thing this key may do." in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_a_revoked_key_opens_nothing(admin_client):
    plain = make.api_key()
    key = ApiKey.objects.get()

    admin_client.post(f"/admin/emailplatform/apikey/{key.pk}/revoke/")

    assert ApiKey.objects.find(plain, timezone.now()) is None


def test_deeds_need_a_post(admin_client):
    make.api_key()
    key = ApiKey.objects.get()

    answer = admin_client.get(f"/admin/emailplatform/apikey/{key.pk}/revoke/")

    assert answer.status_code == 405
    assert ApiKey.objects.get().revoked_at is None


def addresses(answer: Any) -> list[str]:
    return re.findall(r"person\d+@gmail\.com", answer.content.decode().split("result_list")[1])


def test_paging_by_key_shows_every_row_once_and_comes_back(admin_client):
    people = [make.subscriber().email for _ in range(120)]
    seen: list[str] = []
    url, trail = PEOPLE, [PEOPLE]

    while True:
        answer = admin_client.get(url)
        seen += dict.fromkeys(addresses(answer))
        older = re.search(r'href="(\?before=\d+)"', answer.content.decode())
        if not older:
            break
        url = PEOPLE + older.group(1)
        trail.append(url)

    assert seen == people[::-1]
    assert len(trail) == 3
    newer = re.search(r'href="(\?after=\d+)"', answer.content.decode())
    assert newer
    assert addresses(admin_client.get(PEOPLE + newer.group(1))) == addresses(
        admin_client.get(trail[1])
    )


def test_the_list_of_people_counts_nothing_and_needs_few_queries(admin_client):
    news = make.mailing_list()
    for _ in range(60):
        make.subscriber(lists=[news])

    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = admin_client.get(PEOPLE)

    assert answer.status_code == 200
    # The menu's badges count as well, but only so far.
    whole = [each["sql"].upper() for each in queries if "LIMIT" not in each["sql"]]
    counting = [sql for sql in whole if "COUNT(" in sql]
    assert counting == []
    assert len(queries) <= 12


@pytest.mark.parametrize(
    "cursor", ["?before=x", "?after=", "?before=99999999999999999999999", "?after=-1"]
)
def test_a_nonsense_cursor_is_the_first_page(admin_client, cursor):
    make.subscriber("ana@example.com")

    assert "ana@example.com" in admin_client.get(PEOPLE + cursor).content.decode()


def test_the_command_search_finds_people_by_the_beginning_of_their_address(admin_client):
    make.subscriber("ana.gil@example.com")
    make.subscriber("ben@example.com")

    found = admin_client.get("/admin/search/?extended=1&s=Ana.G").content.decode()

    assert "ana.gil@example.com" in found
    assert "ben@example.com" not in found


def test_the_command_search_shows_nothing_one_may_not_see():
    make.subscriber("ana.gil@example.com")
    nobody = make.user(is_staff=True)
    client = Client()
    client.force_login(nobody)

    assert "ana.gil" not in client.get("/admin/search/?extended=1&s=ana").content.decode()


def test_times_are_in_the_zone_of_the_browser(admin_client):
    person = make.subscriber()
    noon = timezone.now().replace(month=1, day=15, hour=12, minute=0, second=0, year=2026)
    Subscriber.objects.filter(pk=person.pk).update(created_at=noon)

    admin_client.cookies["zone"] = "Asia%2FTokyo"
    tokyo = admin_client.get(PEOPLE).content.decode()
    admin_client.cookies["zone"] = "Mars/Olympus"
    default = admin_client.get(PEOPLE).content.decode()

    assert "21:00:00 JST" in tokyo
    assert "Times in Asia/Tokyo" in tokyo
    assert "12:00:00 UTC" in default


def test_a_team_member_is_added_with_a_role_and_may_sign_in(admin_client):
    role = Group.objects.get(name="Marketer")
    password = "a horse that is correct"
    form = {"username": "mia", "email": "mia@example.com", "is_staff": "on", "groups": [role.pk]}

    admin_client.post(
        "/admin/auth/user/add/", {**form, "password1": password, "password2": password}
    )

    client = Client()
    assert client.login(username="mia", password=password)
    assert client.get(PEOPLE).status_code == 200
    assert client.get("/admin/auth/user/").status_code == 403


def test_a_schedule_is_slowed_down_without_touching_those_that_share_its_interval(admin_client):
    first, second = PeriodicTask.objects.filter(interval__every=2)[:2]

    admin_client.post(
        f"/admin/django_celery_beat/periodictask/{first.pk}/change/",
        {"enabled": "on", "every": "30"},
    )

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.interval.every, first.expire_seconds, second.interval.every) == (30, 30, 2)
    assert first.task
