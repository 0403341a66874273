"""What DNS says of domains: do they exist, do they take mail. Many at once, none of them trusted.

“No” counts only if it was said: a resolver that is down, slow, broken, or so cut off that it does
not even know .com leaves a domain not known, and never makes it bad.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import NamedTuple

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from django.conf import settings
from django.db import models

PARALLEL = 64
"""Questions in flight at most."""
MOST_SERVERS = 5
"""Of a domain's mail servers so many are looked up until one has an address."""
_CONTROL = dns.name.from_text("com.")
_RESERVED_WORDS = "example test invalid localhost local internal lan home corp onion alt arpa"
_RESERVED = frozenset(_RESERVED_WORDS.split())
_DOCUMENTATION = ("example.com", "example.net", "example.org")


class State(models.TextChoices):
    """What is known of a domain."""

    MAIL = "mail", "Takes mail"
    ADDRESS = "address", "Names no mail server, but has an address"
    NULL_MX = "null_mx", "Says that it takes no mail"
    NO_SERVER = "no_server", "Has no mail server"
    MISSING = "missing", "Does not exist"
    UNKNOWN = "unknown", "Not known"


class Answer(NamedTuple):
    """What was found out about one domain."""

    state: State
    detail: str
    """A sentence."""
    ttl_s: int = 0
    """How long DNS says the answer holds."""


def is_asked(domain: str) -> bool:
    """Is this a domain DNS can know? Reserved names (RFC 2606, 6761) live in private networks."""
    name = domain.lower()
    is_documentation = any(name == d or name.endswith(f".{d}") for d in _DOCUMENTATION)
    return name.rpartition(".")[2] not in _RESERVED and not is_documentation


def ask_many(domains: Collection[str]) -> dict[str, Answer]:
    """Return domain -> answer, for all of them.

    Waits for the network: at most PARALLEL questions at a time, each DNS_TIMEOUT_S. Never raises
    for what the network does.
    """
    answers = {each: _reserved(each) for each in domains if not is_asked(each)}
    others = [each for each in domains if each not in answers]
    if settings.DNS_RESOLVERS is None:
        return answers | {each: Answer(State.UNKNOWN, "DNS is not asked.") for each in others}
    return answers | (asyncio.run(_ask_all(others)) if others else {})


def _reserved(domain: str) -> Answer:
    return Answer(State.UNKNOWN, f"{domain} is reserved for tests or private networks.")


async def _ask_all(domains: Iterable[str]) -> dict[str, Answer]:
    try:
        asking = _Asking(_resolver())
    except dns.exception.DNSException:
        sentence = "This machine names no DNS resolver: set DNS_RESOLVERS."
        return {each: Answer(State.UNKNOWN, sentence) for each in domains}
    names = list(domains)
    answers = await asyncio.gather(*(asking.domain(each) for each in names))
    return dict(zip(names, answers, strict=True))


def _resolver() -> dns.asyncresolver.Resolver:
    servers = settings.DNS_RESOLVERS
    resolver = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(*each) for each in servers]
    resolver.timeout = settings.DNS_TIMEOUT_S / 2
    resolver.lifetime = settings.DNS_TIMEOUT_S
    return resolver


class _Found(NamedTuple):
    """The records of one name and type: none, with `exists`, if it has other records only."""

    records: tuple[object, ...]
    exists: bool
    ttl_s: int


class _Unanswered(Exception):
    """Nobody answered, or not in a way that can be believed. `str()` says how, as a sentence."""


