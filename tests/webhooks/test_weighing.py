"""Stored opens and clicks judged beside each other, and what is revised with them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery import counting, reports
from delivery.models import CampaignStat, Message
from delivery.providers.base import Event as Heard
from delivery.providers.base import EventType
from subscribers.models import Subscriber
from tests import make
from webhooks import recognising
from webhooks.classifying import RULES, Seen, judge_message
from webhooks.concluding import apply_events, arrival
from webhooks.marks import HIDDEN_LINK
from webhooks.models import Event

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/144.0.0.0 Safari/537.36"
THUNDERBIRD = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.4.0"
SCANNER = "Barracuda Sentinel (EE)"


@pytest.fixture(autouse=True)
def _in_earnest(settings):
    settings.JUDGE_PACE = True


def mailed(campaign: Any = None, account: Any = None) -> Message:
    campaign = campaign or make.launched()
    account = account or make.account()
    message = make.message(campaign, status="sent", provider=account, sent_at=NOON)
    counting.rebuild(campaign.pk)
    return message


def heard(message: Message, kind: str, seconds: float, **more: Any) -> Heard:
    at = NOON + timedelta(seconds=seconds)
    given: dict[str, Any] = {
        "ip": "198.51.100.7",
        "user_agent": CHROME,
        "dedupe_key": f"{message.pk} {kind} {seconds} {sorted(more.items())}",
        **more,
    }
    return Heard(EventType(kind), at, message.email, message_id=message.token, **given)


def click(message: Message, seconds: float, url: str = "/a", **more: Any) -> Heard:
    return heard(message, "clicked", seconds, url=url, **more)


def apply(message: Message, *events: Heard) -> None:
    with transaction.atomic():
        rows = [arrival(each, message.provider_id, None, False) for each in events]
        apply_events(rows, NOON + timedelta(hours=1))
    message.refresh_from_db()


def reasons(message: Message) -> list[str]:
    rows = Event.objects.filter(message_id=message.pk, type__in=["opened", "clicked"])
    return list(rows.order_by("occurred_at", "pk").values_list("machine_reason", flat=True))


def totals(message: Message) -> reports.Totals:
    assert message.campaign
    return reports.totals(message.campaign)


def engaged_at(message: Message) -> datetime | None:
    return Subscriber.objects.get(message=message).engaged_at


# --- Revised by what comes later ---------------------------------------------------------


def test_a_click_that_proves_to_be_part_of_a_burst_becomes_a_machines():
    message = mailed()
    apply(message, click(message, 100, "/a"))
    assert (message.clicked_at, message.person_clicked_at) == (NOON + timedelta(seconds=100),) * 2
    assert engaged_at(message) == message.clicked_at
    assert totals(message).person_clicked == 1

    apply(message, click(message, 101, "/b"))
    apply(message, click(message, 102, "/c"))

    assert reasons(message) == ["many_links"] * 3
    assert message.machine_clicked_at == NOON + timedelta(seconds=100)
    assert (message.clicked_at, message.person_clicked_at, message.delivered_at) == (None,) * 3
    assert engaged_at(message) is None
    assert (totals(message).clicked, totals(message).machine_clicked) == (0, 1)
    assert counting.rebuild(message.campaign_id) == {}


def test_a_person_who_clicked_as_well_keeps_their_mark():
    message = mailed()
    apply(message, heard(message, "delivered", 90), click(message, 100, "/a"))
    apply(message, click(message, 400, "/a", user_agent=THUNDERBIRD))

    apply(message, click(message, 101, "/b"), click(message, 102, "/c"))

    later = NOON + timedelta(seconds=400)
    assert (message.clicked_at, message.person_clicked_at) == (later, later)
    assert message.delivered_at == NOON + timedelta(seconds=90)
    assert engaged_at(message) == later
    assert counting.rebuild(message.campaign_id) == {}


def test_a_delivery_told_late_shows_that_a_click_was_too_fast():
    message = mailed()
    apply(message, click(message, 100))
    assert message.person_clicked_at

    apply(message, heard(message, "delivered", 99))

    assert reasons(message) == ["too_fast"]
    assert message.clicked_at is None
    assert message.delivered_at == NOON + timedelta(seconds=99)


def test_an_earlier_delivery_makes_a_person_of_it_again():
    message = mailed()
    apply(message, heard(message, "delivered", 99), click(message, 100))
    assert reasons(message) == ["too_fast"]

    apply(message, heard(message, "delivered", 10))

    assert reasons(message) == ["ordinary"]
    assert message.machine_clicked_at is None
    assert message.person_clicked_at == engaged_at(message) == NOON + timedelta(seconds=100)
    assert counting.rebuild(message.campaign_id) == {}


def test_who_follows_the_hidden_link_takes_their_opens_and_clicks_along():
    message = mailed()
    apply(message, heard(message, "opened", 100), click(message, 101))

    apply(message, click(message, 103, "", reason=HIDDEN_LINK))

    assert reasons(message) == ["same_visit", "same_visit", "hidden_link"]
    assert message.opened_at is None
    assert message.machine_opened_at == NOON + timedelta(seconds=100)


def test_an_open_after_the_hidden_link_was_followed_is_of_that_visit():
    message = mailed()
    apply(message, click(message, 103, "", reason=HIDDEN_LINK))

    apply(message, heard(message, "opened", 104))

    assert reasons(message) == ["hidden_link", "same_visit"]


def test_twenty_mails_clicked_from_one_address_are_one_machine():
    campaign, account = make.launched(), make.account()
    messages = [mailed(campaign, account) for _ in range(20)]
    for number, message in enumerate(messages[:19]):
        apply(message, click(message, 100 + number / 4))
    assert {reason for each in messages[:19] for reason in reasons(each)} == {"ordinary"}

    apply(messages[19], click(messages[19], 105))

    assert [reasons(each) for each in messages] == [["crowd"]] * 20
    assert totals(messages[0]).machine_clicked == 20
    assert totals(messages[0]).clicked == 0
    assert counting.rebuild(campaign.pk) == {}


def test_without_pace_neither_haste_nor_crowds_tell_anything(settings):
    settings.JUDGE_PACE = False
    message = mailed()

    apply(message, heard(message, "delivered", 99), click(message, 100))

    assert reasons(message) == ["ordinary"]


def test_what_is_unsure_counts_beside_people_not_among_them():
    message = mailed()

    apply(message, heard(message, "opened", 100, user_agent=""))

    assert message.opened_at
    assert message.person_opened_at is None
    told = totals(message)
    assert (told.opened, told.person_opened, told.unsure_opened) == (1, 0, 1)


@pytest.mark.django_db(transaction=True)
def test_two_workers_with_halves_of_a_burst_find_it_together():
    message = mailed()
    first = [click(message, 100, "/a"), click(message, 101, "/b")]
    last = click(message, 102, "/c")

    def apply_in_a_thread() -> None:
        try:
            apply(Message.objects.get(pk=message.pk), last)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as other:
        with transaction.atomic():
            apply(message, *first)
            waiting = other.submit(apply_in_a_thread)
            wait_for_a_lock()
        waiting.result()

    message.refresh_from_db()
    assert reasons(message) == ["many_links"] * 3
    assert message.clicked_at is None
    assert counting.rebuild(message.campaign_id) == {}


def wait_for_a_lock() -> None:
    """Return once somebody waits for a row of ours."""
    until = monotonic() + 20
    with connection.cursor() as cursor:
        while monotonic() < until:
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())"
                " OR NOT granted AND locktype = 'transactionid'"
            )
            if cursor.fetchone()[0]:
                return
    raise AssertionError("Nobody waits.")


# --- In any order ------------------------------------------------------------------------

looks = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(["delivered", "opened", "clicked", "clicked", "clicked", "hidden"]),
        st.sampled_from([0, 0.5, 1, 2, 3, 4, 9, 30, 65, 130, 3600]),
        st.sampled_from(["/a", "/b", "/c"]),
        st.sampled_from(["198.51.100.7", "203.0.113.9"]),
        st.sampled_from([CHROME, THUNDERBIRD, SCANNER, ""]),
    ),
    max_size=10,
)


@given(told=looks, data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_order_and_batches_end_at_the_same_verdicts_and_counters(
    told: list[Any], data: st.DataObject
):
    order = list(range(len(told)))
    shuffled = data.draw(st.permutations(order))
    size = data.draw(st.integers(1, 4))

    straight = outcome(told, order, 100)

    assert outcome(told, shuffled, size) == straight
    assert straight["verdicts"] == expected(told)
    assert straight["engaged"] == [last_seen(told, straight["verdicts"], index) for index in (0, 1)]


def outcome(told: list[Any], order: list[int], size: int) -> dict[str, Any]:
    with transaction.atomic():
        campaign, account = make.launched(), make.account()
        messages = [mailed(campaign, account) for _ in range(2)]
        for start in range(0, len(order), size):
            events = [as_heard(messages, told, n) for n in order[start : start + size]]
            apply(messages[0], *events)
        verdicts = Event.objects.values_list("dedupe_key", "is_machine", "machine_reason")
        state = {
            "verdicts": {int(key): (machine, reason) for key, machine, reason in verdicts},
            "messages": [marks(each) for each in messages],
            "engaged": [engaged_at(each) for each in messages],
        }
        assert counting.rebuild(campaign.pk) == {}
        state["counted"] = list(
            CampaignStat.objects.order_by("hour").values_list("hour", *counting.COUNTED)
        )
        transaction.set_rollback(True)
    return state


def as_heard(messages: list[Message], told: list[Any], number: int) -> Heard:
    index, kind, seconds, url, ip, agent = told[number]
    more: dict[str, Any] = {"ip": ip, "user_agent": agent, "dedupe_key": str(number)}
    if kind == "hidden":
        return click(messages[index], seconds, "", reason=HIDDEN_LINK, **more)
    if kind == "clicked":
        return click(messages[index], seconds, url, **more)
    return heard(messages[index], kind, seconds, **more)


def marks(message: Message) -> list[Any]:
    message.refresh_from_db()
    return [getattr(message, f"{name}_at") for name in counting.COUNTED if "bounced" not in name]


def expected(told: list[Any]) -> dict[int, tuple[bool | None, str]]:
    """Return the verdicts as the rules give them for all that was told, at once."""
    found: dict[int, tuple[bool | None, str]] = {}
    for index in range(2):
        own = [(number, *each[1:]) for number, each in enumerate(told) if each[0] == index]
        delivered = [each[2] for each in own if each[1] == "delivered"]
        seen = [each for each in own if each[1] != "delivered"]
        verdicts = judge_message(
            [as_seen(*each[1:]) for each in seen],
            NOON + timedelta(seconds=min(delivered)) if delivered else None,
        )
        found |= {each[0]: verdict[:2] for each, verdict in zip(seen, verdicts, strict=True)}
        found |= {each[0]: (None, "") for each in own if each[1] == "delivered"}
    return found


def last_seen(told: list[Any], verdicts: dict[int, Any], index: int) -> datetime | None:
    """Return when a person, or who may be one, has last opened or clicked."""
    times = [
        NOON + timedelta(seconds=each[2])
        for number, each in enumerate(told)
        if each[0] == index and each[1] != "delivered" and not verdicts[number][0]
    ]
    return max(times, default=None)


def as_seen(kind: str, seconds: float, url: str, ip: str, agent: str) -> Seen:
    at, is_hidden = NOON + timedelta(seconds=seconds), kind == "hidden"
    link = url if kind == "clicked" else ""
    return Seen(
        "opened" if kind == "opened" else "clicked",
        at,
        link,
        ip,
        agent,
        None,
        HIDDEN_LINK if is_hidden else "",
    )


# --- History -----------------------------------------------------------------------------


@pytest.fixture
def own_list(settings, tmp_path):
    """Return a function that makes an address a known machine's from now on."""

    def know(ip: str) -> None:
        path = tmp_path / "own.toml"
        path.write_text(
            f"[[known]]\nname='Ours'\nis_machine=true\nnetworks=['{ip}']\n"
            "source='ourselves'\nas_of='2026-11'\n"
        )
        settings.MACHINE_NETWORKS_FILE = str(path)
        recognising.forget()

    yield know
    recognising.forget()


