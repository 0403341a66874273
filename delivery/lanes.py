"""A lane: mail that is due and may travel in one call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lane:
    """Stream and mailbox provider of the recipient, of one campaign (None: mail sent by API).

    `route` is the id of the routing rule that the messages were stamped with when they were
    queued; 0: none. Below 0 it is an account's id, negated: only this account may have them,
    because it may have them already.
    """

    stream: str
    mailbox: str
    campaign: int | None = None
    route: int = 0

    @property
    def only_account(self) -> int | None:
        """The id of the one account that may carry this lane; None: any."""
        return -self.route if self.route < 0 else None
