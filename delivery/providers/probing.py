"""The *test* button: one plain mail to oneself, the same way as all others."""

from __future__ import annotations

import secrets

from delivery.providers.base import (
    Batch,
    OutcomeUnknown,
    Provider,
    ProviderError,
    Recipient,
    Rejected,
    Result,
    Skeleton,
    Unavailable,
    Verdict,
)

SUBJECT = "A test of your sending account"
TEXT = (
    "This mail was sent because somebody pressed “test” on a sending account of your e-mail\n"
    "platform. If you can read it, the account works.\n"
)


def probe(provider: Provider, from_email: str, to_email: str) -> str:
    """Send one plain mail and return a sentence that says what the provider answered.

    Raises ProviderError, whose text is such a sentence too, if it was not accepted.
    """
    result = _only_result(provider, from_email, to_email)
    if result.verdict is not Verdict.ACCEPTED:
        raise _ERRORS[result.verdict](result.reason)
    known_as = f" as {result.provider_message_id}" if result.provider_message_id else ""
    return f"{provider.label} accepted the mail to {to_email}{known_as}."


_ERRORS: dict[Verdict, type[ProviderError]] = {
    Verdict.REJECTED: Rejected,
    Verdict.UNAVAILABLE: Unavailable,
    Verdict.UNKNOWN: OutcomeUnknown,
}


def _only_result(provider: Provider, from_email: str, to_email: str) -> Result:
    batch = Batch(
        from_email=from_email,
        from_name="",
        subject=Skeleton((SUBJECT,)),
        html=Skeleton(("",)),
        text=Skeleton((TEXT,)),
        recipients=[Recipient(message_id=f"test-{secrets.token_hex(8)}", email=to_email)],
        headers={"Auto-Submitted": "auto-generated"},
        tag="test",
    )
    [result] = provider.answers(batch)
    return result
