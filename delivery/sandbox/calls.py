"""What goes between the HTTP edge, the provider modules and the inbox: plain data.

A provider module offers four functions:
    identify(incoming, accounts) -> Account         or Refused (wrong credentials)
    accept(incoming, account) -> Call               or Refused (whatever the real one refuses)
    counts(shared, own) -> {"open", "click"}        which of them the provider counts of a message
    expand(shared, own) -> Content                  what the recipient reads
    posts(account, occurrences, base_url) -> [Post] webhooks, signed
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Shared = Mapping[str, Any]
Own = Mapping[str, Any]

LOOKS = frozenset({"open", "click"})
"""What a provider tells only if it was to be counted. The other events it always tells."""
NO_LOOKS: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request as plain data. Header names are lower-case."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    query: str = ""
    method: str = "POST"
    domain: str = ""
    """Of a Mailgun call, from its path."""
    is_inactive: Callable[[str, str], bool] = lambda account, email: False
    """Whether mail of this account to this address bounced or was complained about before."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider answers."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, status: int, data: Any, headers: Mapping[str, str] | None = None) -> "Answer":
        """Return an answer that carries `data`."""
        kind = {"Content-Type": "application/json", **(headers or {})}
        return cls(status, json.dumps(data).encode(), kind)


class Refused(Exception):
    """The provider refuses the call; nothing was accepted."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to one recipient, as accepted. `own` is what the call does not share."""

    recipient: str
    message_id: str
    """Ours, as it came as metadata; empty when it did not."""
    provider_message_id: str
    own: Own
    is_unrenderable: bool = False
    """Amazon SES accepts a template it cannot fill, and says so in an event."""


@dataclass(frozen=True, slots=True)
class Call:
    """An accepted call: what its messages share, the messages, and the answer."""

    shared: Shared
    letters: Sequence[Letter]
    answer: Answer
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The bytes of attachments by their digest; `files.File` tells the rest."""


@dataclass(frozen=True, slots=True)
class Content:
    """What one recipient gets to see."""

    sender: str
    to: str
    subject: str
    html: str
    text: str
    headers: Mapping[str, str]
    metadata: Mapping[str, Any]
    cc: str = ""
    attachments: Sequence[Mapping[str, Any]] = ()
    """As `files.File.as_json` tells them."""
    stream: str = ""
    """Postmark's, else empty."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A program that opens or clicks, in the words of several providers."""

    user_agent: str
    network: str
    """The first three bytes of its IPv4 address."""
    client: str
    client_type: str
    os: str
    device: str
    is_machine: bool = False
    is_apple: bool = False


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One event of one message, about to be told. `at` is seconds since the epoch."""

    id: int
    type: str
    at: float
    pick: int
    """A number drawn for this event: which IP, which reason."""
    agent: Agent
    url: str
    recipient: str
    message_id: str
    provider_message_id: str
    shared: Shared
    own: Own

    @property
    def ip(self) -> str:
        return f"{self.agent.network}.{self.pick % 254 + 1}"


@dataclass(frozen=True, slots=True)
class Post:
    """A webhook ready to go, and the events it tells."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    events: Sequence[int]
