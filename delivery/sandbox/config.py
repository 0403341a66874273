"""What the sandbox is told: which accounts it knows and how it behaves. Loaded from JSON.

A config file:
    {"accounts": [{"name": "sg", "kind": "sendgrid", "credentials": {"api_key": "SG.x"},
                   "webhook_url": "http://127.0.0.1/…", "signing": {…}, "domain": "a.example"}],
     "options": {"seed": 7, "bounce": 0.02, "accounts": {"sg": {"fault_429": 0.1}}}}
"""

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

CREDENTIALS = {
    "sendgrid": ("api_key",),
    "mailgun": ("api_key",),
    "postmark": ("server_token",),
    "ses": ("access_key_id", "secret_access_key"),
    "smtp": ("username", "password"),
}
"""The kinds of account, and what each must bring in `credentials`."""

FAULTS = ("429", "500", "hang", "reset", "broken", "lost")
"""What each means: `faults`."""
VARY_BY = ("address", "account", "message")


class ConfigError(ValueError):
    """The configuration cannot be used. `str()` says what to change."""


@dataclass(frozen=True, slots=True)
class Account:
    """One account at one provider.

    `credentials`: see CREDENTIALS; Amazon SES may add `region` (default us-east-1).
    `signing`: what `signing.make_keys(kind)` returns; SES may add `certificate_url`.
    `domain`: when set, the only domain that may be sent from; Mailgun needs it in its path.
    """

    name: str
    kind: str
    credentials: Mapping[str, str]
    webhook_url: str = ""
    signing: Mapping[str, str] = field(default_factory=dict)
    domain: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Account":
        """Return the account that `data` describes. Raises ConfigError."""
        unknown = set(data) - {item.name for item in fields(cls)}
        if unknown:
            raise ConfigError(f"An account has no setting {', '.join(sorted(unknown))}.")
        if not data.get("name") or data.get("kind") not in CREDENTIALS:
            raise ConfigError(
                f"An account needs a name and a kind out of {', '.join(CREDENTIALS)}."
            )
        account = cls(**data)
        for name in CREDENTIALS[account.kind]:
            if not account.credentials.get(name):
                raise ConfigError(f"Account {account.name} needs credentials.{name}.")
        if account.kind == "mailgun" and not account.domain:
            raise ConfigError(f"Account {account.name} needs the domain it sends from.")
        return account


@dataclass(frozen=True, slots=True)
class Options:
    """How providers and recipients behave. Rates are shares from 0.0 to 1.0; times are seconds.

    Fate of an accepted message, exclusive: `drop` (the provider refuses it after accepting),
    `bounce` (hard), `soft_bounce`, `block`; the rest is delivered. Shares of what is delivered:
    `defer` (was late first), `open`, `machine_open`, `machine_click`, `complaint`, `unsubscribe`;
    `click` is a share of those who open. `delivery` is the share of messages of which anything is
    heard at all.

    `vary_by` names what an outcome depends on besides seed and address: nothing ("address"), the
    account, or our message id; never order or time. `next_faults` are met by the next calls, in
    order, whatever the rates; `hang` is longer than any client's patience. `accounts` holds options
    that differ for one account.
    """

    seed: int = 1
    vary_by: str = "account"
    delivery: float = 1.0
    drop: float = 0.0
    bounce: float = 0.01
    soft_bounce: float = 0.01
    block: float = 0.002
    defer: float = 0.02
    open: float = 0.35
    machine_open: float = 0.2
    click: float = 0.2
    machine_click: float = 0.01
    complaint: float = 0.001
    unsubscribe: float = 0.005
    answer_latency: float = 0.0
    event_latency: float = 0.5
    fault_429: float = 0.0
    fault_500: float = 0.0
    fault_hang: float = 0.0
    fault_reset: float = 0.0
    fault_broken: float = 0.0
    fault_lost: float = 0.0
    hang: float = 3600.0
    webhook_drop: float = 0.0
    webhook_double: float = 0.0
    webhook_attempts: int = 8
    webhook_backoff: float = 0.5
    next_faults: tuple[str, ...] = ()
    accounts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def changed(self, values: Mapping[str, Any]) -> "Options":
        """Return these options with `values` in place. Raises ConfigError, naming the value."""
        checked = {name: _checked(name, value) for name, value in values.items()}
        return replace(self, **checked)

    def for_account(self, name: str) -> "Options":
        """Return the options as they are for one account."""
        own = self.accounts.get(name)
        return self.changed(own) if own else self

    def as_json(self) -> dict[str, Any]:
        """Return the options as PUT /_sandbox/options takes them."""
        return asdict(self)


