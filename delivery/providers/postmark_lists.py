"""Postmark's suppressions of each message stream.

Source: developer docs "Suppressions API". A stream's list comes whole; 50 are added or taken off
at once. It keeps complaints: those it takes off for nobody.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from delivery.providers import hearing
from delivery.providers.asking import Questions
from delivery.providers.base import Account
from delivery.providers.lists import Lists, Page, listed, rows, segment

REASONS: Mapping[str, str] = MappingProxyType(
    {
        "HardBounce": "bounced",
        "SpamComplaint": "complained",
        "ManualSuppression": "unsubscribed",
    }
)


class PostmarkLists(Lists):
    label: ClassVar[str] = "Postmark"
    most: ClassVar[int] = 50
    stops_one_stream: ClassVar[bool] = True

    def __init__(self, account: Account) -> None:
        self._base = (account["api_url"] or "https://api.postmarkapp.com/").rstrip("/")
        marketing = account["message_stream"] or "broadcast"
        self.places = sorted({marketing, account["transactional_stream"] or "outbound"})
        reasons = ("bounced", "blocked", "complained", "unsubscribed")
        self.takes = dict.fromkeys(reasons, marketing)
        token = account["server_token"]
        headers = {"Accept": "application/json", "X-Postmark-Server-Token": token}
        self._questions = Questions("Postmark", headers=headers)

    def __exit__(self, *_: object) -> None:
        self._questions.close()

    def page(self, place: str, cursor: str) -> Page:
        answer = hearing.mapping(self._questions.get(f"{self._at(place)}/dump"))

        def reason(row: Mapping[str, object]) -> str:
            return REASONS.get(hearing.text(row.get("SuppressionReason")), "")

        return Page(listed(rows(answer.get("Suppressions")), "EmailAddress", reason, "CreatedAt"))

    def add(self, place: str, emails: Sequence[str], reason: str) -> Sequence[str]:
        return self._tell(self._at(place), emails, "Suppressed")

    def remove(self, place: str, email: str) -> bool:
        return bool(self._tell(f"{self._at(place)}/delete", [email], "Deleted"))

    def _at(self, place: str) -> str:
        return f"{self._base}/message-streams/{segment(place)}/suppressions"

    def _tell(self, url: str, emails: Sequence[str], done: str) -> list[str]:
        told = {"Suppressions": [{"EmailAddress": email} for email in emails]}
        answer = hearing.mapping(self._questions.send("POST", url, told))
        found = rows(answer.get("Suppressions"))
        return [hearing.text(r.get("EmailAddress")) for r in found if r.get("Status") == done]
