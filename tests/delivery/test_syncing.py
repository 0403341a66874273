"""Our suppressions and the providers' lists, against the sandbox."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags

from delivery import syncing
from delivery.models import ListComparison, ListedAddress, ProviderAccount
from delivery.sandbox import config
from delivery.sandbox.server import Sandbox
from emailplatform.secrets import address_key
from subscribers import consenting
from subscribers.models import Suppression
from tests import make

pytestmark = pytest.mark.django_db
CREDENTIALS = {
    "sendgrid": {"api_key": "SG.key"},
    "mailgun": {"api_key": "key-mailgun"},
    "postmark": {"server_token": "token-postmark"},
    "ses": {"access_key_id": "AKIASANDBOX", "secret_access_key": "secret-ses"},
}
BOUNCED = {
    "sendgrid": ("bounces", "550 5.1.1"),
    "mailgun": ("bounces", "550"),
    "postmark": ("broadcast", "HardBounce"),
    "ses": ("suppressed", "BOUNCE"),
}
TOLD = {
    "sendgrid": "unsubscribes",
    "mailgun": "bounces",
    "postmark": "broadcast",
    "ses": "suppressed",
}
"""Where a bounce of ours comes to stand."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    accounts = [
        config.Account(name=kind, kind=kind, credentials=keys, domain="example.org")
        for kind, keys in CREDENTIALS.items()
    ]
    running = Sandbox(config.Config(accounts, port=0, smtp_port=None)).start()
    yield running
    running.stop()


@pytest.fixture(params=CREDENTIALS)
def account(request: pytest.FixtureRequest, sandbox: Sandbox) -> ProviderAccount:
    return account_of(request.param, sandbox)


def account_of(kind: str, sandbox: Sandbox, **fields: Any) -> ProviderAccount:
    url = f"{sandbox.url}/{kind}"
    settings = {
        "sendgrid": {"api_url": f"{url}/v3/"},
        "mailgun": {"api_url": f"{url}/v3", "domain": "example.org"},
        "postmark": {"api_url": f"{url}/"},
        "ses": {"region": "us-east-1", "endpoint_url": url},
    }
    return make.account(
        kind, kind, config=settings[kind], secrets=dict(CREDENTIALS[kind]), **fields
    )


def listed(sandbox: Sandbox, kind: str, name: str) -> list[str]:
    return sandbox.call(lambda office: list(office.lists.get((kind, name), {})))


def lists(sandbox: Sandbox, kind: str, name: str, emails: list[str], reason: str = "") -> None:
    sandbox.call(lambda office: office.list_addresses(kind, name, emails, reason))


def suppressed(email: str) -> list[tuple[str, str]]:
    rows = Suppression.objects.of(address_key(email))
    return list(rows.values_list("reason", "source"))


def test_whom_only_the_provider_lists_gets_no_mail_here(
    account: ProviderAccount, sandbox: Sandbox
) -> None:
    name, why = BOUNCED[account.kind]
    person = make.subscriber("gone@example.com")
    people = [f"p{number}@example.com" for number in range(1_203)]
    lists(sandbox, account.kind, name, [*people, "Gone@example.com"], why)

    told = syncing.sync(account)

    assert told is not None
    assert (told.error, told.there, told.only_there, told.taken) == ("", 1_204, 1_204, 1_204)
    [(reason, source)] = suppressed("gone@example.com")
    assert reason == "bounced"
    assert source.endswith(f"’s list “{name}”")
    person.refresh_from_db()
    assert person.status == "bounced"
    again = syncing.sync(account)
    assert again is not None
    assert (again.there, again.here, again.only_there, again.taken) == (1_204, 1_204, 0, 0)


def test_whom_only_we_suppress_is_listed_there_if_the_address_is_known(
    account: ProviderAccount, sandbox: Sandbox
) -> None:
    make.subscriber("known@example.com")
    now = timezone.now()
    consenting.suppress("known@example.com", "bounced", "test", now)
    consenting.suppress("erased@example.com", "bounced", "test", now)

    told = syncing.sync(account)

    assert told is not None
    assert (told.error, told.here, told.only_here, told.given) == ("", 2, 2, 1)
    assert listed(sandbox, account.kind, TOLD[account.kind]) == ["known@example.com"]
    again = syncing.sync(account)
    assert again is not None
    assert (again.there, again.only_here, again.given) == (1, 1, 0)


def test_who_is_let_back_in_is_taken_off_there_and_not_suppressed_anew(
    account: ProviderAccount, sandbox: Sandbox
) -> None:
    name, why = BOUNCED[account.kind]
    lists(sandbox, account.kind, name, ["ana@example.com", "ben@example.com"], why)
    syncing.sync(account)
    key = address_key("ana@example.com")
    in_a_while = timezone.now() + timedelta(minutes=1)
    consenting.lift(Suppression.objects.get(address_key=key), in_a_while)

    told = syncing.sync(account)

    assert told is not None
    assert (told.error, told.removed, told.taken) == ("", 1, 0)
    assert listed(sandbox, account.kind, name) == ["ben@example.com"]
    assert suppressed("ana@example.com") == []
    assert not ListedAddress.objects.filter(address_key=key).exists()


