"""All that the sandbox tells is heard as what it means: the demo's numbers stand on it."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from delivery.providers.base import BounceClass, Event, EventType, WebhookRequest
from delivery.sandbox import outcomes, signing
from delivery.sandbox.calls import Agent, Call, Incoming, Occurrence
from delivery.sandbox.config import Account
from delivery.sandbox.kinds import KINDS
from tests.delivery.providers import posts
from webhooks.classifying import judge_alone

MESSAGE_ID = "0199f3a0-5b1c-7d2e-8f40-2a6c9e7b1d35"
LINK = "https://shop.example/offers"
TO = "Ada <ada@example.com>"
ESPS = [kind for kind in posts.ESPS if kind in KINDS]
"""The kinds that the sandbox plays."""
TOLD = [(kind, told) for kind in ESPS for told in KINDS[kind].told]
PERSON = outcomes.PEOPLE[0]

TYPES = {
    "processed": EventType.QUEUED,
    "delivered": EventType.DELIVERED,
    "defer": EventType.DEFERRED,
    "drop": EventType.DROPPED,
    "bounce": EventType.BOUNCED,
    "soft_bounce": EventType.BOUNCED,
    "block": EventType.BOUNCED,
    "open": EventType.OPENED,
    "click": EventType.CLICKED,
    "complaint": EventType.COMPLAINED,
    "unsubscribe": EventType.UNSUBSCRIBED,
    "unrenderable": EventType.FAILED,
}
OTHERWISE = {
    # SES says that it sent, and rejects rather than drops.
    ("ses", "processed"): EventType.SENT,
    ("ses", "drop"): EventType.FAILED,
    # Mailgun calls a soft bounce a temporary failure, and will try again.
    ("mailgun", "soft_bounce"): EventType.DEFERRED,
}
CLASSES = {
    "bounce": BounceClass.HARD,
    "soft_bounce": BounceClass.SOFT,
    "block": BounceClass.BLOCK,
}


def account(kind: str) -> Account:
    return Account(
        "demo", kind, {}, "http://127.0.0.1/hear", signing.make_keys(kind), "news.example"
    )


def ours(account: Account) -> Any:
    """Return the platform's account for an account of the sandbox."""
    keys = account.signing
    return posts.account(
        account.kind,
        **{
            "sendgrid": lambda: {"webhook_public_key": keys["public_key"]},
            "mailgun": lambda: {"webhook_signing_key": keys["signing_key"]},
            "postmark": lambda: {"webhook_basic_auth": f"{keys['user']}:{keys['password']}"},
            "ses": lambda: {
                "topic_arns": keys["topic_arn"],
                "sns_certificate": keys["certificate"],
            },
        }[account.kind](),
    )


def accepted(account: Account) -> Call:
    """Return the smallest call the sandbox takes, with our message id as metadata."""
    sender, html = "News <news@news.example>", f'<a href="{LINK}">Hello</a>'
    calls: dict[str, tuple[str, Any]] = {
        "sendgrid": (
            "/v3/mail/send",
            {
                "from": {"email": "news@news.example"},
                "subject": "Hello",
                "content": [{"type": "text/html", "value": html}],
                "personalizations": [
                    {
                        "to": [{"email": "ada@example.com", "name": "Ada"}],
                        "custom_args": {"message_id": MESSAGE_ID},
                    }
                ],
            },
        ),
        "postmark": (
            "/email",
            {
                "From": sender,
                "To": TO,
                "Subject": "Hello",
                "HtmlBody": html,
                "Metadata": {"message_id": MESSAGE_ID},
            },
        ),
        "ses": (
            "/v2/email/outbound-emails",
            {
                "FromEmailAddress": sender,
                "Destination": {"ToAddresses": [TO]},
                "Content": {
                    "Simple": {"Subject": {"Data": "Hello"}, "Body": {"Html": {"Data": html}}}
                },
                "EmailTags": [{"Name": "message_id", "Value": MESSAGE_ID}],
            },
        ),
    }  # fmt: skip
    form = {"from": sender, "to": TO, "subject": "Hello", "html": html, "v:message_id": MESSAGE_ID}
    headers = {"accept": "application/json", "content-type": "application/json"}
    if account.kind == "mailgun":
        path, body = "/v3/news.example/messages", urlencode(form).encode()
        headers["content-type"] = "application/x-www-form-urlencoded"
    else:
        path, data = calls[account.kind]
        body = json.dumps(data).encode()
    accept = KINDS[account.kind].accept
    assert accept is not None
    return accept(Incoming(path, headers, body, domain="news.example"), account)


def told(kind: str, what: str, agent: Agent = PERSON) -> list[Event]:
    """Return what we hear when the sandbox tells `what` of an accepted message."""
    theirs = account(kind)
    return heard(theirs, accepted(theirs), what, agent)


def heard(theirs: Account, call: Call, what: str, agent: Agent = PERSON) -> list[Event]:
    """Return what we hear when the sandbox tells `what` of the message of this call."""
    now, [letter] = datetime.now(UTC), call.letters
    occurrence = Occurrence(
        id=7,
        type=what,
        at=now.timestamp() - 2,
        pick=41,
        agent=agent,
        url=LINK,
        recipient=letter.recipient,
        message_id=letter.message_id,
        provider_message_id=letter.provider_message_id,
        shared=call.shared,
        own=letter.own,
    )
    make, module = KINDS[theirs.kind].posts, posts.MODULES[theirs.kind]
    events: list[Event] = []
    assert make is not None
    for one in make(theirs, [occurrence], "http://127.0.0.1"):
        headers = {name.lower(): value for name, value in one.headers.items()}
        request = WebhookRequest(headers=headers, body=one.body, received_at=now)
        module.verify(ours(theirs), request)
        understood, problems = module.parse_each(request)
        assert problems == []
        events += understood
    return events


@pytest.mark.parametrize(("kind", "what"), TOLD)
def test_everything_the_sandbox_tells_is_heard_as_what_it_is(kind: str, what: str) -> None:
    [event] = told(kind, what)

    assert event.type is OTHERWISE.get((kind, what), TYPES[what])
    assert event.message_id == MESSAGE_ID
    assert event.recipient == "ada@example.com"
    assert abs(event.occurred_at.timestamp() - datetime.now(UTC).timestamp()) < 60
    if event.type in (EventType.BOUNCED, EventType.DEFERRED) and what in CLASSES:
        assert event.bounce_class is CLASSES[what]


@pytest.mark.parametrize("kind", ESPS)
@pytest.mark.parametrize("agent", outcomes.AGENTS, ids=lambda agent: agent.client)
@pytest.mark.parametrize("what", ["open", "click"])
def test_people_and_machines_are_told_apart(kind: str, agent: Agent, what: str) -> None:
    [event] = told(kind, what, agent)

    verdict = judge_alone(event.type, event.user_agent, event.ip, event.is_machine, event.reason)
    assert verdict.is_machine is agent.is_machine
    assert event.url == (LINK if what == "click" else "")
    assert event.user_agent == agent.user_agent


@pytest.mark.parametrize("kind", ESPS)
def test_events_carry_the_id_that_the_send_call_answered(kind: str) -> None:
    theirs = account(kind)
    call = accepted(theirs)
    answer = json.loads(call.answer.body or b"{}")
    answered = {
        "sendgrid": call.answer.headers.get("X-Message-Id"),
        "mailgun": answer.get("id"),
        "postmark": answer.get("MessageID"),
        "ses": answer.get("MessageId"),
    }[kind]

    [event] = heard(theirs, call, "delivered")

    assert event.provider_message_id == answered != ""