def reclassify(capsys: Any, *args: str) -> str:
    call_command("reclassify", *args)
    return str(capsys.readouterr().out)


def test_history_is_judged_again_when_a_network_becomes_known(own_list, capsys):
    message, other = mailed(), mailed()
    apply(message, heard(message, "opened", 100), click(message, 200))
    apply(other, heard(other, "opened", 100, ip="203.0.113.9"))
    own_list("198.51.100.0/24")

    tried = reclassify(capsys, "--since", "1d", "--dry-run")
    message.refresh_from_db()
    assert message.person_opened_at
    done = reclassify(capsys, "--since", "1d")
    message.refresh_from_db()
    other.refresh_from_db()

    assert "3 opens and clicks looked at; 2 verdicts would change." in tried
    assert "2 verdicts changed" in done
    rows = [line.split() for line in done.splitlines()]
    change = ["person", "(ordinary)", "machine", "(network)", "1"]
    assert ["opened", *change] in rows
    assert ["clicked", *change] in rows
    assert (message.opened_at, message.clicked_at, engaged_at(message)) == (None,) * 3
    assert message.machine_opened_at
    assert other.person_opened_at
    assert totals(message).machine_opened == 1
    assert counting.rebuild(message.campaign_id) == {}
    assert "0 verdicts changed" in reclassify(capsys, "--since", "1d")


