"""Whether an open or a click was a person's or a machine's, by what the event itself says.

Rates and timing (many links at once, seconds after delivery) are not looked at here.
"""

import re
from functools import lru_cache

APPLE_PRIVACY_PROXY = "Mozilla/5.0"
"""Apple Mail Privacy Protection loads every image of every mail under exactly this name."""

_GMAIL_PREFETCH = "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
"""Gmail fetching images before anybody looked (not GoogleImageProxy, which fetches on view)."""

_ON_BEHALF_OF_A_PERSON = re.compile(r"GoogleImageProxy|ggpht\.com|YahooMailProxy", re.IGNORECASE)
"""Proxies that load an image when a person looks: human, though IP and device are the proxy's."""

_MACHINE = re.compile(
    r"(?<!cu)bot\b|crawl|spider|scanner|preview\b|slurp|facebookexternalhit|whatsapp|skypeuripreview"
    r"|barracuda|proofpoint|mimecast|symantec|messagelabs|fireeye|trendmicro|sophos|ironport|zscaler"
    r"|headlesschrome|phantomjs|puppeteer|playwright"
    r"|python-requests|python-urllib|aiohttp|httpx|curl/|wget|go-http-client|libwww|\bjava/|apache-httpclient"
    r"|node-fetch|axios|guzzlehttp|powershell|\bruby\b|scrapy",
    re.IGNORECASE,
)
"""Link checkers, mail gateways, libraries. `(?<!cu)`: Cubot is a make of telephone."""


@lru_cache(maxsize=4096)
def is_machine(user_agent: str) -> bool | None:
    """Return True for a machine's user agent, False for a person's, None if there is none.

    >>> is_machine("Mozilla/5.0"), is_machine("")
    (True, None)
    """
    if not user_agent:
        return None
    if _ON_BEHALF_OF_A_PERSON.search(user_agent):
        return False
    if user_agent == APPLE_PRIVACY_PROXY or user_agent.endswith(_GMAIL_PREFETCH):
        return True
    return bool(_MACHINE.search(user_agent))
