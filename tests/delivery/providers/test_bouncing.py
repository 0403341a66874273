"""What servers write, and what it means for the address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.providers.base import BounceClass
from delivery.providers.bouncing import classify, weigh

HARD, SOFT, BLOCK, UNKNOWN = (
    BounceClass.HARD,
    BounceClass.SOFT,
    BounceClass.BLOCK,
    BounceClass.UNKNOWN,
)

ANSWERS = [
    # The address or its domain is not there.
    ("550 5.1.1 The email account that you tried to reach does not exist", HARD),
    ("smtp; 550 5.1.1 user unknown", HARD),
    ("550 No such user here", HARD),
    ("550 5.4.1 Recipient address rejected: Access denied", HARD),
    ("550 5.7.1 Recipient address rejected: user unknown in relay recipient table", HARD),
    ("550 Invalid recipient <ada@example.com> (#5.1.1)", HARD),
    ("554 5.4.4 Host or domain name not found", HARD),
    ("556 5.1.10 Recipient domain has a null MX", HARD),
    ("550 5.7.17 Mailbox owner has changed", HARD),
    # For now, whatever the class of the code.
    ("552 4.2.2 User has full mailbox", SOFT),
    ("552 5.2.2 mailbox full", SOFT),
    ("550 5.2.2 The email account that you tried to reach is over quota", SOFT),
    ("554 5.2.3 Message too large for recipient", SOFT),
    ("552 5.3.4 Message size exceeds fixed maximum message size", SOFT),
    ("550 5.2.1 The email account that you tried to reach is disabled", SOFT),
    ("525 5.7.13 User account disabled", SOFT),
    ("451 4.7.1 Greylisting in action, please come back later", SOFT),
    ("450 4.1.1 user lookup failed", SOFT),
    ("421 4.3.2 Service shutting down", SOFT),
    ("421 Too old", SOFT),
    ("554 5.4.7 Delivery expired", SOFT),
    # About us, never about the address.
    ("550 5.7.1 Service unavailable; client host [192.0.2.1] blocked using Spamhaus", BLOCK),
    ("550 5.7.26 This mail is unauthenticated", BLOCK),
    ("550 5.7.515 Access denied, sending domain does not meet the required level", BLOCK),
    ("554 5.6.0 content rejected", BLOCK),
    ("553 5.1.8 Sender address rejected: Domain not found", BLOCK),
    ("550 5.1.7 Invalid sender", BLOCK),
    ("421 4.7.0 Try again later, your IP has a low reputation", BLOCK),
    ("550 JunkMail rejected - is in an RBL", BLOCK),
    ("550 5.7.1 Relaying denied", BLOCK),
    ("550 5.7.1 blocked: mail from unknown user at 192.0.2.1 is spam", BLOCK),
    # A word for each: the code decides.
    ("550 5.1.1 user unknown; see https://example.com/spam-policy", HARD),
    # Nothing said.
    ("554 Transaction failed", UNKNOWN),
    ("550 5.0.0 rejected", HARD),
    ("554 5.0.0 rejected", UNKNOWN),
    ("250 2.0.0 OK", UNKNOWN),
    ("host 5.1.1.7 port 25: connection lost", UNKNOWN),
    ("", UNKNOWN),
]


@pytest.mark.parametrize(("said", "expected"), ANSWERS)
def test_a_server_s_answer_has_a_class(said: str, expected: BounceClass) -> None:
    assert classify(said) is expected


def test_the_server_s_own_code_counts_before_the_outer_one() -> None:
    assert classify("552 4.2.2 sorry", "5.1.1") is SOFT
    assert classify("said nothing", "5.1.1") is HARD
    assert classify("said nothing", "550") is HARD
    assert classify("554 5.0.0 said nothing", "5.7.1") is BLOCK


@pytest.mark.parametrize(
    ("word", "said", "expected"),
    [
        (HARD, "550 5.1.1 user unknown", HARD),
        (HARD, "", HARD),
        (HARD, "550 5.7.1 blocked using Spamhaus", BLOCK),
        (HARD, "552 5.2.2 mailbox full", SOFT),
        (SOFT, "550 5.1.1 user unknown", SOFT),
        (SOFT, "421 4.7.0 low reputation", BLOCK),
        (SOFT, "", SOFT),
        (BLOCK, "550 5.1.1 user unknown", BLOCK),
        (BLOCK, "552 5.2.2 mailbox full", SOFT),
        (UNKNOWN, "550 5.1.1 user unknown", HARD),
        (UNKNOWN, "", UNKNOWN),
    ],
)
def test_a_provider_s_word_is_only_ever_softened(
    word: BounceClass, said: str, expected: BounceClass
) -> None:
    assert weigh(word, said) is expected


@given(said=st.text(max_size=200), status=st.text(max_size=8))
def test_any_text_has_a_class_and_nothing_becomes_hard_that_the_provider_calls_soft_or_a_block(
    said: str, status: str
) -> None:
    assert classify(said, status) in BounceClass
    assert weigh(SOFT, said, status) is not HARD
    assert weigh(BLOCK, said, status) is not HARD


def test_a_very_long_answer_is_read_only_at_its_start() -> None:
    """Not a timing: what stands beyond the limit does not count."""
    assert classify("user " * 300 + "user unknown") is UNKNOWN
