"""Keys, scopes, limits, the audit, and one shape for every refusal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from emailplatform import env
from emailplatform.api import KeyThrottle
from emailplatform.models import ApiKey, AuditEntry
from subscribers.api import ListViewSet
from tests import make
from tests.calling import Api

pytestmark = pytest.mark.django_db


def test_a_key_opens_the_api_and_its_use_is_noted() -> None:
    plain = make.api_key("read")

    assert Api(plain).get("lists/").status == 200

    assert ApiKey.objects.get().last_used_at is not None


def test_a_post_to_no_address_is_refused_as_everything_else_is() -> None:
    answer = Client(enforce_csrf_checks=True).post("/api/v1/nothing/", {"a": 1})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_without_a_key_one_is_asked_for() -> None:
    answer = Api(None).get("lists/")

    assert answer.status == 401
    assert answer.error["code"] == "not_authenticated"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_unknown_expired_and_revoked_keys_get_the_same_answer() -> None:
    now = timezone.now()
    expired, revoked, good = make.api_key(), make.api_key(), make.api_key()
    ApiKey.objects.filter(prefix=expired[:11]).update(expires_at=now - timedelta(seconds=1))
    ApiKey.objects.filter(prefix=revoked[:11]).update(revoked_at=now)
    tampered = good[:-1] + ("0" if good[-1] != "0" else "1")
    unknown = f"ep_{'0' * 8}_{'0' * 64}"

    wrong = [expired, revoked, tampered, unknown, "nonsense", "ep_\x00", good + "0", "é" * 70]
    answers = {(a.status, json.dumps(a.data)) for a in (Api(key).get("lists/") for key in wrong)}

    assert len(answers) == 1
    assert answers.pop()[0] == 401


@pytest.mark.parametrize(
    ("scope", "path", "status"),
    [
        ("read", "lists/", 403),
        ("manage", "lists/", 400),
        ("manage", "campaigns/1/send/", 403),
        ("send", "campaigns/1/send/", 404),
        ("send", "lists/", 403),
        ("read", "segments/count/", 400),
    ],
)
def test_a_key_does_what_its_scope_says_and_no_more(scope: str, path: str, status: int) -> None:
    answer = Api(make.api_key(scope)).post(path)

    assert answer.status == status
    if status == 403:
        assert answer.error["code"] == "permission_denied"
        assert "scope" in answer.error["message"]


def test_a_key_that_may_only_send_cannot_read() -> None:
    assert Api(make.api_key("send")).get("subscribers/").status == 403


def test_somebody_signed_in_needs_the_right_that_the_admin_asks_for() -> None:
    client = Client()
    client.force_login(make.user(is_staff=True))
    assert client.get("/api/v1/lists/").status_code == 403

    client.force_login(make.user(is_staff=True, is_superuser=True))
    assert client.get("/api/v1/lists/").status_code == 200


def test_a_page_of_a_stranger_cannot_use_somebodys_session() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make.user(is_staff=True, is_superuser=True))

    response = client.post("/api/v1/lists/", {"name": "x"}, "application/json")

    assert response.status_code == 403
    assert response.json()["error"]["code"] == "permission_denied"


REFUSALS = [
    ("get", "nothing/", None, 404, "not_found"),
    ("get", "lists/nothing/here", None, 404, "not_found"),
    ("post", "/api/elsewhere/", {}, 404, "not_found"),
    ("get", "lists/999999/", None, 404, "not_found"),
    ("get", "lists/99999999999999999999999/", None, 404, "not_found"),
    ("get", "lists/abc/", None, 404, "not_found"),
    ("get", "campaigns/99999999999999999999999/stats/", None, 404, "not_found"),
    ("delete", "forms/1/", None, 405, "method_not_allowed"),
    ("post", "lists/", "{", 400, "parse_error"),
    ("post", "lists/", "[" * 100_000, 400, "parse_error"),
    ("post", "lists/", '{"name": NaN}', 400, "parse_error"),
    ("post", "lists/", b"\xff\xfe", 400, "parse_error"),
    ("post", "lists/", [1], 400, "invalid"),
    ("post", "lists/", {}, 400, "invalid"),
    ("post", "lists/", {"name": "a\x00b"}, 400, "invalid"),
    ("get", "lists/?cursor=nonsense", None, 404, "not_found"),
    ("get", "campaigns/?status=nonsense", None, 400, "invalid"),
    ("get", "subscribers/?list=99999999999999999999999", None, 200, ""),
    ("get", "subscribers/?list=x", None, 400, "invalid"),
    ("get", "subscribers/?email=a%00b", None, 400, "invalid"),
    ("get", "subscribers/?language=a%00b", None, 400, "invalid"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), REFUSALS)
def test_every_refusal_has_the_same_shape(
    method: str, path: str, body: object, status: int, code: str
) -> None:
    api = Api()
    answer = getattr(api, method)(path, body) if method == "post" else getattr(api, method)(path)

    assert answer.status == status, answer.data
    if code:
        assert answer.error["code"] == code
        assert answer.error["message"]


def test_a_body_that_is_not_json_is_refused() -> None:
    answer = Api().post("lists/", "name=x", content_type="text/plain")

    assert answer.status == 415
    assert answer.error["code"] == "unsupported_media_type"


@override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=100)
def test_a_body_that_is_too_large_is_refused() -> None:
    answer = Api().post("lists/", {"name": "x" * 200})

    assert answer.status == 413
    assert answer.error["code"] == "too_large"


def test_an_unknown_field_is_named_and_not_passed_over() -> None:
    answer = Api().post("lists/", {"name": "News", "descripton": "typo"})

    assert answer.status == 400
    assert answer.error["param"] == "descripton"


def test_a_bug_of_ours_is_answered_in_json_and_gives_nothing_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(ListViewSet, "get_queryset", broken)

    answer = Api().get("lists/")

    assert answer.status == 500
    assert answer.error["code"] == "server_error"
    assert "secret" not in json.dumps(answer.data)


def test_a_foreign_host_is_refused_in_json() -> None:
    response = Client(headers={"Host": "evil.example"}).get("/api/v1/lists/")

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "bad_request"


# --- Limits ------------------------------------------------------------------------------


@pytest.fixture
def two_a_minute(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(KeyThrottle, "THROTTLE_RATES", {"key": "2/min"})
    # One window for the whole test, wherever in a minute it runs.
    monkeypatch.setattr(KeyThrottle, "timer", staticmethod(lambda: 1_000_000.0))
    cache.clear()
    yield
    cache.clear()


@pytest.mark.usefixtures("two_a_minute")
def test_each_key_has_so_many_requests_a_minute() -> None:
    api = Api()
    assert [api.get("lists/").status for _ in range(2)] == [200, 200]

    third = api.get("lists/")

    assert third.status == 429
    assert third.error["code"] == "throttled"
    assert 0 < int(third.headers["Retry-After"]) <= 60
    assert Api().get("lists/").status == 200, "another key has its own count"


@pytest.mark.usefixtures("two_a_minute")
def test_without_redis_the_api_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api()
    away = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "unix:///nowhere/redis",
        }
    }
    with override_settings(CACHES=away):
        answers = [api.get("lists/").status for _ in range(3)]

    assert answers == [200, 200, 200]
    assert "throttle_without_redis" in caplog.text


@pytest.mark.parametrize("value", ["lots", "0/min", "5", "5/minute", "5/min/key", ""])
def test_a_limit_that_cannot_be_meant_stops_the_start(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_RATE", value)

    with pytest.raises(ImproperlyConfigured, match="API_RATE"):
        env.rate("API_RATE", "600/min")


# --- Pages -------------------------------------------------------------------------------


def test_pages_follow_a_cursor_and_miss_nobody_while_people_are_added() -> None:
    api = Api()
    names = [make.mailing_list().name for _ in range(5)]

    first = api.get("lists/", limit=2)
    make.mailing_list("added meanwhile")
    second = api.get(first.data["next"])
    third = api.get(second.data["next"])

    found = [row["name"] for page in (first, second, third) for row in page.data["results"]]
    assert found == names[::-1]
    assert third.data["next"] is None


# --- Audit -------------------------------------------------------------------------------


def test_every_write_is_written_down_with_who_did_it() -> None:
    api = Api()
    key = ApiKey.objects.get()

    made = api.post("lists/", {"name": "News"}).data["id"]
    api.patch(f"lists/{made}/", {"name": "Newsletter"})
    person = api.post("subscribers/", {"email": "ann@gmail.com"}).data["id"]
    api.delete("subscribers/ann@gmail.com/")

    entries = AuditEntry.objects.order_by("pk").values_list("key", "action", "object_id")
    assert list(entries) == [
        (key.pk, "list.create", made),
        (key.pk, "list.partial_update", made),
        (key.pk, "subscriber.create", person),
        (key.pk, "subscriber.destroy", person),
    ]


def test_operators_see_what_was_changed_and_nobody_edits_it() -> None:
    made = Api().post("lists/", {"name": "News"}).data["id"]
    client = Client()
    client.force_login(make.user(is_staff=True, is_superuser=True))
    page = reverse("admin:emailplatform_auditentry_changelist")

    shown = client.get(page).content.decode()

    assert "list: create" in shown
    assert f">{made}<" in shown
    assert ApiKey.objects.get().prefix in shown
    assert client.get(f"{page}add/").status_code == 403


def test_reading_and_what_was_refused_are_not_written_down() -> None:
    api = Api()
    api.get("lists/")
    api.post("lists/", {})
    api.post("segments/count/", {"rules": {}})

    assert not AuditEntry.objects.exists()


# --- The page with the documentation -----------------------------------------------------


def test_the_documentation_needs_nothing_from_other_servers() -> None:
    page = Client().get(reverse("docs")).content.decode()

    assert "swagger-ui" in page
    assert "https://" not in page
    assert "cdn." not in page


def test_the_schema_names_every_endpoint_and_how_keys_are_sent() -> None:
    schema = json.loads(Client().get(reverse("schema"), {"format": "json"}).content)

    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path in ("subscribers/", "campaigns/{id}/send/", "campaigns/{id}/stats/", "segments/"):
        assert f"/api/v1/{path}" in schema["paths"]
