"""Whose an open or a click was: by itself, and beside the others of its message."""

from __future__ import annotations

import timeit
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from webhooks import classifying, recognising
from webhooks.classifying import REASONS, Seen, Verdict, judge_alone, judge_message
from webhooks.marks import HIDDEN_LINK

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/144.0.0.0 Safari/537.36 Edg/144.0.0.0"
GOOGLE = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)

PEOPLE = [
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0",
    CHROME,
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17328; Pro)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.4.0",
    "Mozilla/5.0 (Linux; Android 13; CUBOT P80) Chrome/131.0 Mobile Safari/537.36",
    # Proxies that fetch when a person looks.
    GOOGLE,
    "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
]
MACHINES = [
    "Mozilla/5.0",
    "Mozilla/5.0 (Windows NT 10.0) Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Barracuda Sentinel (EE)",
    "Mozilla/5.0 (compatible; proofpoint-urlcheck)",
    "python-requests/2.32.0",
    "curl/8.5.0",
    "Go-http-client/2.0",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/130.0.0.0 Safari/537.36",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
]


def s(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def click(seconds: float, url: str = "/a", **more: object) -> Seen:
    given = {"ip": "198.51.100.7", "user_agent": CHROME, "told": None, "reason": "", **more}
    return Seen("clicked", s(seconds), url, **given)  # type: ignore[arg-type]


def opened(seconds: float, **more: object) -> Seen:
    return click(seconds, "", **more)._replace(type="opened")


def reasons(verdicts: list[Verdict]) -> list[str]:
    return [each.reason for each in verdicts]


# --- Alone -------------------------------------------------------------------------------


@pytest.mark.parametrize("user_agent", PEOPLE)
def test_a_mail_program_is_a_person(user_agent: str) -> None:
    assert judge_alone("opened", user_agent, "", None, "").is_machine is False


@pytest.mark.parametrize("user_agent", MACHINES)
@pytest.mark.parametrize("event_type", ["opened", "clicked"])
def test_a_prefetcher_or_scanner_is_a_machine(user_agent: str, event_type: str) -> None:
    assert judge_alone(event_type, user_agent, "", None, "") == (True, "agent", classifying.RULES)


def test_a_crawler_that_no_list_of_ours_names_is_known_by_its_kind() -> None:
    verdict = judge_alone("clicked", "BUbiNG (+http://law.di.unimi.it/BUbiNG.html)", "", None, "")

    assert verdict[:2] == (True, "crawler")


def test_without_a_user_agent_it_is_unsure() -> None:
    assert judge_alone("opened", "", "198.51.100.7", None, "")[:2] == (None, "no_agent")


@pytest.mark.parametrize(
    ("told", "verdict"), [(True, (True, "told")), (False, (False, "told_person"))]
)
def test_what_the_provider_says_decides_where_nothing_else_is_known(
    told: bool, verdict: tuple[bool, str]
) -> None:
    assert judge_alone("opened", "", "", told, "")[:2] == verdict


def test_no_provider_makes_a_person_of_a_known_machine() -> None:
    assert judge_alone("clicked", "Barracuda Sentinel", "", False, "").is_machine is True


def test_a_provider_knows_of_machines_that_look_like_people() -> None:
    assert judge_alone("opened", GOOGLE, "", True, "")[:2] == (True, "told")


def test_a_known_network_is_told_whatever_the_user_agent_claims() -> None:
    assert judge_alone("clicked", CHROME, "67.231.152.9", None, "")[:2] == (True, "network")
    assert judge_alone("clicked", CHROME, "::ffff:67.231.152.9", None, "")[:2] == (True, "network")
    assert judge_alone("clicked", CHROME, "67.231.160.0", None, "").is_machine is False
    assert judge_alone("clicked", CHROME, "67.231.143.255", None, "").is_machine is False


def test_who_follows_the_hidden_link_is_a_machine() -> None:
    assert judge_alone("clicked", CHROME, "", False, HIDDEN_LINK)[:2] == (True, "hidden_link")


def test_what_is_neither_open_nor_click_has_no_verdict() -> None:
    assert judge_alone("delivered", "curl/8", "", True, "") == (None, "", 0)


# --- Beside others -----------------------------------------------------------------------


def test_one_click_a_minute_after_delivery_is_a_persons() -> None:
    assert judge_message([click(60)], NOON) == [(False, "ordinary", classifying.RULES)]


def test_three_links_within_two_seconds_are_one_machine() -> None:
    clicks = [click(100, "/a"), click(101, "/b"), click(102, "/c"), click(300, "/a")]

    assert reasons(judge_message(clicks, None)) == [*["many_links"] * 3, "ordinary"]


def test_one_link_clicked_three_times_is_an_impatient_person() -> None:
    clicks = [click(100), click(100.5), click(101)]

    assert reasons(judge_message(clicks, None)) == ["ordinary"] * 3


def test_links_with_time_between_them_are_a_persons() -> None:
    clicks = [click(100, "/a"), click(102.1, "/b"), click(104.2, "/c")]

    assert reasons(judge_message(clicks, None)) == ["ordinary"] * 3


def test_the_visit_of_who_followed_the_hidden_link_is_a_machines_and_no_other() -> None:
    seen = [
        click(100, "", reason=HIDDEN_LINK),
        click(130, "/a"),
        opened(99),
        click(161, "/a"),
        click(120, "/a", ip="203.0.113.9"),
        click(120, "/a", user_agent="Mozilla/5.0 (Macintosh) Safari/605.1.15"),
    ]

    verdicts = judge_message(seen, None)

    assert reasons(verdicts[:3]) == ["hidden_link", "same_visit", "same_visit"]
    assert reasons(verdicts[3:]) == ["ordinary"] * 3


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (-61, "ordinary"),
        (-60, "too_fast"),
        (0, "too_fast"),
        (2.9, "too_fast"),
        (3, "fast"),
        (9.9, "fast"),
        (10, "ordinary"),
    ],
)
def test_a_click_is_too_fast_for_a_person_within_seconds_of_the_delivery(
    seconds: float, reason: str
) -> None:
    [verdict] = judge_message([click(seconds)], NOON)

    assert verdict.reason == reason
    assert verdict.is_machine is {"too_fast": True, "fast": None, "ordinary": False}[reason]


