"""The kinds of provider, each by what it can do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from delivery.sandbox import mailgun, postmark, sendgrid, ses, smtp, sns
from delivery.sandbox.calls import Call, Content, Incoming, Occurrence, Own, Post, Shared
from delivery.sandbox.config import Account


@dataclass(frozen=True, slots=True)
class Kind:
    """What `calls` promises of a provider module, and `told`: our events in its words."""

    expand: Callable[[Shared, Own], Content]
    told: Mapping[str, str]
    posts: Callable[[Account, Sequence[Occurrence], str], list[Post]] | None = None
    identify: Callable[[Incoming, Sequence[Account]], Account] | None = None
    accept: Callable[[Incoming, Account], Call] | None = None


KINDS = {
    "sendgrid": Kind(
        sendgrid.expand, sendgrid.TOLD, sendgrid.posts, sendgrid.identify, sendgrid.accept
    ),
    "mailgun": Kind(mailgun.expand, mailgun.TOLD, mailgun.posts, mailgun.identify, mailgun.accept),
    "postmark": Kind(
        postmark.expand, postmark.TOLD, postmark.posts, postmark.identify, postmark.accept
    ),
    "ses": Kind(ses.expand, sns.TOLD, sns.posts, ses.identify, ses.accept),
    "smtp": Kind(smtp.expand, {}),
}
"""SMTP is spoken by a server of its own, and tells nothing back."""