class _Asking:
    """One round of questions: what many domains share is asked once."""

    def __init__(self, resolver: dns.asyncresolver.Resolver) -> None:
        self._resolver = resolver
        self._room = asyncio.Semaphore(PARALLEL)
        self._hosts: dict[dns.name.Name, asyncio.Task[bool]] = {}
        self._control: asyncio.Task[None] | None = None

    async def domain(self, domain: str) -> Answer:
        try:
            answer = await self._answer(dns.name.from_text(domain))
            if answer.state not in {State.MAIL, State.ADDRESS}:
                await self._believe()
        except _Unanswered as error:
            return Answer(State.UNKNOWN, str(error))
        except (dns.exception.DNSException, UnicodeError):
            return Answer(State.UNKNOWN, "The domain could not be asked about.")
        return answer

    async def _answer(self, name: dns.name.Name) -> Answer:
        found = await self._ask(name, dns.rdatatype.MX)
        domain = name.to_text(omit_final_dot=True)
        if not found.exists:
            return Answer(State.MISSING, f"There is no domain {domain}.", found.ttl_s)
        if not found.records:
            return await self._without_mx(name, found.ttl_s)
        servers = [record.exchange for record in sorted(found.records, key=_preference)]  # type: ignore[attr-defined]
        if servers == [dns.name.root]:
            sentence = f"{domain} says that it takes no mail (null MX)."
            return Answer(State.NULL_MX, sentence, found.ttl_s)
        return await self._with_mx(domain, servers, found.ttl_s)

    async def _with_mx(self, domain: str, servers: list[dns.name.Name], ttl_s: int) -> Answer:
        doubt: _Unanswered | None = None
        for server in servers[:MOST_SERVERS]:
            try:
                if server != dns.name.root and await self._has_address_once(server):
                    sentence = f"Mail goes to {server.to_text(omit_final_dot=True)}."
                    return Answer(State.MAIL, sentence, ttl_s)
            except _Unanswered as error:
                doubt = error
        if doubt or len(servers) > MOST_SERVERS:
            raise doubt or _Unanswered("It names more mail servers than were looked up.")
        named = ", ".join(each.to_text(omit_final_dot=True) for each in servers)
        sentence = f"The mail servers of {domain} do not exist: {named}."
        return Answer(State.NO_SERVER, sentence[:300], ttl_s)

    async def _without_mx(self, name: dns.name.Name, ttl_s: int) -> Answer:
        domain = name.to_text(omit_final_dot=True)
        if await self._has_address(name):
            return Answer(
                State.ADDRESS, f"{domain} has an address, but names no mail server.", ttl_s
            )
        return Answer(State.NO_SERVER, f"{domain} has no mail server and no address.", ttl_s)

    async def _has_address_once(self, host: dns.name.Name) -> bool:
        if host not in self._hosts:
            self._hosts[host] = asyncio.ensure_future(self._has_address(host))
        return await self._hosts[host]

    async def _has_address(self, host: dns.name.Name) -> bool:
        if (await self._ask(host, dns.rdatatype.A)).records:
            return True
        return bool((await self._ask(host, dns.rdatatype.AAAA)).records)

    async def _believe(self) -> None:
        """Raise _Unanswered if the resolver's “no” means nothing: .com is there for everybody."""
        if self._control is None:
            self._control = asyncio.ensure_future(self._ask_control())
        await self._control

    async def _ask_control(self) -> None:
        if not (await self._ask(_CONTROL, dns.rdatatype.NS)).records:
            raise _Unanswered("The resolver does not even know .com: its “no” is not believed.")

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> _Found:
        async with self._room:
            try:
                answer = await self._resolver.resolve(
                    name, kind, raise_on_no_answer=False, search=False
                )
            except dns.resolver.NXDOMAIN as error:
                return _Found((), exists=False, ttl_s=_ttl_of(error, name))
            except dns.exception.Timeout as error:
                raise _Unanswered("The resolver did not answer in time.") from error
            except (dns.exception.DNSException, OSError) as error:
                raise _Unanswered("The resolver gave no usable answer.") from error
        ttl = answer.chaining_result.minimum_ttl
        return _Found(tuple(answer.rrset or ()), exists=True, ttl_s=ttl)


def _ttl_of(error: dns.resolver.NXDOMAIN, name: dns.name.Name) -> int:
    """Return how long the zone says its “no” holds."""
    response: dns.message.QueryMessage = error.response(name)  # type: ignore[no-untyped-call]
    return response.resolve_chaining().minimum_ttl


def _preference(record: object) -> int:
    return int(record.preference)  # type: ignore[attr-defined]
