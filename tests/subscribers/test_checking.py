"""What is known of addresses, how lists act on it, and how it is found out anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from campaigns import targeting
from emailplatform.errors import InvalidInput
from subscribers import checking, consenting, enrolling, rechecking, tasks
from subscribers.flagging import Kind, Policy, Verdict
from subscribers.models import CheckRun, Domain, MailingList, Subscriber, Subscription
from subscribers.resolving import State
from tests import make
from tests.subscribers.files import imported
from tests.subscribers.nameserver import Zones, nameserver

pytestmark = pytest.mark.django_db
NOW = timezone.now()


@pytest.fixture
def zones(settings: Any) -> Iterator[Zones]:
    with nameserver() as zones:
        settings.DNS_RESOLVERS = [zones.address_of_server]
        settings.DNS_TIMEOUT_S = 1
        zones.good("shop.com")
        yield zones


def standing(email: str, source: MailingList) -> tuple[str, str]:
    row = Subscription.objects.get(subscriber__email=email, list=source)
    return row.status, row.held_for


# --- One address --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "verdict", "kinds"),
    [
        ("ana@shop.com", Verdict.OK, []),
        ("info@shop.com", Verdict.RISKY, [Kind.ROLE]),
        ("ana@mailinator.com", Verdict.RISKY, [Kind.DISPOSABLE]),
        ("ana@old.com", Verdict.RISKY, [Kind.NO_MX]),
        ("ana@nxdomain.com", Verdict.BAD, [Kind.NO_DOMAIN]),
        ("info@parked.com", Verdict.BAD, [Kind.NO_MAIL, Kind.ROLE]),
        ("ana@broken.com", Verdict.UNKNOWN, []),
        ("ana@demo.example", Verdict.UNKNOWN, []),
        ("no address", Verdict.BAD, []),
    ],
)
def test_an_address_has_a_verdict_and_flags_the_worst_first(
    zones: Zones, raw: str, verdict: str, kinds: list[str]
) -> None:
    zones.good("mailinator.com")
    zones.address("old.com")
    zones.mx("parked.com", ".")
    zones.broken.add("broken.com")

    found = checking.check(raw, NOW)

    assert (found.verdict, [flag.kind for flag in found.flags]) == (verdict, kinds)


def test_a_slip_comes_with_what_was_meant(zones: Zones) -> None:
    assert checking.check("ana@hotmal.com", NOW).suggestion == "ana@hotmail.com"


def test_a_domain_is_asked_about_once_while_its_answer_counts(zones: Zones) -> None:
    for number in range(5):
        checking.check(f"person{number}@shop.com", NOW)
    assert zones.asked["MX shop.com"] == 1

    checking.check("ana@shop.com", NOW + timedelta(days=8))
    assert zones.asked["MX shop.com"] == 2


def test_a_no_counts_for_a_shorter_time_than_a_yes(zones: Zones) -> None:
    checking.learn(["nxdomain.com", "shop.com"], NOW)

    due = dict(Domain.objects.values_list("name", "due_at"))
    assert due["nxdomain.com"] == NOW + timedelta(hours=1)
    assert due["shop.com"] == NOW + timedelta(days=7)


def test_a_resolver_that_goes_down_takes_back_nothing(zones: Zones) -> None:
    checking.learn(["nxdomain.com", "shop.com"], NOW)
    zones.broken |= {"nxdomain.com", "shop.com"}

    checking.learn(["nxdomain.com", "shop.com"], NOW + timedelta(days=9))

    states = dict(Domain.objects.values_list("name", "state"))
    assert states == {"nxdomain.com": State.MISSING, "shop.com": State.MAIL}
    assert checking.known_of(["a@nxdomain.com"])["a@nxdomain.com"].verdict == Verdict.BAD


def test_what_is_not_known_is_asked_again_later_and_later(zones: Zones) -> None:
    zones.broken.add("odd.com")
    waits = []
    for _ in range(3):
        checking.learn(["odd.com"], NOW)
        waits.append(Domain.objects.get().due_at - NOW)

    assert waits == [timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=20)]


# --- What lists do ------------------------------------------------------------------------------


def test_a_list_refuses_what_it_does_not_take_and_nobody_is_made() -> None:
    news = make.mailing_list("News", address_policy={Kind.DISPOSABLE: Policy.REFUSE})

    with pytest.raises(InvalidInput, match="“News” does not take this address"):
        enrolling.enrol("ana@mailinator.com", [news], source="API", now=NOW)

    assert not Subscriber.objects.exists()


def test_who_is_held_is_kept_but_gets_no_mail_until_released() -> None:
    news = make.mailing_list()
    person, _ = enrolling.enrol("ana@hotmal.com", [news], source="API", now=NOW)
    assert standing("ana@hotmal.com", news) == (Subscription.Status.HELD, Kind.TYPO)
    assert not Subscriber.objects.on_lists([news.pk]).exists()
    assert not Subscriber.objects.mailable().exists()

    Subscription.objects.clear([person.subscriptions.get().pk], NOW)

    assert standing("ana@hotmal.com", news) == (Subscription.Status.ACTIVE, "")
    assert Subscriber.objects.on_lists([news.pk]).mailable().get() == person


def test_who_was_on_the_list_before_is_not_held_when_they_come_again() -> None:
    news = make.mailing_list(address_policy={Kind.ROLE: Policy.REFUSE})
    make.subscriber("info@gmail.com", [news])

    enrolling.enrol("info@gmail.com", [news], source="API", now=NOW)

    assert standing("info@gmail.com", news) == (Subscription.Status.ACTIVE, "")


def test_held_on_one_list_a_person_gets_the_mail_of_another() -> None:
    strict, lax = make.mailing_list(), make.mailing_list(address_policy={Kind.TYPO: "accept"})
    enrolling.enrol("ana@hotmal.com", [strict, lax], source="API", now=NOW)

    assert Subscriber.objects.mailable().count() == 1
    assert targeting.measure({"lists": [strict.pk]}).reached == 0
    assert targeting.measure({"lists": [lax.pk]}).reached == 1


def test_who_held_people_leave_stays_left(zones: Zones) -> None:
    news = make.mailing_list()
    person, _ = enrolling.enrol("ana@hotmal.com", [news], source="API", now=NOW)

    consenting.unsubscribe(person, [news.pk], NOW)

    assert standing("ana@hotmal.com", news)[0] == Subscription.Status.UNSUBSCRIBED


def test_a_domain_found_missing_holds_its_people_and_found_again_lets_them_go(
    zones: Zones,
) -> None:
    news = make.mailing_list()
    enrolling.enrol("ana@later.com", [news], source="API", now=NOW)
    enrolling.enrol("ben@shop.com", [news], source="API", now=NOW)

    rechecking.work_on_due()
    assert standing("ana@later.com", news) == (Subscription.Status.HELD, Kind.NO_DOMAIN)
    assert standing("ben@shop.com", news) == (Subscription.Status.ACTIVE, "")

    zones.good("later.com")
    learnt = checking.learn(["later.com"], NOW + timedelta(days=1))
    assert learnt.released == 1
    assert standing("ana@later.com", news) == (Subscription.Status.ACTIVE, "")


def test_who_was_cleared_by_hand_is_not_held_again(zones: Zones) -> None:
    news = make.mailing_list()
    person, _ = enrolling.enrol("ana@nxdomain.com", [news], source="API", now=NOW)
    checking.learn(["nxdomain.com"], NOW)
    Subscription.objects.clear([person.subscriptions.get().pk], NOW)

    checking.learn(["nxdomain.com"], NOW)

    assert standing("ana@nxdomain.com", news)[0] == Subscription.Status.ACTIVE


# --- Imports ------------------------------------------------------------------------------------


def test_an_import_holds_refuses_and_accepts_as_its_list_says(zones: Zones) -> None:
    news = make.mailing_list(
        address_policy={Kind.DISPOSABLE: Policy.REFUSE, Kind.ROLE: Policy.HOLD}
    )
    make.subscriber("info@known.com", [news])

    work = imported(
        b"email\nana@mailinator.com\ninfo@shop.com\nben@hotmal.com\ncem@shop.com\ninfo@known.com\n",
        news,
    )

    assert work.refused.get().reason == "throw-away mailbox: refused by the list"
    assert standing("info@shop.com", news) == (Subscription.Status.HELD, Kind.ROLE)
    assert standing("ben@hotmal.com", news) == (Subscription.Status.HELD, Kind.TYPO)
    assert standing("cem@shop.com", news) == (Subscription.Status.ACTIVE, "")
    assert standing("info@known.com", news) == (Subscription.Status.ACTIVE, "")
    assert work.held_count == 2


def test_an_import_asks_nobody_but_uses_what_is_known_and_leaves_the_rest_to_the_job(
    zones: Zones,
) -> None:
    news = make.mailing_list()
    checking.learn(["nxdomain.com"], NOW)
    zones.asked.clear()

    imported(b"email\nana@nxdomain.com\nben@new.com\n", news)
    assert not zones.asked
    assert standing("ana@nxdomain.com", news) == (Subscription.Status.HELD, Kind.NO_DOMAIN)
    assert standing("ben@new.com", news)[0] == Subscription.Status.ACTIVE

    tasks.check_domains()
    assert standing("ben@new.com", news) == (Subscription.Status.HELD, Kind.NO_DOMAIN)


def test_a_domain_nobody_has_an_address_at_any_more_is_forgotten(zones: Zones) -> None:
    make.subscriber("ana@shop.com")
    Domain.objects.meet({"shop.com", "curious.com"})

    rechecking.work_on_due()

    assert list(Domain.objects.values_list("name", flat=True)) == ["shop.com"]
    assert zones.asked["MX curious.com"] == 0


# --- Re-checks ----------------------------------------------------------------------------------


def test_a_recheck_goes_through_a_list_and_counts_its_people(zones: Zones) -> None:
    news = make.mailing_list(address_policy={Kind.ROLE: Policy.HOLD})
    for email in ("a@shop.com", "info@shop.com", "b@nxdomain.com", "c@nxdomain.com"):
        make.subscriber(email, [news])
    make.subscriber("ana@hotmal.com", [news])
    make.subscriber("other@elsewhere.com")
    zones.broken.add("hotmal.com")

    work = rechecking.start(news)
    rechecking.run(work.pk)

    work.refresh_from_db()
    assert work.status == CheckRun.Status.DONE
    assert (work.domain_count, work.done_count, work.unknown_count) == (3, 3, 1)
    assert work.people == {"no_domain": 2, "typo": 1, "role": 1, "unknown": 1}
    assert work.held_count == 4
    assert zones.asked["MX elsewhere.com"] == 0


def test_a_recheck_asks_only_what_is_old_and_so_many_at_most(zones: Zones) -> None:
    now = timezone.now()
    for number in range(4):
        make.subscriber(f"a@shop{number}.com")
        checking.learn([f"shop{number}.com"], now - timedelta(days=100 * number))
    zones.asked.clear()

    work = rechecking.start(older_than_days=90, limit=2)
    rechecking.run(work.pk)

    assert sorted(each for each in zones.asked if each.startswith("MX")) == [
        "MX shop2.com",
        "MX shop3.com",
    ]


def test_a_recheck_lets_go_whom_the_list_accepts_by_now(zones: Zones) -> None:
    news = make.mailing_list()
    enrolling.enrol("ana@hotmal.com", [news], source="API", now=NOW)
    zones.good("hotmal.com")
    MailingList.objects.update(address_policy={Kind.TYPO: Policy.ACCEPT})

    work = rechecking.start(news)
    rechecking.run(work.pk)

    assert standing("ana@hotmal.com", news) == (Subscription.Status.ACTIVE, "")


def test_a_recheck_that_is_stopped_asks_no_more(zones: Zones) -> None:
    make.subscriber("a@shop.com")
    work = rechecking.start()

    work.cancel(NOW)

    assert not rechecking.run(work.pk)
    assert not zones.asked


def test_two_rechecks_at_a_time_are_refused() -> None:
    rechecking.start()

    with pytest.raises(rechecking.AlreadyChecking):
        rechecking.start()


def test_people_are_found_by_their_flags(zones: Zones) -> None:
    for email in ("ana@shop.com", "info@shop.com", "ben@hotmal.com", "informal@shop.com"):
        make.subscriber(email)
    Domain.objects.register()
    checking.learn(["shop.com", "hotmal.com"], NOW)

    def found(*kinds: str) -> list[str]:
        people = Subscriber.objects.flagged(kinds).order_by("email")
        return list(people.values_list("email", flat=True))

    assert found(Kind.ROLE) == ["info@shop.com"]
    assert found(Kind.TYPO) == ["ben@hotmal.com"]
    assert found(Kind.TYPO, Kind.ROLE) == ["ben@hotmal.com", "info@shop.com"]
    assert found() == []