def test_an_open_right_at_delivery_is_unsure() -> None:
    assert judge_message([opened(1), opened(2)], NOON) == [
        (None, "fast", classifying.RULES),
        (False, "ordinary", classifying.RULES),
    ]


def test_many_mails_clicked_from_one_address_are_a_machines() -> None:
    assert reasons(judge_message([click(600, crowd=20)], NOON)) == ["crowd"]
    assert reasons(judge_message([click(600, crowd=19)], NOON)) == ["ordinary"]


def test_every_reason_has_words() -> None:
    codes = {value.reason for value in vars(classifying).values() if isinstance(value, Verdict)} - {
        ""
    }

    assert codes == set(REASONS)
    assert all(len(code) <= 20 for code in codes)


def test_a_flood_of_clicks_on_one_mail_is_judged_in_no_time() -> None:
    clicks = [click(100 + number / 10_000, f"/{number % 7}") for number in range(10_000)]

    seconds = timeit.timeit(lambda: judge_message(clicks, NOON), number=1)

    assert seconds < 1


# --- The lists ---------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _fresh_lists():
    recognising.forget()
    yield
    recognising.forget()


def own_list(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_list_of_ones_own_adds_to_ours_and_goes_first(settings, tmp_path: Path) -> None:
    settings.MACHINE_NETWORKS_FILE = own_list(
        tmp_path / "own.toml",
        """
        [[known]]
        name = "Our gateway"
        is_machine = true
        agents = ["^AcmeGate"]
        networks = ["203.0.113.0/28", "2001:db8::/48"]
        source = "ourselves"
        as_of = "2026-11"

        [[known]]
        name = "A person behind Proofpoint"
        is_machine = false
        networks = ["67.231.152.9"]
        source = "ourselves"
        as_of = "2026-11"
        """,
    )

    def reason(user_agent: str, ip: str) -> str:
        return judge_alone("clicked", user_agent, ip, None, "").reason

    assert reason("AcmeGate/1", "") == "agent"
    assert reason(CHROME, "203.0.113.15") == reason(CHROME, "2001:db8::7") == "network"
    assert reason(CHROME, "203.0.113.16") == reason(CHROME, "2001:db8:1::") == "ordinary"
    assert reason(CHROME, "67.231.152.8") == "network"
    assert judge_alone("clicked", CHROME, "67.231.152.9", None, "").is_machine is False


def test_networks_may_stand_in_a_file_as_apple_publishes_them(settings, tmp_path: Path) -> None:
    (tmp_path / "egress.csv").write_text("# relays\n203.0.113.0/31,GB,GB-EN,London,\n\n")
    settings.MACHINE_NETWORKS_FILE = own_list(
        tmp_path / "own.toml",
        "[[known]]\nname='Relay'\nis_machine=true\nof=['opened']\nfile='egress.csv'\n"
        "source='Apple'\nas_of='2026-11'\n",
    )

    assert judge_alone("opened", CHROME, "203.0.113.1", None, "").reason == "network"
    assert judge_alone("clicked", CHROME, "203.0.113.1", None, "").reason == "ordinary"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("known = [", "cannot be read"),
        ("", "no entries"),
        ("[[known]]\nname='x'\n", "entry 1: it needs a name"),
        (
            "[[known]]\nname='x'\nis_machine=true\nnetworks=['300.0.0.0/8']\nsource='s'\nas_of='2026'",
            "300.0.0.0/8",
        ),
        (
            "[[known]]\nname='x'\nis_machine=true\nagents=['(']\nsource='s'\nas_of='2026'\n",
            "entry 1 (x)",
        ),
        (
            "[[known]]\nname='x'\nis_machine=true\nfile='gone.csv'\nsource='s'\nas_of='2026'\n",
            "gone.csv cannot be read",
        ),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_in_words(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(recognising.BadList) as refused:
        recognising.load(Path(own_list(tmp_path / "own.toml", text)))

    assert words in str(refused.value)


def test_with_a_broken_list_of_ones_own_ours_still_holds(settings, tmp_path: Path, caplog) -> None:
    settings.MACHINE_NETWORKS_FILE = own_list(tmp_path / "own.toml", "")

    assert judge_alone("clicked", CHROME, "67.231.152.9", None, "").reason == "network"
    assert "known_machines_unreadable" in caplog.text


def test_a_million_verdicts_take_seconds() -> None:
    judge_alone("clicked", CHROME, "198.51.100.7", None, "")

    seconds = timeit.timeit(
        lambda: judge_alone("clicked", CHROME, "198.51.100.7", None, ""), number=20_000
    )

    assert seconds / 20_000 < 50e-6, "The budget is 10 µs; five times that on a busy machine."
