"""Address checks as integrators, marketers and operators meet them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from subscribers import checking, enrolling, rechecking
from subscribers.flagging import Kind, Policy
from subscribers.models import CheckRun, Domain, MailingList, Subscription
from tests import make
from tests.calling import Api
from tests.pages import member, text, use_own_cache
from tests.subscribers.nameserver import Zones, nameserver

pytestmark = pytest.mark.django_db
HELD = "/admin/subscribers/heldsubscription/"
RUNS = "/admin/subscribers/checkrun/"


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    use_own_cache(settings)


@pytest.fixture
def zones(settings: Any) -> Iterator[Zones]:
    with nameserver() as zones:
        settings.DNS_RESOLVERS = [zones.address_of_server]
        settings.DNS_TIMEOUT_S = 1
        zones.good("shop.com")
        yield zones


def held(email: str = "ana@hotmal.com", source: MailingList | None = None) -> Subscription:
    source = source or make.mailing_list("News")
    person, _ = enrolling.enrol(email, [source], source="API", now=timezone.now())
    return person.subscriptions.get(list=source)


# --- API ----------------------------------------------------------------------------------------


def test_an_address_is_checked_with_a_key_that_may_only_read(zones: Zones) -> None:
    answer = Api(make.api_key("read")).post("subscribers/check/", {"email": "Info@Hotmal.com"})

    assert answer.status == 200
    assert answer.data["email"] == "info@hotmal.com"
    assert answer.data["verdict"] == "bad"
    assert [flag["code"] for flag in answer.data["flags"]] == ["no_domain", "typo", "role"]
    assert answer.data["suggestion"] == "info@hotmail.com"
    assert answer.data["checked_at"]


def test_checks_have_a_limit_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from subscribers.api.checks import CheckThrottle

    monkeypatch.setattr(CheckThrottle, "rate", "2/min", raising=False)
    api = Api()

    codes = [api.post("subscribers/check/", {"email": "no"}).status for _ in range(3)]

    assert codes == [200, 200, 429]
    assert api.get("lists/").status == 200


def test_a_recheck_is_started_watched_and_stopped_over_http(zones: Zones) -> None:
    make.subscriber("ana@nxdomain.com")
    api = Api()

    started = api.post("address-checks/", {"older_than_days": 90})
    assert (started.status, started.data["status"]) == (202, "queued")
    assert api.post("address-checks/", {}).status == 409

    rechecking.run(started.data["id"])
    seen = api.get(f"address-checks/{started.data['id']}/").data
    assert (seen["status"], seen["people"]) == ("done", {"no_domain": 1})

    again = api.post("address-checks/", {}).data["id"]
    assert api.post(f"address-checks/{again}/cancel/").data["status"] == "cancelled"


def test_a_list_is_told_over_http_what_to_refuse() -> None:
    api = Api()
    pk = api.post("lists/", {"name": "News", "address_policy": {"role": "refuse"}}).data["id"]

    answer = api.post("subscribers/", {"email": "info@gmail.com", "lists": [pk]})
    assert answer.status == 400
    assert "“News” does not take this address" in answer.error["message"]

    wrong = api.patch(f"lists/{pk}/", {"address_policy": {"colour": "refuse"}})
    assert wrong.status == 400


def test_people_are_narrowed_to_a_flag_over_http() -> None:
    make.subscriber("info@gmail.com")
    make.subscriber("ana@gmail.com")

    found = Api().get("subscribers/", flag="role").data["results"]

    assert [person["email"] for person in found] == ["info@gmail.com"]


# --- Admin --------------------------------------------------------------------------------------


def test_the_page_of_held_addresses_says_why_and_what_was_meant() -> None:
    held()
    make.subscriber("other@gmail.com", [MailingList.objects.get()])

    shown = text(member("Viewer").get(HELD))

    assert "ana@hotmal.com" in shown
    assert "hotmal.com looks like a slip for hotmail.com." in shown
    assert "Probably meant: ana@hotmail.com." in shown
    assert "other@gmail.com" not in shown


@pytest.mark.parametrize(("action", "ends"), [("release", "active"), ("refuse", "unsubscribed")])
def test_held_addresses_are_released_or_refused_and_it_is_written_down(
    action: str, ends: str
) -> None:
    row = held()
    client = member("Marketer")

    client.post(HELD, {"action": action, "_selected_action": [row.pk]})

    row.refresh_from_db()
    assert row.status == ends
    assert "ana@hotmal.com" in LogEntry.objects.get().change_message


def test_who_may_only_look_decides_nothing() -> None:
    row = held()

    member("Viewer").post(HELD, {"action": "release", "_selected_action": [row.pk]})

    row.refresh_from_db()
    assert row.status == Subscription.Status.HELD


def test_the_page_of_held_addresses_costs_the_same_for_one_and_for_many() -> None:
    news = make.mailing_list("News")
    client = member("Viewer")

    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            text(client.get(HELD))
        return len(queries)

    held("a@hotmal.com", news)
    statements()
    few = statements()
    for number in range(12):
        held(f"b{number}@hotmal.com", news)

    assert statements() == few


def test_a_list_is_told_in_the_admin_what_to_do_with_each_flag(admin_client: Client) -> None:
    news = make.mailing_list("News")
    page = f"/admin/subscribers/mailinglist/{news.pk}/"
    form = {f"policy_{kind.value}": Policy.ACCEPT.value for kind in Kind}

    admin_client.post(f"{page}edit/", {"name": "News", **form, "policy_role": "refuse"})

    news.refresh_from_db()
    assert news.policies[Kind.ROLE] == Policy.REFUSE
    assert news.policies[Kind.TYPO] == Policy.ACCEPT
    shown = text(admin_client.get(f"{page}change/"))
    assert "Addresses in doubt" in shown
    assert "refused" in shown


def test_the_page_of_a_person_says_what_is_wrong_and_asks_again(zones: Zones) -> None:
    row = held("ana@nxdomain.com")
    checking.learn(["nxdomain.com"], timezone.now())
    page = f"/admin/subscribers/subscriber/{row.subscriber_id}/"
    client = member("Marketer")
    assert "There is no domain nxdomain.com." in text(client.get(f"{page}change/"))

    zones.good("nxdomain.com")
    client.post(f"{page}check/")

    row.refresh_from_db()
    assert row.status == Subscription.Status.ACTIVE
    assert "Mail goes to mx.nxdomain.com." in text(client.get(f"{page}change/"))


def test_a_person_is_released_on_their_page() -> None:
    row = held()

    member("Marketer").post(
        f"/admin/subscribers/subscriber/{row.subscriber_id}/lists/{row.list_id}/release/"
    )

    row.refresh_from_db()
    assert row.status == Subscription.Status.ACTIVE
    assert row.cleared_at is not None


def test_people_are_narrowed_to_what_is_wrong_with_their_address() -> None:
    make.subscriber("info@gmail.com")
    make.subscriber("ana@gmail.com")
    make.subscriber("ben@hotmal.com")
    Domain.objects.register()
    checking.learn(["gmail.com", "hotmal.com"], timezone.now())
    client = member("Viewer")

    def found(kind: str) -> list[str]:
        shown = text(client.get("/admin/subscribers/subscriber/", {"address": kind}))
        return [e for e in ("info@gmail.com", "ana@gmail.com", "ben@hotmal.com") if e in shown]

    assert found("role") == ["info@gmail.com"]
    assert found("typo") == ["ben@hotmal.com"]
    assert found("any") == ["info@gmail.com", "ben@hotmal.com"]
    assert found("unknown") == ["info@gmail.com", "ana@gmail.com", "ben@hotmal.com"]


def test_a_check_is_started_watched_and_read_in_the_admin(zones: Zones) -> None:
    make.subscriber("ana@nxdomain.com", [make.mailing_list("News")])
    client = member("Marketer")

    client.post(f"{RUNS}add/", {"list": "", "older_than_days": "", "limit": ""})
    run = CheckRun.objects.get()
    assert "Waiting to start" in text(client.get(f"{RUNS}{run.pk}/change/"))

    rechecking.run(run.pk)
    shown = text(client.get(f"{RUNS}{run.pk}/change/"))
    assert "The domain does not exist" in shown
    assert "See who is held back" in shown
    assert client.get(f"{RUNS}{run.pk}/progress/?state=running")["HX-Refresh"] == "true"


# --- Command ------------------------------------------------------------------------------------


def run_command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("check_addresses", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_checks_a_list_and_prints_what_it_found(zones: Zones) -> None:
    news = make.mailing_list()
    make.subscriber("ana@nxdomain.com", [news])
    make.subscriber("ben@shop.com", [news])

    shown = run_command("--list", str(news.pk), "--older-than", "90d", "--limit", "10")

    assert "           2  domains asked about" in shown
    assert "           1  The domain does not exist" in shown
    assert "           1  subscriptions held back" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--list", "999999"], "There is no list"),
        (["--older-than", "soon"], "write days"),
        (["--limit", "0"], "above zero"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        run_command(*arguments)
