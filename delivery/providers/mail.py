"""What a provider is given: one mail for many people, in static parts and their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A text in static parts; a person's values stand in the gaps between them.

    There is one static part more than there are gaps. `order` names the value of each gap, so
    that one value, like that of all links, may stand in many; empty: each gap has its own.
    """

    static: tuple[str, ...]
    order: tuple[int, ...] = ()

    @property
    def gaps(self) -> Sequence[int]:
        """The number of the value in each gap."""
        return self.order or range(len(self.static) - 1)

    @property
    def size(self) -> int:
        """How many values a person must bring."""
        return max(self.order) + 1 if self.order else len(self.static) - 1

    def fill(self, values: Sequence[str]) -> str:
        """Return the text of one person."""
        pieces = [self.static[0]]
        for index, static in zip(self.gaps, self.static[1:], strict=True):
            pieces += (values[index], static)
        return "".join(pieces)

    def with_placeholders(self, placeholder: Callable[[int], str]) -> str:
        """Return the text with `placeholder(i)` where value i belongs."""
        return self.fill([placeholder(index) for index in range(self.size)])


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that travels with a mail."""

    filename: str
    content_type: str
    """Like `application/pdf`; parameters (`text/calendar; method=REQUEST`) where they matter."""
    content: bytes
    content_id: str = ""
    """Without angle brackets. When set, the HTML shows the file as `<img src="cid:…">`."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a copy goes."""

    email: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Recipient:
    """One person of a batch. `message_id` is ours; it comes back in every event.

    Copies travel in the same mail: everybody sees To and Cc as they are, and nobody the Bcc. A
    mail with copies is a call of its own.
    """

    message_id: str
    email: str
    name: str = ""
    subject: tuple[str, ...] = ()
    html: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of this person alone: List-Unsubscribe, List-Unsubscribe-Post, Message-ID."""
    more_to: Sequence[Address] = ()
    cc: Sequence[Address] = ()
    bcc: Sequence[Address] = ()

    @property
    def copies(self) -> tuple[Address, ...]:
        """Everybody else who gets the same mail."""
        return (*self.more_to, *self.cc, *self.bcc)


@dataclass(frozen=True, slots=True)
class Batch:
    """What all recipients share, and the recipients (1 to `Provider.max_batch`)."""

    from_email: str
    from_name: str
    subject: Skeleton
    html: Skeleton
    text: Skeleton
    recipients: Sequence[Recipient]
    reply_to: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    tag: str = ""
    """One portable tag, [A-Za-z0-9_-]{1,64}: the campaign."""
    tags: Sequence[str] = ()
    """Further tags of the same shape; a provider that knows one only drops these."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The caller's own. It rides along for the provider's pages, as far as the provider takes it;
    what becomes of a mail is known by our id alone."""
    attachments: Sequence[Attachment] = ()
    is_transactional: bool = False
    """Somebody waits for this mail: it takes the provider's way for such, where there is one."""
    track_opens: bool = False
    track_clicks: bool = False

    @property
    def all_tags(self) -> list[str]:
        """Every tag once, the campaign first."""
        return list(dict.fromkeys(tag for tag in (self.tag, *self.tags) if tag))
