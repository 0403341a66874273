"""Where calls arrive, over HTTP or SMTP: meet faults, plan outcomes, keep messages."""

import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from delivery.sandbox import outcomes
from delivery.sandbox.calls import LOOKS, Call, Letter, Own, Shared
from delivery.sandbox.config import Account, Config, Options
from delivery.sandbox.faults import Faults
from delivery.sandbox.inbox import DROPPED, NOT_SENT, PENDING, Inbox
from delivery.sandbox.outcomes import Planned
from delivery.sandbox.readers import Tally


@dataclass(frozen=True, slots=True)
class Entry:
    """An address on a provider's list of whom it mails no more."""

    reason: str
    at: float


class Office:
    """The sandbox's state: accounts, options, inbox. `on_mail` is called when mail was kept."""

    def __init__(self, config: Config, on_mail: Callable[[], None]) -> None:
        self.accounts: Sequence[Account] = config.accounts
        self.inbox = Inbox(config.store)
        self.refusals: Counter[tuple[str, int]] = Counter()
        self.faults = Faults()
        self.confirmed: set[str] = set()
        self.lists: dict[tuple[str, str], dict[str, Entry]] = {}
        """(Account, list) -> address -> entry, in the order they came."""
        self.read = Tally()
        self.are_there_readers = bool(config.reader_hosts)
        self._on_mail = on_mail
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
        """Return the fault this call meets, one of FAULTS, or an empty string."""
        if self._options.next_faults:
            fault, *rest = self._options.next_faults
            self.options = self._options.changed({"next_faults": rest})
            self.faults.met[account.name, fault] += 1
            return fault
        return self.faults.of(account, call, self.options_for(account.name))

    def list_addresses(
        self, account: str, name: str, emails: Iterable[str], reason: str = "", at: float = 0
    ) -> None:
        """Put addresses on a list of an account, now unless said; who stands there stays so."""
        rows = self.lists.setdefault((account, name), {})
        for email in emails:
            rows.setdefault(email.lower(), Entry(reason, at or time.time()))

    def is_too_much(self) -> bool:
        """Say whether a question is to meet a 429: the next call was ordered to."""
        faults = self._options.next_faults
        if faults[:1] != ("429",):
            return False
        self.options = self._options.changed({"next_faults": faults[1:]})
        return True

    def keep(
        self, account: Account, call: Call, tells: Callable[[Shared, Own], Container[str]]
    ) -> None:
        """Put the messages of an accepted call into the inbox, with all that will become of them.

        `tells` returns the types of event that the provider tells of a message.
        """
        options = self.options_for(account.name)

        def plan(letter: Letter) -> Iterator[tuple[Planned, int]]:
            recipient, told = letter.recipient.lower(), tells(call.shared, letter.own)
            for item in outcomes.plan(options, account.name, recipient, letter.message_id):
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
        """Return the state an event starts in: most wait for their webhook, or to be done."""
        if not account.webhook_url or item.type not in told:
            is_done = self.are_there_readers and item.type in LOOKS
            return PENDING if is_done else NOT_SENT
        if options.webhook_drop:
            draw = outcomes.draws(options.seed, "webhook", account.name, recipient, item)[0]
            if draw < options.webhook_drop:
                return DROPPED
        return PENDING
