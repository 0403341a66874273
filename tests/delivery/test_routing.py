"""Which provider gets a hand-off: who may, who suits best, and what is written down of it."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from delivery import routing, screening
from delivery.lanes import Lane
from delivery.models import Handoff, Mail, Message, ProviderAccount, RoutingRule
from delivery.providers.base import Unavailable
from delivery.routing import NoProvider
from delivery.sending import send_slice
from emailplatform.secrets import address_key
from tests import make, scripted
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db
LANE = Lane("marketing", "gmail")


@pytest.fixture(autouse=True)
def _scripted(monkeypatch):
    scripted.install(monkeypatch)


def chosen(lane: Lane = LANE, sender: str = "") -> str:
    return routing.choose(lane, timezone.now(), sender).account.name


def excluded(lane: Lane = LANE, sender: str = "") -> dict[str, str]:
    reason = routing.choose(lane, timezone.now(), sender).reason
    return {each["name"]: each["why"] for each in reason.get("left_out", [])}


def rule(*accounts: ProviderAccount, **fields) -> RoutingRule:
    defaults = {"name": f"Rule {RoutingRule.objects.count() + 1}"}
    pks = [each.pk for each in accounts]
    return RoutingRule.objects.create(providers=pks, **{**defaults, **fields})


def mail(sender: str, to: str = "ana@gmail.com", stream: str = "transactional") -> Message:
    message = Message.objects.create(
        email=to, address_key=address_key(to), mailbox="gmail", stream=stream
    )
    Mail.objects.create(message=message, from_email=sender, subject="Hello", text="Hello")
    return message


def test_who_cannot_be_had_is_left_out_with_the_reason(settings):
    now = timezone.now()
    scripted.account("works")
    scripted.account("paused", status="paused")
    scripted.account("other", streams=["critical"])
    scripted.account("elsewhere", sending_domains=["example.org"])
    scripted.account(
        "open", circuit="open", cooling_until=now + timedelta(seconds=60), last_error="503"
    )
    scripted.account("tried", circuit="half_open", probe_until=now + timedelta(seconds=60))

    assert excluded(sender="example.com") == {
        "paused": "is paused",
        "other": "does not carry marketing mail",
        "elsewhere": "may not send from example.com",
        "open": "is tried again in 60 s: 503",
        "tried": "is being tried by another call",
    }


def test_the_cheaper_of_two_healthy_providers_gets_the_mail():
    scripted.account("dear", cost_per_1000=Decimal("1.00"))
    scripted.account("cheap", cost_per_1000=Decimal("0.10"))

    assert {chosen() for _ in range(10)} == {"cheap"}


def test_the_provider_where_we_are_wins_if_all_else_is_equal(settings):
    settings.REGION = "eu"
    scripted.account("far", region="us")
    scripted.account("near", region="EU")

    assert {chosen() for _ in range(10)} == {"near"}


def test_weights_of_the_score_are_settings(settings):
    settings.REGION = "eu"
    settings.ROUTING_WEIGHTS = (0.0, 0.0, 1.0, 0.0)
    scripted.account("far", region="us", cost_per_1000=Decimal(1))
    scripted.account("near", region="eu", cost_per_1000=Decimal(2))

    assert chosen() == "far"


def test_a_provider_whose_calls_fail_gets_less_until_they_are_old():
    campaign = make.launched()
    weak, strong = scripted.account("weak"), scripted.account("strong")
    began = timezone.now() - timedelta(minutes=1)
    for account, trouble in ((weak, "unavailable"), (strong, "")):
        for _ in range(20):
            make.handoff(
                campaign,
                account,
                status="refused" if trouble else "done",
                trouble=trouble,
                started_at=began,
                in_flight_at=began,
                finished_at=began,
            )

    assert {chosen() for _ in range(10)} == {"strong"}
    Handoff.objects.update(started_at=began - timedelta(minutes=59))
    assert {chosen() for _ in range(40)} == {"strong", "weak"}


def test_nearly_equal_providers_share_mail_without_a_campaign_by_weight():
    scripted.account("big", weight=300)
    scripted.account("small", weight=100)

    got = Counter(chosen() for _ in range(400))

    assert got["big"] == pytest.approx(300, abs=60)


def test_every_hand_off_keeps_the_scores_the_rule_and_who_was_left_out():
    main = scripted.account("main", cost_per_1000=Decimal(1))
    scripted.account("spare", cost_per_1000=Decimal(2))
    scripted.account("paused", status="paused")
    first = rule(main, name="Main first")
    make.message(make.launched(), route=first.pk)

    send_slice(5)

    reason = Handoff.objects.get().reason
    assert reason["how"] == "the first of its rule that can take it"
    assert reason["rule"] == {"id": first.pk, "name": "Main first"}
    assert reason["chosen"] == "main"
    assert [each["name"] for each in reason["candidates"]] == ["main", "spare"]
    assert reason["candidates"][1] == {
        "name": "spare",
        "health": 1.0,
        "free": 1.0,
        "cost": 0.5,
        "region": 0.5,
        "total": 0.85,
        "weight": 100,
        "sent": 0,
    }
    assert reason["left_out"] == [{"name": "paused", "why": "is paused"}]


def test_a_rule_asks_its_providers_in_their_order_and_then_the_others():
    one, two, other = (scripted.account(name) for name in ("one", "two", "other"))
    lane = Lane("marketing", "gmail", route=rule(two, one).pk)

    assert chosen(lane) == "two"
    two.pause()
    assert chosen(lane) == "one"
    one.pause()
    assert chosen(lane) == "other"
    other.pause()


def test_a_strict_rule_rather_waits_than_goes_another_way():
    one = scripted.account("one")
    scripted.account("other")
    lane = Lane("marketing", "gmail", route=rule(one, is_strict=True, name="Only one").pk)

    assert chosen(lane) == "one"
    one.pause()
    with pytest.raises(NoProvider, match="is not on the list of the rule “Only one”"):
        routing.choose(lane, timezone.now())


def test_a_rule_that_is_gone_or_switched_off_counts_as_none():
    one, two = scripted.account("one"), scripted.account("two")
    gone, off = rule(one, is_strict=True), rule(one, is_strict=True, is_active=False)
    lanes = [Lane("marketing", "gmail", route=each.pk) for each in (gone, off)]
    gone.delete()
    one.pause()

    assert [chosen(lane) for lane in lanes] == [two.name, two.name]


def test_a_password_reset_does_not_try_a_broken_provider_while_another_works():
    past = timezone.now() - timedelta(seconds=1)
    broken = scripted.account("broken", circuit="open", cooling_until=past)
    healthy = scripted.account("healthy")

    assert chosen(Lane("critical", "gmail")) == "healthy"
    healthy.pause()
    assert chosen(Lane("critical", "gmail")) == "broken"
    broken.refresh_from_db()
    assert broken.circuit == "half_open"


def test_what_a_provider_cannot_take_goes_to_the_next_in_the_same_slice():
    campaign = make.launched()
    for _ in range(30):
        make.message(campaign)
    first, second = scripted.account("first", batch_size=10), scripted.account("second")
    make_it_first(first)
    Scripted.whole[first.pk] = scripted.raising(Unavailable("503"))

    assert send_slice(5) == 40

    assert len(Scripted.sent_to(second)) == 30
    assert set(Message.objects.values_list("status", flat=True)) == {"sent"}
    assert [each.provider.name for each in Handoff.objects.order_by("pk")][:2] == [
        "first",
        "second",
    ]


def make_it_first(account: ProviderAccount) -> None:
    first = rule(account, name="First")
    Message.objects.update(route=first.pk)


def test_a_provider_gets_no_mail_from_a_domain_that_is_not_its_own():
    campaign = make.launched(from_email="news@brand.example")
    for _ in range(3):
        make.message(campaign)
    stranger = scripted.account("stranger", sending_domains=["other.example"])
    own = scripted.account("own", sending_domains=["*.example"])

    send_slice(5)

    assert Scripted.sent_to(stranger) == []
    assert len(Scripted.sent_to(own)) == 3


def test_failover_does_not_cross_the_domain_either():
    campaign = make.launched(from_email="news@brand.example")
    make.message(campaign)
    stranger = scripted.account("stranger", sending_domains=["other.example"])
    own = scripted.account("own", sending_domains=["brand.example"])
    Scripted.whole[own.pk] = scripted.raising(Unavailable("503"))

    send_slice(1)

    campaign.refresh_from_db()
    assert Scripted.sent_to(stranger) == []
    assert Message.objects.get().status == "queued"
    assert "stranger may not send from brand.example" in campaign.problem


def test_mail_by_api_goes_by_its_own_domain_and_one_nobody_may_send_holds_up_no_other():
    nobodys = mail("a@nobody.example")
    of_one, of_two = mail("a@one.example"), mail("A@TWO.example")
    one = scripted.account("one", sending_domains=["one.example"])
    two = scripted.account("two", sending_domains=["two.example"])

    send_slice(5)

    status = dict(Message.objects.values_list("pk", "status"))
    assert status == {nobodys.pk: "queued", of_one.pk: "sent", of_two.pk: "sent"}
    assert dict(Message.objects.values_list("pk", "provider")) == {
        nobodys.pk: None,
        of_one.pk: one.pk,
        of_two.pk: two.pk,
    }


def test_choosing_asks_the_database_nothing_while_what_is_known_is_fresh(
    settings, django_assert_num_queries
):
    settings.ROUTING_FRESH_S = 60
    campaign = make.launched()
    scripted.account()
    scripted.account()
    screening.forget()
    lane = Lane("marketing", "gmail", campaign.pk)
    for _ in range(10):
        routing.choose(lane, timezone.now())

    with django_assert_num_queries(0):
        routing.choose(lane, timezone.now())
    settings.ROUTING_FRESH_S = 0
