"""Mailgun's bounces, complaints and unsubscribes of a domain.

Source: API reference "Suppressions". Pages of up to 1,000 with `paging.next`, an empty one is the
last; POST takes up to 1,000 at once. Who unsubscribed from a tag alone is not listed here.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from delivery.providers import hearing
from delivery.providers.asking import Questions
from delivery.providers.base import Account, Unavailable
from delivery.providers.lists import Lists, Page, listed, rows, segment

REASONS: Mapping[str, str] = MappingProxyType(
    {"bounces": "bounced", "complaints": "complained", "unsubscribes": "unsubscribed"}
)


class MailgunLists(Lists):
    label: ClassVar[str] = "Mailgun"
    places = tuple(REASONS)
    most: ClassVar[int] = 1_000
    takes: Mapping[str, str] = MappingProxyType(
        {reason: place for place, reason in REASONS.items()} | {"blocked": "bounces"}
    )

    def __init__(self, account: Account) -> None:
        base = (account["api_url"] or "https://api.mailgun.net/v3").rstrip("/")
        self._base = f"{base}/{segment(account['domain'])}"
        self._questions = Questions("Mailgun", auth=("api", account["api_key"]))

    def __exit__(self, *_: object) -> None:
        self._questions.close()

    def page(self, place: str, cursor: str) -> Page:
        first = f"{self._base}/{place}"
        if cursor and not cursor.startswith(
            (f"{first}?", f"{first}/")
        ):  # the key goes nowhere else
            raise Unavailable("Mailgun's next page is not at Mailgun's address.")
        asked = {} if cursor else {"limit": self.most}
        answer = hearing.mapping(self._questions.get(cursor or first, **asked))
        found = rows(answer.get("items"))
        following = hearing.text(hearing.mapping(answer.get("paging")).get("next"))

        def reason(row: Mapping[str, Any]) -> str:
            return REASONS[place] if "*" in row.get("tags", "*") else ""

        return Page(listed(found, "address", reason, "created_at"), following if found else "")

    def add(self, place: str, emails: Sequence[str], reason: str) -> Sequence[str]:
        entries = [{"address": email} for email in emails]
        self._questions.send("POST", f"{self._base}/{place}", entries)
        return emails

    def remove(self, place: str, email: str) -> bool:
        self._questions.send("DELETE", f"{self._base}/{place}/{segment(email)}")
        return True
