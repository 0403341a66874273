"""What the OpenAPI page shows as examples: name of the component -> an object."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_AT = "2026-11-24T08:12:03Z"
_PERSON: dict[str, Any] = {
    "first_name": "Ann",
    "last_name": "Lee",
    "language": "en",
    "time_zone": "Europe/Lisbon",
    "country": "PT",
    "attributes": {"plan": "pro", "visits": 3},
    "tags": ["early"],
}
_RULES = {"match": "all", "rules": [{"field": "country", "op": "is", "value": "PT"}]}
_LIST = {
    "name": "Customers", "description": "Bought at least once", "double_opt_in": True,
    "is_open": True, "address_policy": {"typo": "hold"},
}  # fmt: skip
_SEGMENT = {"name": "Portugal", "description": "", "rules": _RULES}
_WANTED = {
    "mapping": {"Mail": "email", "Plan": "attributes.plan"},
    "known": "update",
    "tags": "fair,2026",
    "list": 7,
}
_COUNTS = {
    "rows": 1200, "created_count": 900, "updated_count": 250, "unchanged_count": 30,
    "duplicate_count": 12, "refused_count": 8, "subscribed_count": 1150, "unmailable_count": 5,
}  # fmt: skip
_ENGAGEMENT = {
    "score": 63, "stage": "active", "churn": 0.12, "received": 24, "opened": 11, "clicked": 4,
    "replied": 0, "converted": 1, "last_received_at": _AT, "last_opened_at": _AT,
    "last_clicked_at": _AT, "last_replied_at": None, "last_converted_at": _AT, "best_hour": 9,
}  # fmt: skip

EXAMPLES: Mapping[str, Any] = MappingProxyType(
    {
        "Subscriber": {
            "id": 481,
            "email": "ann@example.com",
            "status": "active",
            "status_changed_at": _AT,
            **_PERSON,
            "mailbox": "other",
            "source": "API",
            "created_at": _AT,
            "updated_at": _AT,
            "subscriptions": [
                {"list": 7, "list_name": "Customers", "status": "active", "changed_at": _AT}
            ],
            "engagement": _ENGAGEMENT,
        },
        "List": {"id": 7, **_LIST, "created_at": _AT},
        "Member": {
            "subscriber": 481,
            "email": "ann@example.com",
            "status": "active",
            "held_for": "",
            "source": "API",
            "created_at": _AT,
            "changed_at": _AT,
        },
        "Enlisted": {
            "accepted": 1,
            "refused": [{"email": "nobody", "message": "“nobody” is no e-mail address."}],
        },
        "Delisted": {"changed": 1},
        "Segment": {
            "id": 3,
            **_SEGMENT,
            "sentence": "Country is Portugal",
            "created_at": _AT,
        },
        "Count": {"count": 9412},
        "Overlap": {"only_this": 812, "both": 390, "only_other": 77},
        "SegmentField": {
            "field": "country",
            "label": "Country",
            "kind": "choice",
            "group": "Person",
            "ops": [{"op": "is", "label": "is", "value": "choice"}],
            "options": [{"value": "PT", "label": "Portugal"}],
        },
        "Import": {
            "id": 12,
            "status": "done",
            "filename": "people.csv",
            **_WANTED,
            "tags": ["fair", "2026"],
            "sheet": "",
            "sheets": [],
            "size": 48213,
            "offset": 48213,
            **_COUNTS,
            "held_count": 0,
            "reasons": {"no e-mail address": 8},
            "warnings": {},
            "error": "",
            "created_at": _AT,
            "started_at": _AT,
            "finished_at": _AT,
            "undo_asked_at": None,
            "undone_at": None,
            "undone_count": 0,
        },
        "Report": {**_COUNTS, "reasons": {"no e-mail address": 8}, "warnings": {}},
        "Consent": {
            "id": 9001,
            "number": 1,
            "action": "subscribed",
            "lists": [7],
            "via": "form",
            "source": "Sign-up form “Footer”",
            "language": "en",
            "text": "Send me the newsletter.",
            "text_version": "3",
            "at": _AT,
            "details": None,
            "erased_at": None,
            "hash": "5f2b" * 16,
        },
        "TrackToken": {"token": "eyJwIjo0ODF9:1vNqkT:example"},
        "AddressCheck": {
            "email": "ann@gmial.com",
            "verdict": "risky",
            "problem": "",
            "flags": [{"code": "typo", "reason": "gmial.com looks like gmail.com."}],
            "suggestion": "ann@gmail.com",
            "detail": "",
            "checked_at": _AT,
        },
        "Audience": {
            "total": 9412,
            "by_status": {"active": 9000, "unsubscribed": 412},
            "by_stage": {"active": 6100, "dormant": 2900},
            "added_30d": 320,
            "left_30d": 41,
            "lists": 4,
            "segments": 9,
            "suppressions": 530,
            "counted_at": _AT,
        },
        "Suppression": {
            "id": 77,
            "address_key": "9c1e" * 16,
            "reason": "blocked",
            "stream": "marketing",
            "list": None,
            "source": "API",
            "expires_at": "2030-03-01T00:00:00Z",
            "created_at": _AT,
        },
        "Taken": {
            "rows": 3,
            "new": 2,
            "known": 0,
            "refused": 1,
            "reasons": {"complained": 1, "bounced": 1},
            "problems": ["Line 4 has neither an address nor a hash of ours."],
        },
        "Tags": {"results": [{"tag": "early", "count": 120}]},
        "TagsChanged": {"changed": 120, "more": False},
        "TrackedAnswer": {"accepted": 1},
        "History": {
            "next": None,
            "results": [
                {
                    "kind": "event",
                    "id": 48213,
                    "at": _AT,
                    "type": "clicked",
                    "campaign": 12,
                    "details": {"url": "https://shop.example.com/", "verdict": "person"},
                }
            ],
        },
        "Trends": {
            "period": "day",
            "time_zone": "Europe/Lisbon",
            "points": [
                {
                    "start": "2026-11-24T00:00:00Z",
                    "sent": 9412,
                    "delivered": 9320,
                    "deferred": 14,
                    "bounced": 60,
                    "soft_bounced": 18,
                    "dropped": 0,
                    "opened": 4100,
                    "person_opened": 2300,
                    "machine_opened": 1200,
                    "clicked": 640,
                    "person_clicked": 580,
                    "machine_clicked": 60,
                    "unsubscribed": 12,
                    "complained": 1,
                    "converted": 33,
                    "added": 20,
                    "left": 13,
                }
            ],
        },
    }
)

REQUESTS: Mapping[str, Any] = MappingProxyType(
    {
        "NewPersonInput": {"email": "ann@example.com", **_PERSON, "lists": [7]},
        "WholePersonInput": {**_PERSON, "lists": [7]},
        "PatchedPersonInput": {"last_name": "Lee", "attributes": {"plan": None, "visits": 4}},
        "ListsInput": {"lists": [7]},
        "EmailsInput": {"emails": ["ann@example.com", "bo@example.com"]},
        "AddressInput": {"email": "ann@gmial.com"},
        "List": _LIST,
        "PatchedList": {"description": "Bought at least once"},
        "Segment": _SEGMENT,
        "PatchedSegment": {"name": "Portugal"},
        "RulesInput": {"rules": _RULES},
        "ImportInput": {**_WANTED, "file": "people.csv"},
        "BulkFile": {**_WANTED, "file": "people.csv"},
        "SuppressionFile": {
            "file": "suppressions.csv",
            "reason": "bounced",
            "stream": "marketing",
            "dry_run": True,
        },
        "TagInput": {"emails": ["ann@example.com"], "tag": "vip"},
        "TagsInput": {"tags": ["early"]},
    }
)

_PEOPLE = "email,first_name,country\nbo@example.com,Bo,DE\n"
CSV: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "text/csv": {
            "/api/v1/subscribers/bulk-import/": _PEOPLE,
            "/api/v1/subscribers/export/": _PEOPLE,
            "/api/v1/imports/{id}/errors/": "line,reason,email\n3,no e-mail address,nobody\n",
            "/api/v1/suppressions/export/": "hash,reason,stream\n" + "9c1e" * 16 + ",bounced,\n",
        },
        "application/x-ndjson": {
            "/api/v1/subscribers/bulk-import/": '{"email": "bo@example.com", "country": "DE"}\n'
        },
    }
)
"""Media type -> path -> text."""
