"""SendGrid's bounces, invalid addresses, spam reports and global unsubscribes.

Source: API reference "Suppressions". Pages by limit (500) and offset. Only global unsubscribes can
be added to. Its "blocks" are not read: they stop no later mail there, and say of mail what its
recipient cannot help.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from delivery.providers.asking import Questions
from delivery.providers.base import Account
from delivery.providers.lists import Lists, Page, listed, rows, segment

LIMIT = 500
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "bounces": "bounced",
        "invalid_emails": "bounced",
        "spam_reports": "complained",
        "unsubscribes": "unsubscribed",
    }
)


class SendGridLists(Lists):
    label: ClassVar[str] = "SendGrid"
    places = tuple(REASONS)
    most: ClassVar[int] = 1_000
    takes: Mapping[str, str] = MappingProxyType(
        dict.fromkeys(("bounced", "blocked", "complained", "unsubscribed"), "unsubscribes")
    )

    def __init__(self, account: Account) -> None:
        self._base = (account["api_url"] or "https://api.sendgrid.com/v3/").rstrip("/")
        self._questions = Questions(
            "SendGrid", headers={"Authorization": f"Bearer {account['api_key']}"}
        )

    def __exit__(self, *_: object) -> None:
        self._questions.close()

    def page(self, place: str, cursor: str) -> Page:
        offset = int(cursor or 0)
        url = f"{self._base}/suppression/{place}"
        found = rows(self._questions.get(url, limit=LIMIT, offset=offset))
        following = str(offset + LIMIT) if len(found) == LIMIT else ""
        return Page(listed(found, "email", lambda _: REASONS[place], "created"), following)

    def add(self, place: str, emails: Sequence[str], reason: str) -> Sequence[str]:
        told = {"recipient_emails": list(emails)}
        self._questions.send("POST", f"{self._base}/asm/suppressions/global", told)
        return emails

    def remove(self, place: str, email: str) -> bool:
        path = "asm/suppressions/global" if place == "unsubscribes" else f"suppression/{place}"
        self._questions.send("DELETE", f"{self._base}/{path}/{segment(email)}")
        return True
