"""Providers, messages and hand-offs in the admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.utils import timezone

from delivery import breaking
from delivery.models import Message, ProviderAccount
from delivery.providers.base import Unavailable
from delivery.sandbox.signing import make_keys
from tests import make, scripted
from tests.pages import member, text, use_own_cache
from tests.scripted import Scripted

pytestmark = pytest.mark.django_db
PROVIDERS = "/admin/delivery/provideraccount/"
SECRET = "SG.this-is-a-long-secret-9876"


@pytest.fixture(autouse=True)
def own_cache(settings: Any) -> None:
    use_own_cache(settings)


def broken(account: ProviderAccount, error: str, **kind: Any) -> None:
    """Let its breaker open."""
    kind = kind or {"retry_after": timedelta(minutes=1)}
    breaking.failed(account, Unavailable(error, **kind), timezone.now())


def page_of(account: ProviderAccount) -> str:
    return f"{PROVIDERS}{account.pk}/change/"


def test_without_provider_the_page_says_what_one_is(admin_client):
    page = text(admin_client.get(PROVIDERS))

    assert "No provider yet" in page
    assert f"{PROVIDERS}add/" in page


@pytest.mark.parametrize("kind", ["sendgrid", "ses", "mailgun", "postmark", "smtp"])
def test_every_kind_has_a_form_of_what_it_needs(admin_client, kind):
    page = text(admin_client.get(f"{PROVIDERS}add/?kind={kind}"))

    required = [name for name in ("set_api_key", "set_region", "set_host", "set_server_token")
                if f'name="{name}"' in page]  # fmt: skip
    assert required


def test_a_new_account_keeps_its_secrets_encrypted_and_shows_four_characters(admin_client):
    form = {"name": "Main", "weight": "100", "set_api_key": SECRET, "set_api_url": "https://x/"}

    page = text(admin_client.post(f"{PROVIDERS}add/?kind=sendgrid", form, follow=True))

    account = ProviderAccount.objects.get()
    assert account.secrets == {"api_key": SECRET}
    assert account.config == {"api_url": "https://x/"}
    assert SECRET not in page
    assert "ends in …9876" in page


def test_a_required_setting_that_is_missing_is_said_at_its_field(admin_client):
    answer = admin_client.post(f"{PROVIDERS}add/?kind=mailgun", {"name": "M", "weight": "1"})

    assert set(answer.context["form"].errors) == {"set_api_key", "set_domain"}
    assert not ProviderAccount.objects.exists()


def test_a_secret_left_empty_stays_and_a_new_one_replaces_it(admin_client):
    new = make_keys("sendgrid")["public_key"]
    account = make.account("Main", secrets={"api_key": SECRET, "webhook_public_key": "old key"})
    broken(account, "401")
    here = account.config["api_url"]
    form = {"name": "Main", "weight": "5", "set_webhook_public_key": new, "set_api_url": here}

    admin_client.post(page_of(account), form)

    account = ProviderAccount.objects.get()
    assert account.secrets == {"api_key": SECRET, "webhook_public_key": new}
    assert account.cooling_until is None, "new credentials deserve a new try"
    assert account.version == 2


def test_a_webhook_secret_is_added_without_knowing_the_old_one(admin_client):
    old, new = (make_keys("sendgrid")["public_key"] for _ in range(2))
    account = make.account("Main", secrets={"api_key": SECRET, "webhook_public_key": old})
    form = {"name": "Main", "weight": "5", "set_api_url": account.config["api_url"]}

    wrong = admin_client.post(page_of(account), {**form, "set_webhook_public_key": "+ no key"})
    admin_client.post(page_of(account), {**form, "set_webhook_public_key": f"+ {new}"})

    assert "copy it again" in wrong.content.decode()
    stored = ProviderAccount.objects.get().secrets["webhook_public_key"]
    assert stored.split() == [new, old]


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("set_webhook_window_min", "soon", "Give minutes"),
        ("set_webhook_types", "delivered teapot", "There is no event “teapot”"),
    ],
)
def test_how_an_account_is_heard_is_checked(admin_client, setting: str, value: str, words: str):
    account = make.account("Main", secrets={"api_key": SECRET})
    form = {"name": "Main", "weight": "5", "set_api_url": account.config["api_url"]}

    page = admin_client.post(page_of(account), {**form, setting: value}).content.decode()

    assert words in page
    assert ProviderAccount.objects.get().version == 1


@pytest.mark.parametrize(
    ("kind", "config", "secrets", "moved"),
    [
        ("sendgrid", {}, {"api_key": SECRET}, {"set_api_url": "https://evil.example/v3/"}),
        ("ses", {"region": "eu-west-1"}, {"secret_access_key": SECRET},
         {"set_endpoint_url": "https://evil.example/"}),
        ("smtp", {"host": "mail.example.com"}, {"password": SECRET},
         {"set_host": "evil.example", "set_port": "587", "set_security": "starttls"}),
    ],
)  # fmt: skip
def test_stored_secrets_do_not_go_to_another_place(kind, config, secrets, moved):
    account = make.account("Main", kind, config=config, secrets=secrets)
    [name] = secrets
    form = {"name": "Main", "weight": "5", "set_region": "eu-west-1", **moved}
    operator = member("Operator")

    refused = operator.post(page_of(account), form)
    account.refresh_from_db()
    kept = account.config
    operator.post(page_of(account), {**form, f"set_{name}": "another long secret"})

    [error] = refused.context["form"].errors[f"set_{name}"]
    assert "changed: enter this again" in error
    assert kept == config
    account.refresh_from_db()
    assert "evil.example" in str(account.config)
    assert account.secrets == {name: "another long secret"}


def test_no_page_shows_a_secret(admin_client):
    account = make.account("Main", secrets={"api_key": SECRET})

    for url in (PROVIDERS, f"{PROVIDERS}cards/", page_of(account), "/admin/"):
        assert SECRET not in text(admin_client.get(url))


def test_a_refused_form_does_not_send_a_secret_back(admin_client):
    form = {"name": "", "weight": "100", "set_api_key": SECRET}

    page = text(admin_client.post(f"{PROVIDERS}add/?kind=sendgrid", form))

    assert SECRET not in page


def test_the_test_button_says_what_the_provider_answered(admin_client, monkeypatch):
    scripted.install(monkeypatch)
    account = scripted.account("Main")
    form = {"sender": "news@example.com", "to": "me@example.com"}

    page = text(admin_client.post(f"{PROVIDERS}{account.pk}/test/", form, follow=True))

    assert "Scripted accepted the mail to me@example.com" in page


def test_wrong_credentials_are_one_clear_sentence(admin_client, monkeypatch):
    scripted.install(monkeypatch)
    account = scripted.account("Main")
    wrong = Unavailable("It does not know this key.", is_account_fault=True)
    Scripted.whole[account.pk] = scripted.raising(wrong)
    form = {"sender": "news@example.com", "to": "me@example.com"}

    page = text(admin_client.post(f"{PROVIDERS}{account.pk}/test/", form, follow=True))

    assert "Main did not take the test: It does not know this key." in page


def test_a_card_says_why_a_provider_is_left_alone(admin_client):
    account = make.account("Main")
    broken(account, "The server is down.", retry_after=timedelta(minutes=3))

    page = text(admin_client.get(PROVIDERS))

    assert "Left alone for a while" in page
    assert "The server is down." in page


def test_a_silent_account_is_told_only_once_it_has_sent(admin_client):
    account = make.account("Main", kind="postmark")
    hint = "never: set its webhook up to see what becomes of mails"

    before = text(admin_client.get(PROVIDERS))
    make.handoff(make.launched([]), account, status="done", size=1, accepted=1)
    after = text(admin_client.get(PROVIDERS))

    assert "nothing yet" in before
    assert hint not in before
    assert hint in after


def test_what_waiting_cannot_mend_asks_for_somebody_until_it_works_again(admin_client):
    account = make.account("Main")
    broken(account, "It does not know this key.", is_account_fault=True)

    asking = text(admin_client.get(PROVIDERS)), text(admin_client.get(page_of(account)))
    admin_client.post(f"{PROVIDERS}{account.pk}/resume/")
    resumed = text(admin_client.get(PROVIDERS))

    for page in asking:
        assert "Needs you" in page
        assert "It does not know this key." in page
        assert "Left alone for a while" not in page, "waiting does not help"
    assert "Needs you" not in resumed


def test_an_account_is_paused_and_resumed(admin_client):
    account = make.account()

    admin_client.post(f"{PROVIDERS}{account.pk}/pause/")
    account.refresh_from_db()
    assert account.status == "paused"

    admin_client.post(f"{PROVIDERS}{account.pk}/resume/")
    account.refresh_from_db()
    assert account.status == "active"


def test_an_account_that_carried_mail_is_not_deleted(admin_client):
    account = make.account()
    make.handoff(make.launched([]), account)

    answer = admin_client.post(f"{PROVIDERS}{account.pk}/delete/", {"post": "yes"})

    assert answer.status_code == 403


def test_a_marketer_looks_at_providers_and_an_operator_changes_them():
    account = make.account("Main", secrets={"api_key": SECRET})
    marketer, operator = member("Marketer"), member("Operator")

    page = text(marketer.get(page_of(account)))
    assert account.webhook_token not in page
    assert marketer.post(page_of(account), {"name": "X", "weight": "1"}).status_code == 403
    assert marketer.post(f"{PROVIDERS}{account.pk}/pause/").status_code == 403
    form = {"name": "X", "weight": "1", "set_api_url": account.config["api_url"]}
    assert operator.post(page_of(account), form).status_code == 302


# --- Messages and hand-offs --------------------------------------------------------------


def test_messages_are_narrowed_to_what_became_of_them(admin_client):
    campaign = make.launched([], name="News")
    now = timezone.now()
    kinds: dict[str, dict[str, Any]] = {
        "opened": {"opened_at": now, "person_opened_at": now},
        "unsure_opened": {"opened_at": now},
        "bounced": {"bounced_at": now, "bounce_class": "hard"},
        "soft": {"bounced_at": now, "bounce_class": "soft"},
    }
    for name, became in kinds.items():
        make.message(campaign, make.subscriber(f"{name}@example.com"), status="sent", **became)
    make.message(make.launched([]), make.subscriber("other@example.com"), opened_at=now)

    for name in kinds:
        url = f"/admin/delivery/message/?campaign={campaign.pk}&outcome={name}"
        rows = admin_client.get(url).context["cl"].result_list
        assert [row.email for row in rows] == [f"{name}@example.com"]
    assert "News: bounced for now" in text(admin_client.get(url))


def test_the_page_of_a_message_says_why_it_went_this_way(admin_client):
    campaign, account = make.launched([]), make.account("Alpha")
    score = {"health": 1.0, "free": 0.9, "cost": 0.5, "region": 0.5, "total": 0.82}
    reason = {
        "how": "furthest below its share",
        "chosen": "Alpha",
        "candidates": [
            {"name": "Alpha", **score, "weight": 1, "sent": 10},
            {"name": "Beta", **score, "total": 0.8, "weight": 1, "sent": 20},
        ],
        "left_out": [{"name": "Gamma", "why": "may not send from example.com"}],
    }
    now = timezone.now()
    handoff = make.handoff(campaign, account, in_flight_at=now, reason=reason)
    message = make.message(campaign, handoff=handoff, provider=account, status="sent", sent_at=now)

    page = text(admin_client.get(f"/admin/delivery/message/{message.pk}/change/"))

    assert "Alpha: furthest below its share." in page
    for part in ("0.82", "0.80", "20 of the campaign, weight 1", "May not send from example.com"):
        assert part in page
    assert f"/admin/webhooks/event/of-message/{message.pk}/" in page


def test_a_hand_off_shows_its_error_and_what_it_carried(admin_client):
    now = timezone.now()
    times = {"in_flight_at": now, "finished_at": now}
    handoff = make.handoff(
        make.launched([]), make.account("Alpha"), status="refused", size=5, error="Down.", **times
    )

    page = text(admin_client.get(f"/admin/delivery/handoff/{handoff.pk}/change/"))

    assert "Down." in page
    assert "0 of 5 accepted" in page
    assert "Why this way" in page
    assert "Refused" in page
    assert "Call ended" in page
    assert Message.objects.count() == 0


def test_a_hand_off_closed_before_its_call_was_given_back_and_refused_by_nobody(admin_client):
    handoff = make.handoff(
        make.launched([]), make.account(), status="refused", finished_at=timezone.now()
    )

    page = text(admin_client.get(f"/admin/delivery/handoff/{handoff.pk}/change/"))
    rows = text(admin_client.get("/admin/delivery/handoff/"))

    badge = '<span class="ui-badge ui-quiet">Given back</span>'
    assert badge in page
    assert badge in rows
    assert "Call ended" not in page
    assert "0 of 0" not in rows


def test_secrets_that_can_no_longer_be_read_may_be_entered_again(admin_client, settings):
    account = make.account("Main", secrets={"api_key": SECRET})
    settings.ENCRYPTION_KEYS = [Fernet.generate_key().decode()]

    page = text(admin_client.get(page_of(account)))
    form = {"name": "Main", "weight": "1", "set_api_key": "SG.new"}
    admin_client.post(page_of(account), form)

    assert "put that key back, or enter the secrets again" in page
    assert ProviderAccount.objects.get().secrets == {"api_key": "SG.new"}
