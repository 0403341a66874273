"""Routing rules and breakers, as operators work with them: admin, API, command."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from delivery import breaking, reputing
from delivery.models import CampaignStat, CircuitChange, ProviderAccount, RoutingRule
from delivery.providers.base import OutcomeUnknown
from emailplatform.models import AuditEntry
from tests import make
from tests.calling import Api
from tests.pages import member, text, use_own_cache

pytestmark = pytest.mark.django_db
RULES = "/admin/delivery/routingrule/"
PROVIDERS = "/admin/delivery/provideraccount/"


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    use_own_cache(settings)


def broken(name: str = "Main") -> ProviderAccount:
    account = make.account(name)
    breaking.failed(account, OutcomeUnknown("no answer within 20 s"), timezone.now())
    account.refresh_from_db()
    return account


# --- Rules ----------------------------------------------------------------------------------


def test_a_rule_is_made_from_what_its_form_says(admin_client):
    one, two = make.account("One"), make.account("Two")

    admin_client.post(
        f"{RULES}add/",
        {
            "name": "Gmail first",
            "is_active": "on",
            "domains": "Gmail.com\n*.gov, gmail.com",
            "mailbox": "yahoo",
            "tier": "engaged",
            "first": two.pk,
            "second": one.pk,
            "is_strict": "on",
        },
    )

    rule = RoutingRule.objects.get()
    assert rule.domains == ["gmail.com", "*.gov"]
    assert (rule.providers, rule.is_strict, rule.position) == ([two.pk, one.pk], True, 1)
    page = text(admin_client.get(RULES))
    assert "All mail to engaged people at gmail.com, *.gov, Yahoo and AOL" in page
    assert "Two, then One, or wait" in page


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"domains": "not a domain!"}, "Write a domain, such as gmail.com"),
        ({"second": "same"}, "Main is chosen above already."),
        ({"stream": "critical"}, "Main does not carry critical mail."),
        ({"first": ""}, "This field is required."),
    ],
)
def test_a_rule_that_cannot_work_is_refused_in_plain_words(admin_client, form, said):
    main = make.account("Main", streams=["marketing"])
    form = {name: main.pk if value == "same" else value for name, value in form.items()}

    answer = admin_client.post(f"{RULES}add/", {"name": "Rule", "first": main.pk, **form})

    assert said in text(answer)
    assert not RoutingRule.objects.exists()


def test_an_address_can_be_tried_and_the_order_changed(admin_client):
    main = make.account("Main")
    make.subscriber("ana@gmail.com", engaged_at=timezone.now())
    all_mail = RoutingRule.objects.create(name="All mail", providers=[main.pk])
    engaged = RoutingRule.objects.create(name="Engaged", providers=[main.pk], tier="engaged")
    asked = {"address": "Ana@gmail.com", "stream": "marketing"}

    before = text(admin_client.get(RULES, asked))
    admin_client.post(f"{RULES}{engaged.pk}/up/")
    after = text(admin_client.get(RULES, asked))

    assert "ana@gmail.com, engaged, marketing mail" in before
    assert "“All mail”: Main, else by score." in before
    assert "“Engaged”: Main, else by score." in after
    assert list(RoutingRule.objects.all()) == [engaged, all_mail]
    wrong = text(admin_client.get(RULES, {"address": "nobody"}))
    assert "nobody cannot be mailed" in wrong


def test_a_viewer_reads_rules_and_changes_none():
    rule = RoutingRule.objects.create(name="All mail", providers=[make.account().pk])
    viewer = member("Viewer")

    assert "All mail" in text(viewer.get(RULES))
    assert viewer.post(f"{RULES}{rule.pk}/up/").status_code == 403
    assert viewer.get(f"{RULES}add/").status_code == 403


def test_a_provider_is_told_what_it_carries_and_costs(admin_client):
    account = make.account("Main")
    form = {
        "name": "Main",
        "weight": "100",
        "set_api_url": account.config["api_url"],
        "asks_routing": "1",
        "streams": ["critical", "marketing"],
        "sending_domains": "Example.com, *.example.org",
        "cost_per_1000": "0.10",
        "region": "eu",
    }

    admin_client.post(f"{PROVIDERS}{account.pk}/change/", form)
    account = ProviderAccount.objects.get()
    wrong = admin_client.post(
        f"{PROVIDERS}{account.pk}/change/", {**form, "sending_domains": "me@example.com"}
    )

    assert account.streams == ["critical", "marketing"]
    assert account.sending_domains == ["example.com", "*.example.org"]
    assert (account.price, account.region) == (0.1, "eu")
    assert "Write a domain, such as gmail.com" in text(wrong)


# --- Breakers -------------------------------------------------------------------------------


def test_an_open_breaker_says_why_and_since_when_and_can_be_reset(admin_client):
    account = broken()

    page = text(admin_client.get(f"{PROVIDERS}{account.pk}/change/"))
    card = text(admin_client.get(PROVIDERS))
    admin_client.post(f"{PROVIDERS}{account.pk}/reset/")

    for shown in (page, card):
        assert "A call ended in doubt: no answer within 20 s" in shown
        assert "Left alone for a while" in shown
    assert "Reset breaker" in page
    account.refresh_from_db()
    assert account.circuit == "closed"
    assert CircuitChange.objects.get(circuit="closed").reason == "Reset by admin."
    assert "Reset by admin." in text(admin_client.get(f"{PROVIDERS}{account.pk}/change/"))


def test_programs_see_breakers_and_reset_them_and_that_is_written_down():
    account = broken()
    api = Api()

    [seen] = api.get("system/status/").data["providers"]
    answer = api.post(f"system/providers/{account.pk}/reset/")

    assert (seen["circuit"], seen["circuit_reason"]) == (
        "open",
        "A call ended in doubt: no answer within 20 s",
    )
    assert answer.data == {"id": account.pk, "circuit": "closed", "was_open": True}
    assert AuditEntry.objects.get().action == "provider.reset"
    assert Api(make.api_key("read")).post(f"system/providers/{account.pk}/reset/").status == 403
    assert api.post("system/providers/0/reset/").status == 404


def test_the_command_resets_a_breaker_and_names_the_accounts_there_are(capsys):
    account = broken()

    call_command("reset_breaker", "Main")
    call_command("reset_breaker", "Main")
    with pytest.raises(CommandError, match="There are: Main"):
        call_command("reset_breaker", "Mian")

    account.refresh_from_db()
    assert account.circuit == "closed"
    said = capsys.readouterr().out
    assert "Main is given mail again." in said
    assert "nothing to reset" in said


# --- Reputation -----------------------------------------------------------------------------


def test_a_reputation_is_computed_by_the_hour_and_shown_as_a_curve(admin_client):
    campaign, good, bad = make.launched(), make.account("Good"), make.account("Bad")
    now = timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    facts = {"mailbox": "gmail", "hour": hour - timedelta(days=3), "sent": 10_000}
    CampaignStat.objects.create(campaign=campaign, provider=good, **facts)
    CampaignStat.objects.create(campaign=campaign, provider=bad, bounced=500, **facts)
    CampaignStat.objects.create(provider=bad, **facts | {"hour": hour, "complained": 2})

    scores = reputing.rate_accounts(now)

    assert scores[good.pk] == 100
    assert scores[bad.pk] == pytest.approx(100 * (1 - 0.025 / 0.1) * (1 - 0.0001 / 0.002))
    assert reputing.latest(now) == scores
    page = text(admin_client.get(f"{PROVIDERS}{bad.pk}/change/"))
    assert "20,000 sent, 500 bounced for good (2.5 %), 2 complained (0.01 %)" in page
    assert "<polyline" in text(admin_client.get(PROVIDERS))


def test_counting_again_changes_nothing_and_what_came_late_is_found():
    campaign, account = make.launched(), make.account()
    now = timezone.now()
    row = CampaignStat.objects.create(
        campaign=campaign, provider=account, mailbox="gmail", hour=now, sent=1000
    )
    make.handoff(campaign, account, status="done", in_flight_at=now, finished_at=now)
    make.handoff(campaign, account, status="refused", in_flight_at=now, trouble="unavailable")
    make.handoff(campaign, account, status="refused", trouble="")

    once, twice = (reputing.rate_accounts(now) for _ in range(2))
    CampaignStat.objects.filter(pk=row.pk).update(bounced=50)
    late = reputing.rate_accounts(now + timedelta(hours=1))

    assert once == twice
    traffic = reputing.traffic(now)[account.pk]
    assert (traffic.sent, traffic.calls, traffic.failed_calls) == (1000, 2, 1)
    assert late[account.pk] < once[account.pk]