RATES = {
    item.name
    for item in fields(Options)
    if item.type is float
    and item.name not in {"answer_latency", "event_latency", "hang", "webhook_backoff"}
}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a sandbox starts with. `store` is a file, or empty: forgotten when it stops.

    `port` and `smtp_port` 0 take any free port; `smtp_port` None starts no SMTP server.
    `reader_hosts`: hosts of this machine, like 127.0.0.1:8000, whose images people load and whose
    links they follow; none: nobody does. Raises ConfigError for one of another machine.
    """

    accounts: Sequence[Account] = ()
    options: Options = field(default_factory=Options)
    host: str = "127.0.0.1"
    port: int = 8025
    smtp_port: int | None = 8026
    store: str = ""
    reader_hosts: Sequence[str] = ()

    def __post_init__(self) -> None:
        try:
            for host in self.reader_hosts:
                checked_host(host)
        except ValueError as error:
            raise ConfigError(f"reader_hosts: {error}") from error

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Config":
        """Return the configuration that `data` describes. Raises ConfigError."""
        unknown = set(data) - {item.name for item in fields(cls)}
        if unknown:
            raise ConfigError(f"The sandbox has no setting {', '.join(sorted(unknown))}.")
        rest = {key: value for key, value in data.items() if key not in {"accounts", "options"}}
        accounts = accounts_from_json(data.get("accounts", []))
        return cls(accounts=accounts, options=Options().changed(data.get("options", {})), **rest)


def accounts_from_json(data: Sequence[Mapping[str, Any]]) -> tuple[Account, ...]:
    """Return the accounts. Raises ConfigError, also when two share a name."""
    accounts = tuple(Account.from_json(item) for item in data)
    if len({account.name for account in accounts}) < len(accounts):
        raise ConfigError("Two accounts have the same name.")
    return accounts


def load(path: str) -> Config:
    """Return the configuration in a JSON file. Raises ConfigError, also for what is no JSON."""
    try:
        return Config.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"The file {path} cannot be read as JSON: {error}") from error


def checked_host(text: str) -> str:
    """Return host:port in lower case. Raises ValueError unless it is one of this machine.

    >>> checked_host("127.0.0.1:8000"), checked_host("localhost:80")
    ('127.0.0.1:8000', 'localhost:80')
    """
    host, colon, port = text.lower().rpartition(":")
    if colon and port.isdecimal() and (host == "localhost" or _is_loopback(host.strip("[]"))):
        return text.lower()
    raise ValueError(f"{text} is not a host and port of this machine, like 127.0.0.1:8000.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _checked(name: str, value: Any) -> Any:
    """Return the value of an option in its own type. Raises ConfigError."""
    kinds = {item.name: item.type for item in fields(Options)}
    if name not in kinds:
        raise ConfigError(f"There is no option {name!r}.")
    if name == "accounts":
        return _checked_overrides(value)
    if name == "next_faults":
        if not set(value) <= set(FAULTS):
            raise ConfigError(f"next_faults takes {', '.join(FAULTS)}.")
        return tuple(value)
    if name == "vary_by":
        if value not in VARY_BY:
            raise ConfigError(f"vary_by is one of {', '.join(VARY_BY)}.")
        return value
    return _checked_number(name, value, is_whole=kinds[name] is int)


def _checked_overrides(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError("accounts maps the name of an account to its options.")
    for own in value.values():
        Options().changed(own)
    return value


def _checked_number(name: str, value: Any, *, is_whole: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"The option {name} is a number.")
    if value < 0 or (name in RATES and value > 1):
        limits = "0 to 1" if name in RATES else "0 or more"
        raise ConfigError(f"The option {name} is {value}; it must be {limits}.")
    return int(value) if is_whole else float(value)
