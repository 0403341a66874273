"""What an SMTP server tells: nothing by webhook. Its bounces come as mail to the return path."""

from delivery.providers import hearing
from delivery.providers.base import Account, Event, Forged, Heard, Unparsable, WebhookRequest

NOTHING_TO_HEAR = (
    "An SMTP account has no webhook: a mail server reports by bounce mail to the return path."
)


def verify(_account: Account, _request: WebhookRequest) -> None:
    """Raise Forged: nobody can prove to be an SMTP server here."""
    raise Forged(NOTHING_TO_HEAR)


def replay_key(_request: WebhookRequest) -> str:
    """Return '': there are no requests to use up."""
    return ""


def parse(request: WebhookRequest) -> list[Event]:
    """Raise Unparsable: there is no such event."""
    return hearing.only_events(parse_each(request))


def parse_each(_request: WebhookRequest) -> Heard:
    """Raise Unparsable: there is no such event."""
    raise Unparsable(NOTHING_TO_HEAR)
