"""SMTP has no webhooks, and says so."""

import pytest

from delivery.providers import smtp_events
from delivery.providers.base import Forged, Unparsable
from tests.delivery.providers import posts


def test_a_webhook_for_an_smtp_account_is_refused_with_a_reason() -> None:
    with pytest.raises(Forged, match="no webhook"):
        smtp_events.verify(posts.account("smtp"), posts.raw(b"[]"))
    with pytest.raises(Unparsable, match="no webhook"):
        smtp_events.parse(posts.raw(b"[]"))
    assert smtp_events.replay_key(posts.raw(b"[]")) == ""
