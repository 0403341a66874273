"""People and machines by their user agents."""

import pytest

from delivery.providers.machines import is_machine

PEOPLE = [
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/144.0.0.0 Safari/537.36 Edg/144.0.0.0",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17328; Pro)",
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.4.0",
    "Mozilla/5.0 (Linux; Android 13; CUBOT P80) Chrome/131.0 Mobile Safari/537.36",
    # Proxies that fetch when a person looks.
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
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


@pytest.mark.parametrize("user_agent", PEOPLE)
def test_a_mail_program_is_a_person(user_agent: str) -> None:
    assert is_machine(user_agent) is False


@pytest.mark.parametrize("user_agent", MACHINES)
def test_a_prefetcher_or_scanner_is_a_machine(user_agent: str) -> None:
    assert is_machine(user_agent) is True


def test_without_a_user_agent_nothing_is_claimed() -> None:
    assert is_machine("") is None