def test_a_bounce_after_the_lift_counts(account: ProviderAccount, sandbox: Sandbox) -> None:
    name, why = BOUNCED[account.kind]
    long_ago = timezone.now() - timedelta(days=3)
    consenting.suppress("ana@example.com", "bounced", "test", long_ago)
    consenting.lift(Suppression.objects.get(), long_ago + timedelta(days=1))
    lists(sandbox, account.kind, name, ["ana@example.com"], why)

    told = syncing.sync(account)

    assert told is not None
    assert (told.removed, told.taken) == (0, 1)


def test_a_rehearsal_compares_and_changes_nothing(
    account: ProviderAccount, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    name, why = BOUNCED[account.kind]
    lists(sandbox, account.kind, name, ["there@example.com", "both@example.com"], why)
    make.subscriber("here@example.com")
    consenting.suppress("here@example.com", "bounced", "test", timezone.now())
    consenting.suppress("both@example.com", "complained", "test", timezone.now())

    call_command("sync_suppressions", account=account.name, dry_run=True)

    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == [account.name, *["2", "2", "1", "1", "1", "0", "0", "0"]]
    assert suppressed("there@example.com") == []
    assert listed(sandbox, account.kind, name) == ["there@example.com", "both@example.com"]


def test_too_many_questions_stop_it_and_it_goes_on_from_there(sandbox: Sandbox) -> None:
    account = account_of("sendgrid", sandbox)
    people = [f"p{number}@example.com" for number in range(700)]
    lists(sandbox, "sendgrid", "bounces", people, "550")
    sandbox.set_options(next_faults=["429"])
    with pytest.raises(CommandError, match="takes no more questions for now"):
        call_command("sync_suppressions")
    assert ListComparison.objects.get().finished_at is None

    told = syncing.sync(account)

    assert told is not None
    assert (told.error, told.taken) == ("", 700)
    assert told.finished_at


def test_a_reading_that_stopped_does_not_read_its_pages_again(sandbox: Sandbox) -> None:
    account = account_of("sendgrid", sandbox)
    people = [f"p{number}@example.com" for number in range(700)]
    lists(sandbox, "sendgrid", "bounces", people, "550")
    ListComparison.objects.create(
        provider=account, started_at=timezone.now(), place="bounces", cursor="500", taken=500
    )

    told = syncing.sync(account)

    assert told is not None
    assert (told.there, told.taken) == (200, 700)


def test_who_left_the_newsletter_is_not_told_where_password_resets_would_stop(
    sandbox: Sandbox,
) -> None:
    make.subscriber("ana@example.com")
    consenting.suppress("ana@example.com", "unsubscribed", "test", timezone.now())
    everything = account_of("mailgun", sandbox)

    syncing.sync(everything)
    assert listed(sandbox, "mailgun", "unsubscribes") == []

    everything.streams = ["marketing"]
    everything.save()
    syncing.sync(everything)
    assert listed(sandbox, "mailgun", "unsubscribes") == ["ana@example.com"]


def test_postmark_keeps_complaints_and_the_count_says_so(sandbox: Sandbox) -> None:
    account = account_of("postmark", sandbox)
    lists(sandbox, "postmark", "broadcast", ["ana@example.com"], "SpamComplaint")
    syncing.sync(account)
    consenting.lift(Suppression.objects.get(), timezone.now() + timedelta(minutes=1))

    told = syncing.sync(account)

    assert told is not None
    assert (told.removed, told.only_there, told.taken) == (0, 1, 0)
    assert listed(sandbox, "postmark", "broadcast") == ["ana@example.com"]


def test_a_provider_without_lists_is_passed_over(sandbox: Sandbox) -> None:
    account = make.account("relay", "smtp", config={"host": "127.0.0.1"}, secrets={})

    assert syncing.sync(account) is None
    assert syncing.sync_all() == []
    with pytest.raises(CommandError, match="keeps no list"):
        call_command("sync_suppressions", account="relay")


def test_a_wrong_key_says_what_to_do(sandbox: Sandbox) -> None:
    account = account_of("mailgun", sandbox)
    account.secrets = {"api_key": "wrong"}
    account.save()

    told = syncing.sync(account)

    assert told is not None
    assert "does not let this key" in told.error


def test_a_provider_s_page_shows_how_far_lists_had_come_apart(
    sandbox: Sandbox, admin_client: Client
) -> None:
    account = account_of("mailgun", sandbox)
    lists(sandbox, "mailgun", "bounces", ["ana@example.com", "ben@example.com"])
    page = f"/admin/delivery/provideraccount/{account.pk}/change/"
    assert "Its list of who gets no mail" not in admin_client.get(page).text

    syncing.sync(account)

    shown = " ".join(strip_tags(admin_client.get(page).text).split())
    assert "Listed there2Suppressed here2Were only there2Were only here0" in shown.replace(" ", " ")
