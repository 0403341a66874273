"""Made-up people: a CSV file of any length, and lists that hold the first so many of them."""

from __future__ import annotations

from pathlib import Path

from django.db import connection

from subscribers.models import MailingList

HEADER = "Email,First name,Last name,Language,Country,Member number,Member\n"
MAPPING = {"Member number": "attributes.mid", "Member": "attributes.is_vip"}
"""What the newsletter asks for beyond the usual fields."""

DOMAINS: tuple[str, ...] = (
    ("gmail.com",) * 8 + ("outlook.com",) * 4 + ("yahoo.com",) * 2 + ("icloud.com",)
)
DOMAINS += tuple(f"mail{number}.example" for number in range(5))
"""Shares of mailbox providers as in a usual list. No mail to them leaves the machine."""


def write_csv(path: Path, count: int) -> None:
    """Write a file of `count` different people."""
    with path.open("w", encoding="utf-8") as file:
        file.write(HEADER)
        for number in range(count):
            domain = DOMAINS[number % len(DOMAINS)]
            member = "yes" if number % 2 else "no"
            file.write(
                f"person{number:07d}@{domain},Ana{number},D'Souza,en,PT,m{number:012x},{member}\n"
            )


def first_people(name: str, source: MailingList, count: int) -> MailingList:
    """Return a new list of the first `count` people of another one."""
    target = MailingList.objects.create(name=name)
    sql = """
        INSERT INTO subscribers_subscription (subscriber_id, list_id, status)
        SELECT subscriber_id, %s, 'active' FROM subscribers_subscription
        WHERE list_id = %s AND status = 'active' ORDER BY subscriber_id LIMIT %s
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [target.pk, source.pk, count])
    return target
