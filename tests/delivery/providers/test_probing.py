"""The test button and the registry."""

import pytest

from delivery.providers import registry
from delivery.providers.base import Account, OutcomeUnknown, Rejected, Unavailable, Verdict
from delivery.providers.probing import probe
from tests.delivery.providers import wire
from tests.delivery.providers.esps import KINDS, Esp
from tests.fakes import FakeProvider


def test_a_test_mail_goes_the_way_of_all_mails_and_says_who_took_it(esp: Esp) -> None:
    said = probe(esp.provider, "news@example.org", "me@example.org")

    [letter] = esp.letters()
    assert said.startswith(f"{esp.provider.label} accepted the mail to me@example.org")
    assert (letter.email, letter.html) == ("me@example.org", "")
    assert "test" in letter.subject


def test_a_test_mail_that_is_refused_says_what_the_provider_answered(http_esp: Esp) -> None:
    status, body = http_esp.bad_login
    http_esp.will(wire.says(status, body))

    with pytest.raises(Unavailable, match=f"answered {status}|{status}") as error:
        probe(http_esp.provider, "news@example.org", "me@example.org")

    assert error.value.is_account_fault


@pytest.mark.parametrize(
    ("verdict", "error"),
    [
        (Verdict.REJECTED, Rejected),
        (Verdict.UNAVAILABLE, Unavailable),
        (Verdict.UNKNOWN, OutcomeUnknown),
    ],
)
def test_a_result_that_is_not_acceptance_is_an_error(
    verdict: Verdict, error: type[Exception]
) -> None:
    provider = FakeProvider({"me@example.org": verdict})

    with pytest.raises(error, match="as the test wants it"):
        probe(provider, "news@example.org", "me@example.org")


def test_an_address_that_is_none_is_said_so_without_a_call(esp: Esp) -> None:
    with pytest.raises(Rejected, match="not a valid e-mail address"):
        probe(esp.provider, "news@example.org", "me")

    assert esp.calls == 0


def test_every_kind_is_registered_and_built_for_its_account() -> None:
    account = Account(7, 1, {})

    assert set(registry.KINDS) == set(KINDS)
    for kind, label in registry.CHOICES:
        provider = registry.build(kind, account)
        assert (provider.kind, provider.label, provider.account) == (kind, label, account)


def test_only_ses_answers_a_hand_shake() -> None:
    confirming = {
        kind
        for kind, provider in registry.KINDS.items()
        if provider.confirm is not FakeProvider.confirm
    }

    assert confirming == {"ses"}