def test_one_campaign_alone_is_judged_again(own_list, capsys):
    message, other = mailed(), mailed()
    for each in (message, other):
        apply(each, heard(each, "opened", 100))
    own_list("198.51.100.7")

    reclassify(capsys, "--since", "2020-01-01", "--campaign", str(message.campaign_id))

    assert (reasons(message), reasons(other)) == (["network"], ["ordinary"])


def test_what_was_judged_before_there_were_rules_is_kept_and_marked(capsys):
    message = mailed()
    apply(message, heard(message, "opened", 100), click(message, 200))
    Event.objects.filter(type="opened").update(is_machine=False)
    Event.objects.filter(type="clicked").update(is_machine=True)
    Event.objects.update(machine_reason="", machine_rules=0, machine_told=None)
    Message.objects.update(
        person_opened_at=None,
        person_clicked_at=None,
        clicked_at=None,
        machine_clicked_at=NOON + timedelta(seconds=200),
    )
    counting.rebuild(message.campaign_id)

    reclassify(capsys, "--since", "1d")

    message.refresh_from_db()
    rows = Event.objects.order_by("type").values_list(
        "is_machine", "machine_reason", "machine_rules"
    )
    assert list(rows) == [(True, "told", RULES), (False, "ordinary", RULES)]
    assert message.person_opened_at == message.opened_at
    assert message.machine_clicked_at == NOON + timedelta(seconds=200)
    assert totals(message).person_opened == 1
    assert counting.rebuild(message.campaign_id) == {}


def test_a_run_that_was_broken_off_goes_on_where_it_was(own_list, capsys):
    message, other = mailed(), mailed()
    for each in (message, other):
        apply(each, heard(each, "opened", 100))
    own_list("198.51.100.7")
    second = Event.objects.get(message_id=other.pk)

    said = reclassify(capsys, "--from-id", str(second.pk))

    assert (reasons(message), reasons(other)) == (["ordinary"], ["network"])
    assert f"--from-id {second.pk + 1}" in said


@pytest.mark.parametrize("since", ["", "soon", "7x"])
def test_since_when_must_be_said(since):
    with pytest.raises(CommandError, match="Say since when"):
        call_command("reclassify", "--since", since)
