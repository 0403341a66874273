"""The kinds of provider, each by what it can do."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from delivery.sandbox import mailgun, outcomes, postmark, sendgrid, ses, smtp, sns
from delivery.sandbox.calls import (
    LOOKS,
    NO_LOOKS,
    Call,
    Content,
    Incoming,
    Occurrence,
    Own,
    Post,
    Shared,
)
from delivery.sandbox.config import Account
from delivery.sandbox.inbox import Due


@dataclass(frozen=True, slots=True)
class Kind:
    """What `calls` promises of a provider module, and `told`: our events in its words."""

    expand: Callable[[Shared, Own], Content]
    told: Mapping[str, str]
    posts: Callable[[Account, Sequence[Occurrence], str], list[Post]] | None = None
    identify: Callable[[Incoming, Sequence[Account]], Account] | None = None
    accept: Callable[[Incoming, Account], Call] | None = None
    counts: Callable[[Shared, Own], frozenset[str]] = lambda shared, own: NO_LOOKS

    def tells(self, shared: Shared, own: Own) -> Set[str]:
        """Return which events of a message the provider tells: looks only if it counts them."""
        return self.told.keys() - (LOOKS - self.counts(shared, own))


KINDS = {
    "sendgrid": Kind(
        sendgrid.expand,
        sendgrid.TOLD,
        sendgrid.posts,
        sendgrid.identify,
        sendgrid.accept,
        sendgrid.counts,
    ),
    "mailgun": Kind(
        mailgun.expand,
        mailgun.TOLD,
        mailgun.posts,
        mailgun.identify,
        mailgun.accept,
        mailgun.counts,
    ),
    "postmark": Kind(
        postmark.expand,
        postmark.TOLD,
        postmark.posts,
        postmark.identify,
        postmark.accept,
        postmark.counts,
    ),
    "ses": Kind(ses.expand, sns.TOLD, sns.posts, ses.identify, ses.accept, ses.counts),
    "smtp": Kind(smtp.expand, {}),
}
"""SMTP is spoken by a server of its own, and tells nothing back."""


def with_url(item: Due) -> Occurrence:
    """Return the event; a click with the link that was clicked."""
    occurrence = item.occurrence
    if occurrence.type != "click":
        return occurrence
    content = KINDS[item.kind].expand(occurrence.shared, occurrence.own)
    url = outcomes.clicked_link(
        content.html, content.text, occurrence.pick, is_machine=occurrence.agent.is_machine
    )
    return replace(occurrence, url=url or "https://example.com/")
