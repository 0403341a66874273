"""What a user agent and an IP say of who looked: program, system, device, country.

ua-parser knows the patterns (uap-core, kept by many); a country comes from a GeoIP file in
MaxMind's format, if there is one (GEOIP_FILE). Both are remembered: most mail is read with few
programs, and what is asked for again costs nothing.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import NamedTuple

import maxminddb
from django.conf import settings
from ua_parser import parse

logger = logging.getLogger(__name__)

REMEMBERED = 20_000
CLIENTS = {
    "Apple Mail": "Apple Mail",
    "AppleMail": "Apple Mail",
    "GmailImageProxy": "Gmail",
    "YahooMailProxy": "Yahoo Mail",
    "Outlook": "Outlook",
    "Outlook-iOS": "Outlook",
    "MacOutlook": "Outlook",
    "Windows Live Mail": "Windows Live Mail",
    "Thunderbird": "Thunderbird",
    "Lotus Notes": "Notes",
    "Postbox": "Postbox",
    "Airmail": "Airmail",
    "Spark": "Spark",
    "Evolution": "Evolution",
    "BlueMail": "BlueMail",
    "DavMail": "DavMail",
}
"""What ua-parser calls a program that reads mail -> what people do. All others are browsers."""

_PROXIES = ("GmailImageProxy", "YahooMailProxy")
"""They hide system and device: what they claim is nobody's."""
_PHONES = ("iOS", "Android", "Windows Phone", "BlackBerry OS", "KaiOS")
_DESKTOPS = ("Windows", "Mac OS X", "Chrome OS", "Linux", "Ubuntu", "Fedora", "Debian")


class Look(NamedTuple):
    """Words for people; empty where nothing is known."""

    device: str = ""
    """desktop, mobile, tablet or bot."""
    client: str = ""
    """A program that reads mail."""
    browser: str = ""
    os: str = ""


@lru_cache(maxsize=REMEMBERED)
def look_of(user_agent: str) -> Look:
    """Return what a user agent says.

    >>> look_of("Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Thunderbird/128.0")
    Look(device='desktop', client='Thunderbird', browser='', os='Windows')
    """
    if not user_agent:
        return Look()
    said = parse(user_agent)
    family = said.user_agent.family if said.user_agent else ""
    client = CLIENTS.get(family, "")
    if family in _PROXIES:
        return Look(client=client)
    system = said.os.family if said.os else ""
    device = said.device.family if said.device else ""
    return Look(
        _device(system, device, user_agent), client, "" if client else family[:40], system[:30]
    )


def _device(system: str, device: str, user_agent: str) -> str:
    if device == "Spider":
        return "bot"
    if device == "iPad" or (system == "Android" and "Mobile" not in user_agent):
        return "tablet"
    if system in _PHONES:
        return "mobile"
    return "desktop" if system in _DESKTOPS else ""


@lru_cache(maxsize=REMEMBERED)
def country_of(ip: str) -> str:
    """Return the ISO code of an address's country; "" if it is not known, or there is no file."""
    reader = _reader(settings.GEOIP_FILE)
    if reader is None or not ip:
        return ""
    try:
        found = reader.get(ip)
    except (ValueError, maxminddb.InvalidDatabaseError):  # an IPv6 address, an IPv4 file
        return ""
    country = found.get("country") if isinstance(found, dict) else None
    code = country.get("iso_code") if isinstance(country, dict) else None
    return code if isinstance(code, str) and len(code) == 2 else ""


@lru_cache(maxsize=1)
def _reader(path: str) -> maxminddb.Reader | None:
    """Open the file once. One that cannot be read is said once, then done without."""
    if not path:
        return None
    try:
        return maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        logger.error("geoip_unreadable", extra={"path": path, "error": type(error).__name__})
        return None
