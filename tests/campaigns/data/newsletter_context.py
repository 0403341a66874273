"""The people of newsletter-20k.*: rendered, it is about 20 kB of HTML and 1.6 kB of text."""

from __future__ import annotations

from typing import Any

ITEMS = [
    {"title": f"Field guide no. {i}", "price": f"{9 + i}.90 EUR", "sku": f"fg-{i:04d}"}
    for i in range(5)
]
COMMON = {
    "subject": "Five guides & three experiments",
    "preheader": "The November issue",
    "company": "Example Press",
    "issue": "2026-11",
    "city": "Lisbon",
    "date": "22 November 2026",
    "since": "2019",
    "code": "VIP-20",
    "track": "https://t.example.test",
    "items_": ITEMS,
}


def context(i: int) -> dict[str, Any]:
    """Return the variables of person `i`; every second one is a member, which shows."""
    return COMMON | {
        "first_name": f"Ana{i}",
        "last_name": "D'Souza",
        "is_vip": i % 2 == 0,
        "email": f"u{i:06d}@example.test",
        "mid": f"m{i:012x}",
        "unsub": f"https://t.example.test/u/m{i:012x}?sig=0123456789abcdef",
    }
