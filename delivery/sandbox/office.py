"""Where calls arrive, over HTTP or SMTP: meet faults, plan outcomes, keep messages."""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Iterator, Sequence

from delivery.sandbox import outcomes
from delivery.sandbox.calls import Call
from delivery.sandbox.config import FAULTS, Account, Config, Options
from delivery.sandbox.inbox import DROPPED, NOT_SENT, PENDING, Inbox
from delivery.sandbox.outcomes import Planned

REMEMBERED_FAULTS = 10_000
"""Calls whose attempts are counted, so that a call repeated may meet another fault."""


class Office:
    """The sandbox's state: accounts, options, inbox. `on_mail` is called when mail was kept."""

    def __init__(self, config: Config, on_mail: Callable[[], None]) -> None:
        self.accounts: Sequence[Account] = config.accounts
        self.inbox = Inbox(config.store)
        self.refusals: Counter[tuple[str, int]] = Counter()
        self.confirmed: set[str] = set()
        self._on_mail = on_mail
        self._attempts: OrderedDict[str, int] = OrderedDict()
        self._set_options(config.options)

    @property
    def options(self) -> Options:
        """The options that hold now."""
        return self._options

    @options.setter
    def options(self, options: Options) -> None:
        self._set_options(options)

    def _set_options(self, options: Options) -> None:
        self._options = options
        self._own_options: dict[str, Options] = {}

    def options_for(self, account: str) -> Options:
        """Return the options as they hold for an account."""
        if account not in self._own_options:
            self._own_options[account] = self._options.for_account(account)
        return self._own_options[account]

    def of_kind(self, kind: str) -> list[Account]:
        """Return the accounts of a kind."""
        return [account for account in self.accounts if account.kind == kind]

    def account(self, name: str) -> Account | None:
        """Return the account of this name."""
        return next((account for account in self.accounts if account.name == name), None)

    def fault(self, account: Account, call: Call) -> str:
        """Return the fault this call meets, one of FAULTS, or an empty string.

        It depends on seed, account, first recipient and how often the same call was made, so a
        call repeated after a fault may get through.
        """
        if self._options.next_faults:
            fault, *rest = self._options.next_faults
            self.options = self._options.changed({"next_faults": rest})
            return fault
        options = self.options_for(account.name)
        rates = {name: getattr(options, f"fault_{name}") for name in FAULTS}
        if not any(rates.values()):
            return ""
        first = call.letters[0] if call.letters else None
        key = f"{account.name}/{first.recipient}/{first.message_id}" if first else account.name
        draw = outcomes.draws(options.seed, "fault", key, self._count(key))[0]
        for name, rate in rates.items():
            if draw < rate:
                return name
            draw -= rate
        return ""

    def _count(self, key: str) -> int:
        """Return how often this call was counted before."""
        count = self._attempts.pop(key, 0)
        self._attempts[key] = count + 1
        if len(self._attempts) > REMEMBERED_FAULTS:
            self._attempts.popitem(last=False)
        return count

    def keep(self, account: Account, call: Call, told: Container[str]) -> None:
        """Put the messages of an accepted call into the inbox, with all that will become of them.

        `told` holds the types of event that the provider tells.
        """
        options = self.options_for(account.name)

        def plan(recipient: str, message_id: str) -> Iterator[tuple[Planned, int]]:
            for item in outcomes.plan(options, account.name, recipient, message_id):
                yield item, self._first_state(options, account, recipient, item, told)

        self.inbox.store(account, call, time.time(), plan)
        self._on_mail()

    def _first_state(
        self,
        options: Options,
        account: Account,
        recipient: str,
        item: Planned,
        told: Container[str],
    ) -> int:
        """Return the state an event starts in: most wait for their webhook."""
        if not account.webhook_url or item.type not in told:
            return NOT_SENT
        if options.webhook_drop:
            draw = outcomes.draws(options.seed, "webhook", account.name, recipient, item)[0]
            if draw < options.webhook_drop:
                return DROPPED
        return PENDING
